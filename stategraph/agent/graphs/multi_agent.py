"""Several agents as a graph: its starting agents, its edges, and the handoffs that are allowed.

- A direct edge is always taken, to all of its destinations at once; one from several agents waits for all of them. A
  handoff edge is a tool of the agent that it leaves, see `handoff`.
- The agents that no edge leads to start, side by side; if there are none, the first one does.
- An agent that handed over is not followed by direct edges as well. Nor is one that gives the conversation back.
- A sticky graph begins a turn with the agent whose model was called last, if that is known.
- Agents that run side by side because of edges share a group, counted from one in the order of the ways to them.
- What a direct edge tells its destination is told by a node before it, `fan_in_<id>_prompt`.

    START -> <id> -> ... -> <id> -> done -> END          every node with a name of an agent is that agent's own graph
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Generator, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage

from stategraph.agent.agent import Agent
from stategraph.agent.context import handoff
from stategraph.agent.context.handoff import Handoff
from stategraph.agent.graphs import done
from stategraph.agent.graphs.agent_graph import AgentGraph, agent_subgraph
from stategraph.agent.messages import truncation
from stategraph.agent.output import record
from stategraph.agent.ports import AgentContext
from stategraph.agent.settings.inputs import GraphEdge, PromptFunction
from stategraph.agent.state import AgentState, turn_of, was_halted
from stategraph.constants import END, NS_END, NS_SEP, START
from stategraph.engine.compile.functions import RunnableCallable
from stategraph.engine.config import environment
from stategraph.engine.config.procedures import adrive, drive
from stategraph.errors import ConfigurationError
from stategraph.graph.state import StateGraph
from stategraph.types import Command, Send

RESULTS = "{results}"
"""Placeholder in the prompt of a direct edge for the run's results so far."""

_TOOL_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
_SPEAKERS: dict[type[Any], str] = {AIMessage: "AI", HumanMessage: "Human", SystemMessage: "System"}


@dataclass(frozen=True, slots=True)
class Wiring:
    """The ways between agents, checked.

    Attributes:
        names: Names by which agents know each other, by id.
        starts: The agents that start.
        direct: Edges that are always taken.
        handoffs: Tools that hand over, by the agent that has them.
        groups: Numbers of groups of agents that run in parallel.
        sticky: Whether a turn begins with the agent that was called last.
    """

    names: Mapping[str, str]
    starts: tuple[str, ...]
    direct: tuple[GraphEdge, ...]
    handoffs: Mapping[str, tuple[Handoff, ...]]
    groups: Mapping[str, int]
    sticky: bool = False

    def transfers_of(self, agent_id: str) -> list[str]:
        """Return the agents to which an agent may hand the conversation over, or give it back."""
        over = [to for each in self.handoffs.get(agent_id, ()) for to in each.destinations]
        arriving = [each for its in self.handoffs.values() for each in its if agent_id in each.destinations]
        return [*over, *(each.returns_to for each in arriving if each.returns_to is not None)]

    def begins(self, state: AgentState) -> list[str]:
        """Return the agents that begin a turn of a sticky graph."""
        last = state.get("active_agent")
        named = (last,) if last is not None else handoff.last_destinations(state["messages"])
        # A join would wait for those that run beside it otherwise.
        joined = {agent_id for edge in filter(_is_join, self.direct) for agent_id in edge.from_}
        if len(named) == 1 and named[0] in self.names and named[0] not in joined:
            return [named[0]]
        return [*self.starts]


def wire(names: Sequence[tuple[str, str]], edges: Sequence[GraphEdge], *, sticky: bool = False) -> Wiring:
    """Find out what edges mean, and whether they make sense.

    Args:
        names: The agents: ids, and what they call each other.
        edges: The ways between them.
        sticky: Whether a turn begins with the agent that was called last.

    Returns:
        The ways, sorted by kind.

    Raises:
        ConfigurationError: They make no sense; the message names agents and edges.
    """
    ids = [agent_id for agent_id, _ in names]
    check_ids(ids)
    _check_ends(ids, edges)
    direct = tuple(edge for edge in edges if edge.direct)
    handoffs = _handoffs(dict(names), [edge for edge in edges if not edge.direct])
    _check_direct(direct, handoffs)
    reached = {agent_id for edge in edges for agent_id in edge.to}
    starts = tuple(agent_id for agent_id in ids if agent_id not in reached) or (ids[0],)
    return Wiring(dict(names), starts, direct, handoffs, _groups(starts, edges), sticky)


def check_ids(ids: Sequence[str]) -> None:
    """Check the names of agents: they become names of nodes.

    Args:
        ids: The names.

    Raises:
        ConfigurationError: One is taken twice, reserved, or has a character that separates names in checkpoints.
    """
    for agent_id in ids:
        if ids.count(agent_id) > 1:
            raise ConfigurationError(f"Several agents have the id {agent_id!r}: give each agent a unique id")
        if agent_id in (START, END, done.NODE) or agent_id in map(prompt_node, ids):
            raise ConfigurationError(f"No agent can have the id {agent_id!r}: a node of the graph has that name")
        for separator in (NS_SEP, NS_END):
            if separator in agent_id:
                raise ConfigurationError(
                    f"No agent can have the id {agent_id!r}: {separator!r} separates names in checkpoints; use letters,"
                    " digits, '-' and '_'"
                )


def prompt_node(agent_id: str) -> str:
    """Return the name of the node that gives an agent the prompt of a direct edge."""
    return f"fan_in_{agent_id}_prompt"


def _shown(edge: GraphEdge) -> str:
    return f"{', '.join(edge.from_)} -> {', '.join(edge.to)}"


def _check_ends(ids: Sequence[str], edges: Sequence[GraphEdge]) -> None:
    unknown = {end: edge for edge in edges for end in (*edge.from_, *edge.to) if end not in ids}
    if unknown:
        where = "; ".join(dict.fromkeys(map(_shown, unknown.values())))
        raise ConfigurationError(
            f"MultiAgentGraph: edges reference agent(s) not present in agents: {json.dumps(list(unknown))}. Found them"
            f" in {where}; the agents are {', '.join(ids)}. Add what is missing to the agents, or leave the edges out"
        )


def _check_direct(direct: Sequence[GraphEdge], handoffs: Mapping[str, Sequence[Handoff]]) -> None:
    """Refuse what has no meaning: edges that wait for an agent that may go elsewhere, prompts that contradict."""
    prompts: dict[str, tuple[object, GraphEdge]] = {}
    for edge in direct:
        leaving = [agent_id for agent_id in edge.from_ if agent_id in handoffs]
        if leaving and (len(edge.from_) > 1 or edge.prompt):
            kind = "waits for several agents" if len(edge.from_) > 1 else "has a prompt"
            raise ConfigurationError(
                f"The direct edge {_shown(edge)} {kind}, and {', '.join(leaving)} may hand over instead: such an edge"
                " can only come from agents without handoffs"
            )
        if edge.condition is not None and len(edge.from_) > 1:
            raise ConfigurationError(
                f"The direct edge {_shown(edge)} waits for several agents and has a condition: give it one or the other"
            )
        for destination in edge.to if edge.prompt else ():
            told, other = prompts.setdefault(destination, (_told(edge), edge))
            if told != _told(edge):
                raise ConfigurationError(
                    f"The direct edges {_shown(other)} and {_shown(edge)} tell {destination!r} different things: give"
                    " them the same prompt, or one a function that decides"
                )


def _told(edge: GraphEdge) -> tuple[object, bool | None]:
    return edge.prompt, edge.exclude_results


def _handoffs(names: Mapping[str, str], edges: Sequence[GraphEdge]) -> dict[str, tuple[Handoff, ...]]:
    """Return the handoff tools of each agent."""
    tools: dict[str, list[Handoff]] = {}
    for edge in edges:
        for source in edge.from_:
            tools.setdefault(source, []).extend(_handoff_tools(edge, source, names))
    for source, its in tools.items():
        called = [each.name for each in its]
        for name in called:
            if called.count(name) > 1:
                raise ConfigurationError(
                    f"Several handoffs of agent {source!r} are called '{name}': let one edge lead to each agent, and"
                    " one edge at most have a condition, which can choose among several destinations"
                )
    return {source: tuple(its) for source, its in tools.items()}


def _handoff_tools(edge: GraphEdge, source: str, names: Mapping[str, str]) -> Iterator[Handoff]:
    source_name, back = names[source], source if edge.returns else None
    parameter = (edge.prompt_key or "instructions") if edge.prompt else None
    told = edge.prompt if isinstance(edge.prompt, str) else ""
    if edge.condition is not None:
        description = edge.description or "Hand the conversation over to another agent, if the state of things allows."
        yield Handoff(
            handoff.CONDITIONAL, description, source_name, tuple(edge.to), parameter, told, edge.condition, back
        )
        return
    for destination in edge.to:
        if not _TOOL_NAME_CHARACTERS.issuperset(destination):
            raise ConfigurationError(
                f"Agent {destination!r} cannot be handed over to: its id is part of a tool's name, for which providers"
                " take letters, digits, '-' and '_' only"
            )
        description = edge.description or f"Hand the conversation over to the agent {names[destination]}."
        name = handoff.tool_name(destination)
        yield Handoff(name, description, source_name, (destination,), parameter, told, returns_to=back)


def _groups(starts: Sequence[str], edges: Sequence[GraphEdge]) -> dict[str, int]:
    """Return a number for each agent that an edge, or the start, starts with others; its first set counts."""
    groups: dict[str, int] = {}
    together: list[Sequence[str]] = [starts]
    waiting, known = list(starts), set(starts)
    for source in waiting:
        leading = [edge for edge in edges if source in edge.from_]
        together.append(list(dict.fromkeys(to for edge in leading if edge.direct for to in edge.to)))
        following = [to for edge in leading for to in edge.to if to not in known]
        waiting.extend(dict.fromkeys(following))
        known.update(following)
    number = 0
    for members in together:
        fresh = [agent_id for agent_id in members if agent_id not in groups]
        if len(members) > 1 and fresh:
            number += 1
            groups.update(dict.fromkeys(fresh, number))
    return groups


# The graph.


def several_agents_graph(agents: Sequence[Agent], wiring: Wiring, input_schema: type[Any] = AgentState) -> AgentGraph:
    """Build the graph of a run with several agents.

    Args:
        agents: The agents, each with its role.
        wiring: The ways between them.
        input_schema: The part of the state that a run starts from.

    Returns:
        The builder.
    """
    graph: AgentGraph = StateGraph(AgentState, context_schema=AgentContext, input_schema=input_schema)
    for agent in agents:
        graph.add_node(agent.id, agent_subgraph(agent).compile(name=agent.id))
    prompted = {to: edge for edge in wiring.direct if edge.prompt for to in edge.to}
    for agent_id, edge in prompted.items():
        node = Prompt(agent_id, edge.prompt or "", edge.exclude_results)
        graph.add_node(prompt_node(agent_id), node.as_runnable(), destinations=(agent_id,))
    # Ways end at different times; the turn ends once, after the last of them.
    graph.add_node(done.NODE, done.node([agent.id for agent in agents]), defer=True)
    _begin(graph, wiring)
    entry = {to: prompt_node(to) if to in prompted else to for to in wiring.names}
    for agent in agents:
        _lead_on(graph, agent.id, wiring, entry)
    for edge in filter(_is_join, wiring.direct):
        for to in edge.to:
            graph.add_edge(list(edge.from_), entry[to])
    graph.add_edge(done.NODE, END)
    return graph


def _begin(graph: AgentGraph, wiring: Wiring) -> None:
    """Add the ways to the agents that begin a turn."""
    if wiring.sticky:
        graph.add_conditional_edges(START, wiring.begins, [*wiring.names])
        return
    for agent_id in wiring.starts:
        graph.add_edge(START, agent_id)


def _is_join(edge: GraphEdge) -> bool:
    """Return whether a direct edge waits for several agents."""
    return len(edge.from_) > 1


def _lead_on(graph: AgentGraph, agent_id: str, wiring: Wiring, entry: Mapping[str, str]) -> None:
    """Add the ways from an agent that are its own, and no join with others.

    Args:
        graph: The graph.
        agent_id: The agent.
        wiring: The ways between all agents.
        entry: The node at which each agent is entered.
    """
    edges = [edge for edge in wiring.direct if edge.from_ == (agent_id,)]
    joins = any(agent_id in edge.from_ for edge in filter(_is_join, wiring.direct))
    last = () if joins else (done.NODE,)
    direct = dict.fromkeys(entry[to] for edge in edges for to in edge.to)
    conditional = any(edge.condition is not None for edge in edges)
    transfers = wiring.transfers_of(agent_id)
    if not transfers and not conditional:
        for to in direct or last:
            graph.add_edge(agent_id, to)
        return
    router = _Router(agent_id, edges, entry, last)
    path = dict.fromkeys([*transfers, *direct, done.NODE])
    # Without a condition that could be async, the router need not be awaited.
    awaited = router.aroute if conditional else None
    graph.add_conditional_edges(agent_id, RunnableCallable(router.route, awaited, name="route", trace=False), [*path])


@dataclass(frozen=True, slots=True)
class _Router:
    """Chooses where to go after an agent that may hand over, or whose edges have conditions.

    Attributes:
        agent_id: The agent.
        edges: The direct edges that leave it.
        entry: The node at which each agent is entered.
        last: Where to go if no edge is taken.
    """

    agent_id: str
    edges: Sequence[GraphEdge]
    entry: Mapping[str, str]
    last: Sequence[str]

    def route(self, state: AgentState) -> list[Hashable | Send]:
        """Return the next nodes.

        Raises:
            TypeError: A condition is async.
        """
        return drive(self._routing(state), partial(_choice_of, state))

    async def aroute(self, state: AgentState) -> list[Hashable | Send]:
        """Like `route`; conditions may be async."""
        return await adrive(self._routing(state), partial(_achoice_of, state))

    def _routing(self, state: AgentState) -> Generator[GraphEdge, object, list[Hashable | Send]]:
        """Yield each edge whose condition is to be asked, to be sent its choice, and return the next nodes."""
        if (to := _regardless_of_edges(self.agent_id, state)) is not None:
            return to
        chosen: list[str] = []
        choices = []
        for edge in self.edges:
            choices.append((yield edge))
        for edge, choice in zip(self.edges, choices, strict=True):
            chosen += handoff.chosen(choice, edge.to, f"The edge {_shown(edge)}")
        return list(dict.fromkeys(self.entry[each] for each in chosen) or self.last)


def _regardless_of_edges(agent_id: str, state: AgentState) -> list[Hashable | Send] | None:
    """Return where to go at the end of a turn, after a handoff, or back; None if the edges decide."""
    if was_halted(state):
        return [done.NODE]
    messages = state["messages"]
    to = handoff.destinations(messages)
    if not to and (arrival := handoff.arrival_of(agent_id, messages)) is not None and arrival.returns_to is not None:
        return [arrival.returns_to]
    # Tasks that are sent keep the order of the calls; nodes that are named would run in the order of the alphabet.
    return [*to] if len(to) == 1 else [Send(each, state) for each in to] or None


def _choice_of(state: AgentState, edge: GraphEdge) -> object:
    """Ask the condition of a direct edge, if it has one, in a sync run."""
    choice = True if edge.condition is None else edge.condition(state)
    if inspect.isawaitable(choice):
        if inspect.iscoroutine(choice):
            choice.close()
        raise TypeError(f"The condition of the edge {_shown(edge)} is async: run the graph with ainvoke() or astream()")
    return choice


async def _achoice_of(state: AgentState, edge: GraphEdge) -> object:
    """Ask the condition of a direct edge, if it has one."""
    choice = True if edge.condition is None else edge.condition(state)
    return await choice if inspect.isawaitable(choice) else choice


class Prompt:
    """The node before an agent that tells it the prompt of a direct edge.

    Args:
        agent_id: The agent.
        prompt: The text, or the function that makes it.
        exclude_results: Whether the agent is not shown what the run has brought; None: if the prompt tells it.
    """

    def __init__(self, agent_id: str, prompt: str | PromptFunction, exclude_results: bool | None) -> None:
        self._agent_id = agent_id
        self._prompt = prompt
        self._told_instead = isinstance(prompt, str) and RESULTS in prompt
        self._exclude = self._told_instead if exclude_results is None else exclude_results

    def as_runnable(self) -> RunnableCallable:
        """Return the node for a graph, sync and async."""
        return RunnableCallable(self.call, self.acall, name=prompt_node(self._agent_id), trace=False)

    def call(self, state: AgentState) -> Command[Any]:
        """Tell the prompt.

        Raises:
            TypeError: The function that makes it is async.
        """
        text = None if was_halted(state) else self._text(state["messages"])
        if inspect.isawaitable(text):
            if inspect.iscoroutine(text):
                text.close()
            raise TypeError(
                f"The prompt for agent '{self._agent_id}' is made by an async function: run the graph with ainvoke() or"
                " astream()"
            )
        return self._go(state, text)

    async def acall(self, state: AgentState) -> Command[Any]:
        """Like `call`; the function may be async."""
        text = None if was_halted(state) else self._text(state["messages"])
        return self._go(state, await text if inspect.isawaitable(text) else text)

    def _text(self, messages: Sequence[AnyMessage]) -> Any:
        brought = turn_of(messages)
        if isinstance(self._prompt, str):
            return self._prompt.replace(RESULTS, transcript(brought)) if self._told_instead else self._prompt
        return self._prompt(messages, len(messages) - len(brought))

    def _go(self, state: AgentState, text: object) -> Command[Any]:
        if not text:
            return Command(goto=self._agent_id)
        if not isinstance(text, str):
            raise TypeError(
                f"The function that makes the prompt for agent '{self._agent_id}' returned a value of type "
                f"{type(text).__name__}; expected a text, or None for no prompt"
            )
        messages = state["messages"]
        told = handoff.routing_message(text, environment.current().unique())
        if not self._exclude:
            return Command(goto=self._agent_id, update={"messages": [told]})
        given = messages[: len(messages) - len(turn_of(messages))]
        send = Send(self._agent_id, {**state, "messages": [*given, told]})
        return Command(goto=[send], update={"messages": [told]})


def transcript(messages: Sequence[AnyMessage]) -> str:
    """Render messages as text, one line for each that has text; transfers and answers that were refused are left out.

    Args:
        messages: The messages of a run.
    """
    lines = []
    for message in record.in_words(handoff.without_transfers(messages)):
        text = truncation.text_of(message.content)
        if text:
            speaker = next((name for kind, name in _SPEAKERS.items() if isinstance(message, kind)), "Tool")
            lines.append(f"{speaker}: {text}")
    return "\n".join(lines)
