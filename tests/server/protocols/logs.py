"""Logs of runs, as workers write them: what a graph streams, through the serializer of the checkpoints."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.config import get_stream_writer
from langgraph.graph import add_messages
from langgraph.prebuilt import ToolNode, tools_condition
from typing_extensions import TypedDict

from stategraph import START, StateGraph, interrupt
from stategraph.testing import ScriptedChatModel, Think, Usage, call, reply
from stategraph.types import Send

MODES = ("messages", "updates", "custom", "values", "tasks")

_SERDE = JsonPlusSerializer()


@dataclass(frozen=True)
class Logged:
    """An event of a log."""

    seq: int
    type: str
    data: Any


async def log_of(
    graph: Any,
    given: Any,
    config: Any = None,
    *,
    modes: Sequence[str] = MODES,
    status: str = "success",
    first: int = 1,
    attempt: int = 1,
) -> list[Logged]:
    """Run a graph and return the events that a worker would have logged, with the first and the last."""
    events: list[tuple[str, Any]] = [("run.attempt", {"attempt": attempt, "reason": None})]
    async for ns, mode, data in graph.astream(given, config, stream_mode=list(modes), subgraphs=True):
        events.append(("|".join((mode, *ns)), _SERDE.loads_typed(_SERDE.dumps_typed(data))))
    events.append(("run.end", {"status": status, "error": None}))
    return numbered(events, first)


def numbered(events: Iterable[tuple[str, Any]], first: int = 1) -> list[Logged]:
    """Number events."""
    return [Logged(number, kind, data) for number, (kind, data) in enumerate(events, first)]


def joined(*parts: Sequence[Logged]) -> list[Logged]:
    """Join parts of logs to one, numbered anew."""
    return numbered([(each.type, each.data) for part in parts for each in part])


class Talk(TypedDict, total=False):
    messages: Annotated[list[AnyMessage], add_messages]
    log: Annotated[list[str], operator.add]


@tool
def search(word: str) -> str:
    """Search."""
    get_stream_writer()({"searching": word})
    if word == "fail":
        raise ValueError("nothing there")
    return f"{word} found"


@tool
def delete(name: str) -> str:
    """Delete a file."""
    return f"deleted {name}"


USAGE = Usage(input_tokens=10, output_tokens=5)


def said(*parts: Any) -> Any:
    """Return a reply with usage; a string comes in words."""
    return reply(*parts, usage=USAGE)


def tool_agent(
    *replies: Any, tools: Sequence[Any] = (search, delete), asks: bool = False, anew: bool = False
) -> StateGraph[Any]:
    """Return a graph of a model that may call tools; if it asks, a person decides about `delete`.

    The replies are given once, or anew to each message of the user.
    """
    model = ScriptedChatModel(replies=list(replies)).bind_tools(list(tools))

    async def think(state: Talk) -> Any:
        if not anew:
            return {"messages": [await model.ainvoke(state["messages"])]}
        kinds = [each.type for each in state["messages"]]
        number = kinds[::-1][: kinds[::-1].index("human")].count("ai")
        next_one = ScriptedChatModel(replies=[replies[number]]).bind_tools(list(tools))
        return {"messages": [await next_one.ainvoke(state["messages"])]}

    def review(state: Talk) -> Any:
        calls = [each for each in state["messages"][-1].tool_calls if each["name"] == "delete"]
        if calls:
            requests = [{"name": each["name"], "args": each["args"], "description": "Sure?"} for each in calls]
            configs = [{"action_name": "delete", "allowed_decisions": ["approve", "edit", "reject"]}]
            answer = interrupt({"action_requests": requests, "review_configs": configs})
            return {"log": [each["type"] for each in answer["decisions"]]}
        return {"log": ["no need"]}

    builder = StateGraph(Talk).add_node("think", think).add_node("tools", ToolNode(list(tools)))
    builder.add_edge(START, "think")
    if asks:
        builder.add_node("review", review).add_edge("think", "review").add_conditional_edges("review", tools_condition)
    else:
        builder.add_conditional_edges("think", tools_condition)
    return builder.add_edge("tools", "think")


def looking_up(*, anew: bool = False) -> Any:
    """Return an agent that thinks, calls two tools at once, and answers."""
    return tool_agent(
        said(Think("What may it be?"), "I look it up.", call("search", word="a"), call("search", word="b")),
        said("It is a and b."),
        anew=anew,
    )


def subagents() -> Any:
    """Return a graph with an agent for a node, and a node that returns a tuple."""
    return (
        StateGraph(Talk)
        .add_node("helper", looking_up().compile())
        .add_node("tail", lambda state: {"messages": [("ai", "Bye, then.")], "log": ["tail"]})
        .add_edge(START, "helper")
        .add_edge("helper", "tail")
    )


def branches() -> Any:
    """Return a graph of which three branches stream at the same time, and a fourth returns a whole message."""

    def speaker(words: str) -> Any:
        async def speak(state: Talk) -> Any:
            model = ScriptedChatModel(replies=[said(words)])
            return {"messages": [await model.ainvoke(state["messages"])]}

        return speak

    builder = StateGraph(Talk)
    for name in ("one", "two", "three"):
        builder.add_node(name, speaker(f"Here is branch {name} with some words.")).add_edge(START, name)
    return builder.add_node("four", lambda state: {"messages": [AIMessage("Whole.")]}).add_edge(START, "four")


def spread() -> Any:
    """Return a graph that sends three tasks to one node."""

    async def speak(state: Any) -> Any:
        model = ScriptedChatModel(replies=[said(f"This is number {state['number']}.")])
        return {"messages": [await model.ainvoke([("user", "speak")])], "log": [str(state["number"])]}

    def send(state: Talk) -> list[Send]:
        return [Send("speak", {"number": number}) for number in range(3)]

    return StateGraph(Talk).add_node("speak", speak).add_conditional_edges(START, send, ["speak"])


def agent_as_tool(*, anew: bool = False) -> Any:
    """Return an agent of which a tool is an agent itself."""
    inner = looking_up(anew=anew).compile()

    @tool
    async def ask_expert(question: str) -> str:
        """Ask an expert."""
        return str((await inner.ainvoke({"messages": [("user", question)]}))["messages"][-1].content)

    return tool_agent(
        said("I ask.", call("ask_expert", question="what is it?")),
        said("The expert knows."),
        tools=[ask_expert],
        anew=anew,
    )


SAY = {"messages": [("user", "what is it?")]}

GRAPHS: dict[str, Any] = {
    "agent": looking_up,
    "subagents": subagents,
    "branches": branches,
    "spread": spread,
    "agent as tool": agent_as_tool,
}


def compiled(name: str) -> Any:
    """Return a graph anew, with a saver."""
    return GRAPHS[name]().compile(checkpointer=InMemorySaver())


THREAD = {"configurable": {"thread_id": "thread-1"}}
