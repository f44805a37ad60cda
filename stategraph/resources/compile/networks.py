"""Networks as graphs: a router chooses among agents, step by step, until the question is answered.

    START -> router -> <agent> -> router -> ... -> END

- A router with a model is told what each agent is good for, and chooses by calling the tool `route`; an answer without
  that call is the answer of the network. One that names an agent and nothing else is taken as a choice as well.
- A router with a strategy is a rule: see `kinds.network`.
- Agents see the conversation with the answers of the others as messages of their names.
- After `maxSteps` agents the last answer is that of the network.
- The last answer of each agent is kept for `state.ttl`, in the database with `state.persistence`, and told to the
  router in later turns. Where nothing can be awaited, in sync runs, it is neither kept nor told.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Final, NotRequired, Protocol, TypeAlias, TypedDict

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage

from stategraph.agent.messages.truncation import text_of
from stategraph.agent.state import is_synthetic, turn_of
from stategraph.constants import END, START
from stategraph.graph.message import add_messages
from stategraph.graph.state import StateGraph
from stategraph.resources.compile import similarity
from stategraph.resources.compile.calls import Callee, GraphCall, InLoop, Invoke, Procedure, node
from stategraph.resources.compile.data import Builder, Data, Fields, Object
from stategraph.resources.kinds.network import NetworkSpec
from stategraph.types import Command

ROUTER: Final = "router"
ROUTE: Final = "route"

_INSTRUCTIONS: Final = (
    "You coordinate agents. Choose the agent that should work next by calling `route`, and say in `task` what it "
    "should do. When the answers of the agents are enough, answer the question yourself without calling a tool."
)


Known: TypeAlias = Fields
"""What is known, by keys."""


class NetworkState(Protocol):
    """Store of what the agents of one network share."""

    async def all(self) -> Known:
        """Return everything that is known."""

    async def set(self, key: str, value: Data, /) -> object:
        """Keep a value."""


class State(TypedDict):
    """The state of a network's graph.

    Attributes:
        messages: The conversation.
        asked: The agents that were asked in this turn, in order.
        task: What the agent that is asked now should do; None: answer the conversation.
        turns: How many turns there were.
    """

    messages: Annotated[list[AnyMessage], add_messages]
    asked: NotRequired[list[str]]
    task: NotRequired[str | None]
    turns: NotRequired[int]


@dataclass(frozen=True, slots=True)
class Member:
    """An agent of a network.

    Attributes:
        name: Its name in the network.
        description: What it is good for.
        callee: The agent.
    """

    name: str
    description: str
    callee: Callee


@dataclass(frozen=True, slots=True)
class NetworkPlan:
    """A network, compiled up to what it is stored in.

    Attributes:
        name: Its name.
        spec: What was declared.
        members: Its agents.
        model: The router's model; None: a strategy.
        state: What its agents know together; None: nothing is kept.
        version: SHA-256 of what was declared, in hex.
    """

    name: str
    spec: NetworkSpec
    members: tuple[Member, ...]
    model: BaseChatModel | None = None
    state: NetworkState | None = None
    version: str = ""

    @property
    def description(self) -> str:
        """Description for models that choose."""
        return self.spec.description or self.spec.instructions or f"The network {self.name}."

    def builder(self) -> Builder:
        """Return the builder of its graph."""
        graph: Builder = StateGraph(State)
        names = [each.name for each in self.members]
        graph.add_node(ROUTER, node(_Router(self).steps, ROUTER), destinations=(*names, END))
        graph.add_edge(START, ROUTER)
        for member in self.members:
            graph.add_node(member.name, node(_MemberNode(member, self).steps, member.name))
            graph.add_edge(member.name, ROUTER)
        return graph

    def graph(self, checkpointer: Data = None, store: Data = None) -> Data:
        """Return its graph; arguments as those of `StateGraph.compile`."""
        return self.builder().compile(checkpointer=checkpointer, store=store, name=self.name)


class _Router:
    """The node that chooses."""

    def __init__(self, plan: NetworkPlan) -> None:
        self._plan = plan
        self._names = [each.name for each in plan.members]
        self._model = None if plan.model is None else plan.model.bind_tools([self._tool()])

    def _tool(self) -> Object:
        task = {"type": "string", "description": "What the agent should do, if the conversation does not say it."}
        agent = {"type": "string", "enum": self._names, "description": "The agent."}
        schema = {"type": "object", "properties": {"agent": agent, "task": task}, "required": ["agent"]}
        return {
            "type": "function",
            "function": {"name": ROUTE, "description": "Have an agent work next.", "parameters": schema},
        }

    def steps(self, state: State) -> Procedure:
        """Choose the next agent, or end the turn."""
        asked = self._begun(state)
        if len(asked) >= self._plan.spec.router.max_steps:
            return Command(goto=END, update={"asked": asked})
        if self._model is None:
            return self._by_rule(state, asked)
        kept, known = self._plan.state, None
        if kept is not None and not asked:
            known = yield InLoop(lambda: kept.all())
        return self._chosen(state, asked, (yield Invoke(self._model, self._sent(state, known or {}))))

    def _begun(self, state: State) -> list[str]:
        """Return the agents that were asked in this turn."""
        last = state["messages"][-1] if state["messages"] else None
        new = isinstance(last, HumanMessage) and not is_synthetic(last)
        return [] if new else list(state.get("asked") or ())

    def _by_rule(self, state: State, asked: list[str]) -> Command[Data]:
        names, turns = self._names, state.get("turns", 0)
        strategy = self._plan.spec.router.strategy
        if strategy == "sequence":
            if len(asked) == len(names):
                return Command(goto=END, update={"turns": turns + 1})
            return self._go(names[len(asked)], asked)
        if asked:
            return Command(goto=END, update={"turns": turns + 1})
        question = next((each for each in reversed(state["messages"]) if isinstance(each, HumanMessage)), None)
        if strategy == "round_robin":
            return self._go(names[turns % len(names)], asked)
        if strategy == "random":
            # By the message, so that a turn that is executed again goes the same way.
            return self._go(random.Random(str(question and question.id)).choice(names), asked)
        if strategy == "capability" and question is not None:
            wanted = similarity.vector(text_of(question.content))
            fits = [
                similarity.alike(wanted, similarity.vector(f"{each.name} {each.description}"))
                for each in self._plan.members
            ]
            return self._go(names[fits.index(max(fits))], asked)
        return self._go(names[0], asked)

    def _sent(self, state: State, known: Known) -> list[AnyMessage]:
        agents = "\n".join(f"- {each.name}: {each.description}" for each in self._plan.members)
        told = [self._plan.spec.instructions or "", _INSTRUCTIONS, f"The agents:\n{agents}"]
        if known:
            lines = "\n".join(f"- {name}: {value}" for name, value in sorted(known.items()))
            told.append(f"Known from earlier turns:\n{lines}")
        return [SystemMessage("\n\n".join(filter(None, told))), *seen_by(None, state["messages"])]

    def _chosen(self, state: State, asked: list[str], answer: Data) -> Command[Data]:
        turns = state.get("turns", 0)
        for call in answer.tool_calls:
            if call["name"] == ROUTE and call["args"].get("agent") in self._names:
                return self._go(call["args"]["agent"], asked, call["args"].get("task"))
        if not answer.tool_calls and answer.text.strip() in self._names:
            return self._go(answer.text.strip(), asked)
        if answer.tool_calls:
            found = ", ".join(f"{each['name']}({each['args']})" for each in answer.tool_calls)
            raise ValueError(
                f"The router of the network {self._plan.name!r} called {found}; expected {ROUTE} with one of "
                f"{', '.join(self._names)}"
            )
        told = AIMessage(answer.content, name=self._plan.name, id=answer.id)
        return Command(goto=END, update={"messages": [told], "asked": asked, "turns": turns + 1})

    def _go(self, name: str, asked: list[str], task: str | None = None) -> Command[Data]:
        return Command(goto=name, update={"asked": [*asked, name], "task": task})


class _MemberNode:
    """The node of an agent."""

    def __init__(self, member: Member, plan: NetworkPlan) -> None:
        self._member = member
        self._plan = plan

    def steps(self, state: State) -> Procedure:
        """Ask the agent."""
        callee, kept, name = self._member.callee, self._plan.state, self._member.name
        result = callee.result((yield Invoke(callee.target, callee.prepared({"messages": self._given(state)}))))
        if kept is not None:
            value = {"text": result["text"], "at": datetime.now(UTC).isoformat(timespec="seconds")}
            yield InLoop(lambda: kept.set(name, value))
        return {"messages": [AIMessage(result["text"], name=name)], "task": None}

    def _given(self, state: State) -> list[AnyMessage]:
        messages = seen_by(self._member.name, state["messages"])
        task = state.get("task")
        return [*messages, HumanMessage(task)] if task else messages


def seen_by(name: str | None, messages: Sequence[AnyMessage]) -> list[AnyMessage]:
    """Return a conversation as an agent sees it: answers of others are told to it, with their names.

    Args:
        name: The agent; None: the router, which has none of them.
        messages: The conversation.
    """
    return [
        HumanMessage(f"[{each.name}] {each.text}", id=each.id)
        if isinstance(each, AIMessage) and each.name not in (None, name)
        else each
        for each in messages
    ]


class NetworkCall(GraphCall):
    """A network as a step or a tool asks it.

    Args:
        plan: The network.
        store: Long-term memory for the tools of its agents.
    """

    def __init__(self, plan: NetworkPlan, *, store: Data = None) -> None:
        super().__init__(plan.graph(store=store))
        self.plan = plan

    def result(self, returned: Data, /) -> Data:
        """Return its answer: `text`, `messages`, `agents`."""
        new = list(turn_of(returned["messages"]))
        text = str(new[-1].text) if new and isinstance(new[-1], AIMessage) else ""
        return {"text": text, "messages": new, "agents": list(returned.get("asked") or ())}
