"""Drawing: from a compiled graph to the picture that langchain-core renders as Mermaid, ASCII or PNG.

A compiled graph has no edges, only nodes that write channels and channels that start nodes. So the edges are found
by walking: start with the input, let every started node make all the writes it may ever make, see which nodes that
starts, and go on until nothing starts. No code of the author runs. What the walk goes by:

* A node *certainly* writes some channels, and *may* write others (routers, commands); the latter become dashed edges.
* What a node may write counts as written the first time the node is reached, later only as possible.
* An edge into a node comes from every node that writes one of its triggers. If none of them ran in the step before
  (a deferred node, say), every node of that step is taken to lead there, dashed.
* A node that leads nowhere leads to the end.

The input of the walk is plain data (`Plan`), so that any kind of compiled graph can be drawn.

Running a graph does not need this module: import it when something is to be drawn.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.graph import Graph

from stategraph.constants import END, START
from stategraph.core.channels.barrier import NamedBarrierValue, NamedBarrierValueAfterFinish
from stategraph.core.channels.last_value import LastValueAfterFinish
from stategraph.engine.compile.write import PASSTHROUGH, ChannelWrite, ChannelWriteEntry

FEWEST_STEPS: Final = 251
"""Lowest limit for the steps of a walk where the graph runs in circles.

Larger graphs get as many as they have nodes.
"""


class Write(NamedTuple):
    """A write that a node certainly makes."""

    channel: str
    name: str | None = None
    """The written value, if it is a name that a join waits for."""


class PossibleWrite(NamedTuple):
    """A write that a node may make: to a channel, or to `END`."""

    channel: str
    label: str | None = None


@dataclass(frozen=True, slots=True)
class PlanNode:
    """A node as far as a picture is concerned.

    Attributes:
        data: The node's work, handed to the picture.
        metadata: Handed to the picture.
        triggers: Channels that start the node.
        writes: What it certainly writes.
        possible: What it may write.
    """

    data: Any
    metadata: Mapping[str, Any]
    triggers: Sequence[str]
    writes: Sequence[Write] = ()
    possible: Sequence[PossibleWrite] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """A graph as far as a picture is concerned.

    Attributes:
        nodes: The nodes, in the order in which they are listed in the picture.
        inputs: The channels that the input of a run is written to.
        joins: For each channel that waits for several names, these names.
        held: Channels that start nothing before all else is done.
        interrupt_before: Nodes marked as stopping the run before them.
        interrupt_after: Nodes marked as stopping the run after them.
    """

    nodes: Mapping[str, PlanNode]
    inputs: Sequence[str]
    joins: Mapping[str, frozenset[str]] = field(default_factory=dict)
    held: frozenset[str] = frozenset()
    interrupt_before: Sequence[str] = ()
    interrupt_after: Sequence[str] = ()


# --- from compiled nodes to a plan ---


class CompiledNode(Protocol):
    """The attributes of a compiled node that are read."""

    bound: Any
    triggers: list[str]
    writers: list[Any]
    metadata: Mapping[str, Any] | None


def plan_of(
    nodes: Mapping[str, CompiledNode],
    channels: Mapping[str, object],
    *,
    input_channels: str | Sequence[str],
    interrupt_before: str | Sequence[str] = (),
    interrupt_after: str | Sequence[str] = (),
) -> Plan:
    """Read the plan of a picture off a compiled graph.

    Args:
        nodes: The compiled nodes.
        channels: The channels, and managed values if there are any.
        input_channels: Where the input goes. A list of channels may get any part of it, and starts nothing here.
        interrupt_before: Node names; ``"*"`` marks none, since it says nothing about a single node.
        interrupt_after: As ``interrupt_before``.
    """
    joins = {
        name: frozenset(channel.names)
        for name, channel in channels.items()
        if isinstance(channel, (NamedBarrierValue, NamedBarrierValueAfterFinish))
    }
    held = (LastValueAfterFinish, NamedBarrierValueAfterFinish)
    deferred = {
        name.split(":", 2)[-1] for name, channel in channels.items() if isinstance(channel, LastValueAfterFinish)
    }
    return Plan(
        nodes={name: _plan_node(node, is_deferred=name in deferred) for name, node in nodes.items()},
        inputs=(input_channels,) if isinstance(input_channels, str) else (),
        joins=joins,
        held=frozenset(name for name, channel in channels.items() if isinstance(channel, held)),
        interrupt_before=() if isinstance(interrupt_before, str) else interrupt_before,
        interrupt_after=() if isinstance(interrupt_after, str) else interrupt_after,
    )


def _plan_node(node: CompiledNode, *, is_deferred: bool) -> PlanNode:
    metadata = dict(node.metadata or {})
    if is_deferred:
        metadata["defer"] = True
    tools = getattr(node.bound, "tools_by_name", None)
    if isinstance(tools, Mapping) and tools:
        metadata["__tools"] = list(tools)
    writes: list[Write] = []
    possible: list[PossibleWrite] = []
    for writer in node.writers:
        if isinstance(writer, ChannelWrite):
            writes.extend(_certain_writes(writer))
        for channel, _, label in ChannelWrite.get_static_writes(writer) or ():
            possible.append(PossibleWrite(channel, label))
    return PlanNode(node.bound, metadata, tuple(sorted(node.triggers)), tuple(writes), tuple(possible))


def _certain_writes(writer: ChannelWrite) -> Iterable[Write]:
    for entry in writer.writes:
        if not isinstance(entry, ChannelWriteEntry):
            continue
        writes_nothing = entry.value is None or entry.value is PASSTHROUGH
        if entry.skip_none and writes_nothing and entry.mapper is None:
            continue
        yield Write(entry.channel, entry.value if isinstance(entry.value, str) else None)


# --- the walk ---


class _Edge(NamedTuple):
    source: str
    target: str
    dashed: bool
    label: str | None

    @property
    def order(self) -> tuple[str, str, bool, str]:
        return self.source, self.target, self.dashed, self.label or ""


class _Mark(NamedTuple):
    """A mark that a node writes a channel, certainly or (dashed) perhaps."""

    channel: str
    dashed: bool
    label: str | None


@dataclass(slots=True)
class _Channels:
    """The channels that start something: the little of a channel's life that a picture needs."""

    plan: Plan
    starts: Mapping[str, Sequence[str]]
    arrived: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    waiting: set[str] = field(default_factory=set)
    released: set[str] = field(default_factory=set)

    def consume(self, channels: Iterable[str]) -> None:
        """Reset what has just started a node."""
        for channel in channels:
            if channel in self.plan.held and channel not in self.released:
                continue
            self.released.discard(channel)
            self.waiting.discard(channel)
            if channel in self.plan.joins and self.arrived[channel] == self.plan.joins[channel]:
                self.arrived[channel] = set()

    def write(self, writes: Iterable[Write]) -> set[str]:
        """Apply a step's writes; return the channels that start nodes."""
        ready: set[str] = set()
        for write in writes:
            channel = write.channel
            names = self.plan.joins.get(channel)
            if names is not None:
                if write.name not in names:
                    continue
                self.arrived[channel].add(write.name)
                if self.arrived[channel] != names:
                    continue
            if channel in self.plan.held:
                self.waiting.add(channel)
                self.released.discard(channel)
            else:
                ready.add(channel)
        return ready

    def release(self) -> set[str]:
        """Let go of the channels that were held back; return them."""
        released = self.waiting - self.released
        self.released |= released
        return released


class _Walk:
    """One walk through a plan; the edges it finds are in ``edges``."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.edges: set[_Edge] = set()
        self.last_step: list[str] = []
        self._marks: dict[str, set[_Mark]] = {}
        self._writers: dict[str, set[tuple[str, bool, str | None]]] = defaultdict(set)
        starts: dict[str, list[str]] = defaultdict(list)
        for name, node in plan.nodes.items():
            for channel in node.triggers:
                starts[channel].append(name)
        self._channels = _Channels(plan, starts)
        self.first_nodes = self._started_by(self._channels.write(map(Write, plan.inputs)))

    def go(self) -> None:
        """Walk until nothing starts any more, or for long enough."""
        reached = self.first_nodes
        for _ in range(max(FEWEST_STEPS, len(self.plan.nodes))):
            if not reached:
                return
            reached = self._step(reached)

    def _step(self, names: list[str]) -> list[str]:
        writes: list[Write] = []
        for name in names:
            writes += self._run(name)
        self.last_step = names
        for name in names:
            self._channels.consume(self.plan.nodes[name].triggers)
        ready = self._channels.write(writes)
        if self._channels.starts.keys().isdisjoint(ready):
            ready |= self._channels.release()
        reached = self._started_by(ready)
        outdated: list[tuple[str, _Mark]] = []
        for name in reached:
            outdated += self._connect(name, names)
        for source, mark in outdated:
            self._forget(source, mark)
        return reached

    def _run(self, name: str) -> list[Write]:
        """Note what a node writes; return the writes that are to be applied."""
        node = self.plan.nodes[name]
        possible = [write for write in node.possible if write.channel != END]
        marks = {_Mark(write.channel, True, write.label) for write in possible}
        is_first_time = name not in self._marks
        labels = {write.channel: write.label for write in possible} if is_first_time else {}
        for write in node.writes:
            is_also_possible = write.name is None and write.channel in labels
            marks.add(_Mark(write.channel, is_also_possible, labels[write.channel] if is_also_possible else None))
        for mark in self._marks.get(name, ()):
            self._writers[mark.channel].discard((name, mark.dashed, mark.label))
        for mark in marks:
            self._writers[mark.channel].add((name, mark.dashed, mark.label))
        self._marks[name] = marks
        if not is_first_time:
            return list(node.writes)
        self.edges.update(_Edge(name, END, True, end.label) for end in node.possible if end.channel == END)
        return [*node.writes, *(Write(write.channel) for write in possible)]

    def _connect(self, name: str, step: list[str]) -> list[tuple[str, _Mark]]:
        """Add the edges into a node that was reached from ``step``; return the marks that were older than that."""
        outdated: list[tuple[str, _Mark]] = []
        is_from_step = False
        for channel in self.plan.nodes[name].triggers:
            for source, dashed, label in self._writers[channel]:
                self.edges.add(_Edge(source, name, dashed, label))
                if source in step:
                    is_from_step = True
                else:
                    outdated.append((source, _Mark(channel, dashed, label)))
        if not is_from_step:
            self.edges.update(_Edge(source, name, True, None) for source in step)
        return outdated

    def _forget(self, source: str, mark: _Mark) -> None:
        self._marks[source].discard(mark)
        self._writers[mark.channel].discard((source, mark.dashed, mark.label))

    def _started_by(self, channels: Iterable[str]) -> list[str]:
        return sorted({name for channel in channels for name in self._channels.starts.get(channel, ())})


# --- the picture ---


class Picture(Graph):
    """langchain-core's picture, whose JSON names classes as LangGraph does: that JSON is read by other programs."""

    def to_json(self, *, with_schemas: bool = False) -> dict[str, list[dict[str, object]]]:
        """Return the picture as JSON data; see langchain-core."""
        described = super().to_json(with_schemas=with_schemas)
        for node in described["nodes"]:
            data = node.get("data")
            if isinstance(data, dict) and isinstance(data.get("id"), list):
                path = tuple(data["id"])
                data["id"] = list(_WIRE_PATHS.get(path, path))
        return described

    def __eq__(self, other: object) -> bool:
        """Return whether the other one shows the same, be it of this class or langchain-core's."""
        return isinstance(other, Graph) and self.nodes == other.nodes and self.edges == other.edges


_RUNNABLES: Final = ("langgraph", "_internal", "_runnable")
_WIRE_PATHS: Final[dict[tuple[str, ...], tuple[str, ...]]] = {
    ("stategraph", "engine", "compile", "functions", "RunnableCallable"): (*_RUNNABLES, "RunnableCallable"),
    ("stategraph", "engine", "compile", "functions", "RunnableSeq"): (*_RUNNABLES, "RunnableSeq"),
    ("stategraph", "graph", "compiled", "CompiledStateGraph"): ("langgraph", "graph", "state", "CompiledStateGraph"),
    ("stategraph", "engine", "engine", "StateGraphEngine"): ("langgraph", "pregel", "main", "Pregel"),
    ("stategraph", "prebuilt", "tool_node", "ToolNode"): ("langgraph", "prebuilt", "tool_node", "ToolNode"),
    ("stategraph", "prebuilt", "validation_node", "ValidationNode"): (
        *("langgraph", "prebuilt", "tool_validator"),
        "ValidationNode",
    ),
}


class DrawableGraph(Protocol):
    """The attributes of a compiled graph that are read."""

    @property
    def nodes(self) -> Mapping[str, Any]:
        """The compiled nodes."""

    @property
    def channels(self) -> Mapping[str, Any]:
        """The channels, and managed values if there are any."""

    @property
    def input_channels(self) -> str | Sequence[str]:
        """The channels of the input."""

    @property
    def interrupt_before_nodes(self) -> str | Sequence[str]:
        """The nodes before which runs stop."""

    @property
    def interrupt_after_nodes(self) -> str | Sequence[str]:
        """The nodes after which runs stop."""

    def get_subgraphs(self) -> Iterator[tuple[str, Any]]:
        """Yield the graphs that nodes run, by the names of these nodes."""

    def aget_subgraphs(self) -> AsyncIterator[tuple[str, Any]]:
        """Like `get_subgraphs`."""


def draw(graph: DrawableGraph, config: RunnableConfig | None = None, *, xray: int | bool = False) -> Graph:
    """Draw a compiled graph.

    Args:
        graph: The graph.
        config: Handed on to the subgraphs.
        xray: How many levels of subgraphs are drawn in place of their nodes; True for all.

    Returns:
        langchain-core's picture of it.
    """
    subgraphs = dict(graph.get_subgraphs()) if xray else {}
    deeper = _one_level_less(xray)
    pictures = {name: subgraph.get_graph(config, xray=deeper) for name, subgraph in subgraphs.items()}
    return picture(_plan_of_graph(graph), subgraphs=pictures)


async def adraw(graph: DrawableGraph, config: RunnableConfig | None = None, *, xray: int | bool = False) -> Graph:
    """Like `draw`, for graphs with subgraphs that have to be asked over a network: they are asked at once."""
    subgraphs = [item async for item in graph.aget_subgraphs()] if xray else []
    deeper = _one_level_less(xray)
    drawn = await asyncio.gather(*(subgraph.aget_graph(config, xray=deeper) for _, subgraph in subgraphs))
    pictures = {name: one for (name, _), one in zip(subgraphs, drawn, strict=True)}
    return picture(_plan_of_graph(graph), subgraphs=pictures)


def _plan_of_graph(graph: DrawableGraph) -> Plan:
    return plan_of(
        graph.nodes,
        graph.channels,
        input_channels=graph.input_channels,
        interrupt_before=graph.interrupt_before_nodes,
        interrupt_after=graph.interrupt_after_nodes,
    )


def _one_level_less(xray: int | bool) -> int | bool:
    return xray if isinstance(xray, bool) or xray <= 0 else xray - 1


def picture(plan: Plan, *, subgraphs: Mapping[str, Graph] | None = None) -> Graph:
    """Draw a plan.

    Args:
        plan: What to draw.
        subgraphs: Pictures to put in place of nodes, by node name. They are changed.

    Returns:
        langchain-core's picture of it.
    """
    walk = _Walk(plan)
    walk.go()
    graph = Picture()
    for name, node in plan.nodes.items():
        graph.add_node(node.data, name, metadata=_metadata(plan, name, node) or None)
    if START not in plan.nodes:
        graph.add_node(None, START)
        for name in walk.first_nodes:
            _connect(graph, _Edge(START, name, False, None))
    for edge in sorted(walk.edges, key=lambda edge: edge.order):
        _connect(graph, edge)
    for edge in _last_edges(walk):
        _connect(graph, edge)
    for name, subgraph in (subgraphs or {}).items():
        _insert(graph, name, subgraph)
    return graph


def _metadata(plan: Plan, name: str, node: PlanNode) -> dict[str, object]:
    metadata = dict(node.metadata)
    stops = [
        word for word, names in (("before", plan.interrupt_before), ("after", plan.interrupt_after)) if name in names
    ]
    if stops:
        metadata["__interrupt"] = ",".join(stops)
    return metadata


def _last_edges(walk: _Walk) -> list[_Edge]:
    """Return the edges to the end that no node declares."""
    sources = {edge.source for edge in walk.edges}
    targets = {edge.target for edge in walk.edges}
    loose = sorted(targets - sources - {END})
    if loose:
        return [_Edge(name, END, False, None) for name in loose]
    if len(walk.last_step) == 1 and END not in targets:
        return [_Edge(walk.last_step[0], END, True, None)]
    return []


def _connect(graph: Graph, edge: _Edge) -> None:
    """Add an edge, unless the two nodes have one."""
    if any(known.source == edge.source and known.target == edge.target for known in graph.edges):
        return
    if edge.target == END and END not in graph.nodes:
        graph.add_node(None, END)
    label = None if edge.label == edge.target else edge.label
    graph.add_edge(graph.nodes[edge.source], graph.nodes[edge.target], label, edge.dashed)


def _insert(graph: Graph, name: str, subgraph: Graph) -> None:
    """Put a picture in place of a node, if it has an entry and an exit to connect."""
    if name not in graph.nodes or len(subgraph.nodes) < 2 or not subgraph.first_node() or not subgraph.last_node():
        return
    subgraph.trim_first_node()
    subgraph.trim_last_node()
    del graph.nodes[name]
    entry, exit_ = graph.extend(subgraph, prefix=name)
    for at, edge in enumerate(graph.edges):
        source = exit_.id if exit_ is not None and edge.source == name else edge.source
        target = entry.id if entry is not None and edge.target == name else edge.target
        graph.edges[at] = edge.copy(source=source, target=target)
