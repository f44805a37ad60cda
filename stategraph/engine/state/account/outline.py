"""The outline of a graph, as far as an account of its threads needs it: who may lead to whom, and which rules apply.

It is read off a compiled graph, of this engine or of an installed LangGraph; or, where there is none, off the names
of channels in its checkpoints. What a node always writes is found as for a drawing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from stategraph.constants import END, START, TASKS
from stategraph.core.channels.barrier import NamedBarrierValue, NamedBarrierValueAfterFinish
from stategraph.core.channels.last_value import LastValueAfterFinish
from stategraph.engine.compile.compiled_graph import CompiledGraph
from stategraph.engine.state import draw

BRANCH: Final = "branch:to:"
_JOIN: Final = "join:"

OWN: Final = ("__", BRANCH, _JOIN)
"""The beginnings of names of channels that are not the state's."""

_SHOWN: Final = frozenset({"__root__", "__end__", "__previous__"})


@dataclass(frozen=True, slots=True)
class Outline:
    """The outline of a graph: what is known of it.

    Attributes:
        is_known: Whether a graph was there to be read; else only what its checkpoints tell is known.
        triggers: For each node the channels that start it.
        fixed: For each node the channels that it always writes.
        joins: For each channel of an edge from several nodes who is waited for.
        routers: For each node its routers by name, with the nodes that they may choose; None: any.
        commands: For each node the nodes that it says its commands may name.
        handlers: For each node with one the node that handles its failure.
        deferred: Nodes that wait until nothing else is left.
        policies: For each node the rules that apply to it, in words.
        before: Nodes that the graph pauses before; "*": all.
        after: Nodes that the graph pauses after; "*": all.
    """

    is_known: bool
    triggers: Mapping[str, tuple[str, ...]]
    fixed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    joins: Mapping[str, frozenset[str]] = field(default_factory=dict)
    routers: Mapping[str, Mapping[str, frozenset[str] | None]] = field(default_factory=dict)
    commands: Mapping[str, frozenset[str]] = field(default_factory=dict)
    handlers: Mapping[str, str] = field(default_factory=dict)
    deferred: frozenset[str] = frozenset()
    policies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    before: Literal["*"] | tuple[str, ...] = ()
    after: Literal["*"] | tuple[str, ...] = ()

    @property
    def nodes(self) -> tuple[str, ...]:
        """The nodes that authors know."""
        return tuple(name for name in self.triggers if name != START)

    def started_by(self, channel: str) -> list[str]:
        """Return the nodes that a channel starts."""
        return [name for name, channels in self.triggers.items() if channel in channels]

    def always_leads(self, source: str, target: str) -> bool:
        """Return whether a plain edge leads from one node to another."""
        channels = set(self.triggers.get(target, ())) - self.joins.keys()
        return not channels.isdisjoint(self.fixed.get(source, ()))

    def routers_to(self, source: str, target: str) -> list[str]:
        """Return the routers of a node that may choose another one."""
        return [
            name for name, ends in self.routers.get(source, {}).items() if ends is None or target in ends
        ]  # fmt: skip

    def joins_of(self, target: str) -> dict[str, frozenset[str]]:
        """Return the edges from several nodes that lead to a node: by channel who is waited for."""
        return {name: self.joins[name] for name in self.triggers.get(target, ()) if name in self.joins}

    def before_of(self, target: str) -> list[str]:
        """Return the nodes that may lead to a node, by edges of any kind."""
        joined = {name for names in self.joins_of(target).values() for name in names}
        return [
            source
            for source in (START, *self.nodes)
            if source in joined
            or self.always_leads(source, target)
            or self.routers_to(source, target)
            or target in self.commands.get(source, ())
        ]

    def pauses_before(self, node: str) -> bool:
        """Return whether the graph was compiled to pause before a node."""
        return self.before == "*" or node in self.before

    def pauses_after(self, node: str) -> bool:
        """Return whether the graph was compiled to pause after a node."""
        return self.after == "*" or node in self.after


def is_of_state(channel: str) -> bool:
    """Return whether a channel holds a value that people mean by the state."""
    return channel in _SHOWN or not channel.startswith(OWN)


def of_graph(graph: CompiledGraph) -> Outline:
    """Read the outline of a compiled graph, of this engine or of an installed LangGraph."""
    builder = getattr(graph, "builder", None)
    nodes, channels = graph.nodes, graph.channels
    plan = draw.plan_of(nodes, channels, input_channels=graph.input_channels)
    specs: Mapping[str, Any] = getattr(builder, "nodes", None) or {}
    handlers = {name: found for name, node in nodes.items() if (found := getattr(node, "error_handler_node", None))}
    held = {name for name, channel in channels.items() if isinstance(channel, LastValueAfterFinish)}
    return Outline(
        is_known=True,
        triggers={name: tuple(sorted(node.triggers)) for name, node in nodes.items()},
        fixed={name: tuple(write.channel for write in node.writes) for name, node in plan.nodes.items()},
        joins=_joins(channels),
        routers=_all_routers(builder),
        commands={name: _ends(spec) for name, spec in specs.items()},
        handlers=handlers,
        deferred=frozenset(name for name, node in nodes.items() if not held.isdisjoint(node.triggers)),
        policies={name: _policies(graph, name) for name in nodes},
        before=_names(graph.interrupt_before_nodes),
        after=_names(graph.interrupt_after_nodes),
    )


def of_checkpoints(checkpoints: Iterable[Mapping[str, Any]]) -> Outline:
    """Read what the names of channels in checkpoints tell of a graph.

    Args:
        checkpoints: Of one graph.
    """
    triggers: dict[str, set[str]] = {}
    joins: dict[str, frozenset[str]] = {}
    for checkpoint in checkpoints:
        for node, seen in checkpoint["versions_seen"].items():
            if node == START or not node.startswith("__"):
                triggers.setdefault(node, set()).update(name for name in seen if name != TASKS)
        for channel in checkpoint["channel_versions"]:
            if channel.startswith(BRANCH):
                triggers.setdefault(channel[len(BRANCH) :], set()).add(channel)
            elif channel.startswith(_JOIN):
                names, _, end = channel[len(_JOIN) :].rpartition(":")
                triggers.setdefault(end, set()).add(channel)
                joins[channel] = frozenset(names.split("+"))
                triggers[end].add(f"{BRANCH}{end}")  # which every node of a state graph listens to
            elif channel == START and not any(START in found for found in triggers.values()):
                triggers.setdefault(START, set()).add(START)
    return Outline(False, {name: tuple(sorted(found)) for name, found in triggers.items()}, joins=joins)


def _joins(channels: Mapping[str, object]) -> dict[str, frozenset[str]]:
    kinds = (NamedBarrierValue, NamedBarrierValueAfterFinish)
    ours = {name: frozenset(channel.names) for name, channel in channels.items() if isinstance(channel, kinds)}
    foreign = {
        name: frozenset(channel.names)
        for name, channel in channels.items()
        if name.startswith(_JOIN) and hasattr(channel, "names")
    }
    return {**foreign, **ours}


def _ends(spec: Any) -> frozenset[str]:
    return frozenset(str(end) for end in spec.ends or ())


def _all_routers(builder: Any) -> dict[str, dict[str, frozenset[str] | None]]:
    return {source: _routers(found) for source, found in (getattr(builder, "branches", None) or {}).items()}


def _routers(branches: Mapping[str, Any]) -> dict[str, frozenset[str] | None]:
    return {
        name: None if branch.ends is None else frozenset(str(end) for end in branch.ends.values() if end != END)
        for name, branch in branches.items()
    }


def _names(given: Any) -> Literal["*"] | tuple[str, ...]:
    return "*" if given == "*" else tuple(given or ())


def _policies(graph: CompiledGraph, name: str) -> tuple[str, ...]:
    """Return the rules that apply to a node, in words."""
    node = graph.nodes[name]
    own = getattr(node, "retry_policy", None) or graph.retry_policy or ()
    retries: Any = (own,) if hasattr(own, "max_attempts") else own
    told = [f"up to {policy.max_attempts} attempts" for policy in retries]
    told += _time_limits(getattr(node, "timeout", None))
    told += _node_limits(getattr(node, "limits", None))
    for nodes, policy in getattr(graph, "_fan_outs", ()):
        if name in nodes:
            told.append(f"fan-out policy {policy.kind}{'' if policy.enough is None else f'({policy.enough})'}")
    return tuple(told)


def _time_limits(timeout: Any) -> list[str]:
    told = []
    for limit, text in (("run_timeout", "for an attempt"), ("idle_timeout", "without a sign of progress")):
        if (found := getattr(timeout, limit, None)) is not None:
            told.append(f"at most {found if isinstance(found, int | float) else found.total_seconds():g} s {text}")
    return told


def _node_limits(limits: Any) -> list[str]:
    if limits is None:
        return []
    told, each = [], " for each key" if limits.key else ""
    if limits.concurrency is not None:
        told.append(f"at most {limits.concurrency} attempts at a time{each}")
    if limits.rate is not None:
        told.append(f"at most {limits.rate} attempts in {limits.per_s:g} s{each}")
    return told
