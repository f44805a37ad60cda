"""Decide what comes next after a state was changed.

A changed state counts as that of one node, whose edges are asked anew. What its edges cannot have decided is kept as it
was: what a `Command` of the node named, packets (`Send`) of it, and what the other nodes of the same step led to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from stategraph.constants import TASKS
from stategraph.dev.inspector.graphs import Graph
from stategraph.dev.inspector.steps import Step
from stategraph.dev.replies import RefusedError

_PACKET: Final = "__pregel_push"


@dataclass(frozen=True, slots=True)
class _Edges:
    """The edges that lead out of a node.

    Attributes:
        fixed: Nodes that always follow.
        asked: Nodes that a router may choose; None: any.
    """

    fixed: frozenset[str]
    asked: frozenset[str] | None

    @classmethod
    def of(cls, graph: Graph, node: str) -> _Edges:
        builder = getattr(graph, "builder", None)
        fixed = {target for source, target in getattr(builder, "edges", ()) if source == node}
        fixed |= {target for sources, target in getattr(builder, "waiting_edges", ()) if node in sources}
        routers = list(getattr(builder, "branches", {}).get(node, {}).values())
        ends = [getattr(each, "ends", None) for each in routers]
        asked = None if None in ends else frozenset(str(end) for each in ends for end in dict(each or {}).values())
        return cls(frozenset(fixed), asked)

    @property
    def lead_on(self) -> bool:
        return bool(self.fixed or self.asked is None or self.asked)

    def may_choose(self, node: str) -> bool:
        return self.asked is None or node in self.asked


async def kept(graph: Graph, step: Step, node: str, made: Sequence[str], *, chosen: bool) -> list[Any]:
    """Return what comes next as it did before the change: names of nodes, and packets.

    Args:
        graph: The compiled graph.
        step: The step whose state is changed.
        node: The node that the changed state counts as that of.
        made: The nodes that made the step.
        chosen: Whether somebody named that node; else what cannot be told apart is refused.

    Raises:
        RefusedError: A router of the node may have chosen what comes next, and so may another node of the step; or
            packets cannot be read.
    """
    edges = _Edges.of(graph, node)
    if node not in made and edges.lead_on:
        return []
    packets, names = _pending(step)
    if not chosen:
        _check(graph, node, [each for each in made if each != node], [*packets, *names])
    found: list[Any] = [each for each in names if each not in edges.fixed and not edges.may_choose(each)]
    if not all(map(edges.may_choose, packets)):
        found += [each for each in await _packets(graph, step, packets) if not edges.may_choose(each.node)]
    return found


def _pending(step: Step) -> tuple[list[str], list[str]]:
    """Return the nodes that packets of a step go to, and those that come next without one."""
    packets: list[str] = []
    names: list[str] = []
    for task in step.state.tasks:
        (packets if task.path[:1] == (_PACKET,) else names).append(task.name)
    return packets, names


def _check(graph: Graph, node: str, others: Sequence[str], upcoming: Sequence[str]) -> None:
    asked = {each for each in upcoming if _Edges.of(graph, node).may_choose(each)}
    lost = set()
    for other in (_Edges.of(graph, each) for each in others):
        lost |= {each for each in asked if each in other.fixed or other.may_choose(each) or not other.lead_on}
    if lost:
        raise RefusedError(
            409,
            f"What comes next may be lost: {', '.join(sorted(lost))}. {node} and {', '.join(sorted(others))} made this "
            "step together, and more than one of them may have chosen it. Choose the node whose edges are to be asked, "
            "'as_node', or rerun the step without changing values",
        )


async def _packets(graph: Graph, step: Step, names: Sequence[str]) -> list[Any]:
    """Return the packets that a step is about to process, as they are stored."""
    saver: Any = getattr(graph, "checkpointer", None)
    saved = await saver.aget_tuple(step.place.config(step.id)) if hasattr(saver, "aget_tuple") else None
    found = [] if saved is None else list(saved.checkpoint["channel_values"].get(TASKS) or [])
    if Counter(getattr(each, "node", None) for each in found) != Counter(names):
        told = ", ".join(sorted(set(names)))
        raise RefusedError(
            409,
            f"The packets for {told} cannot be read, and would be lost: change the step before it, or rerun this one "
            "without changing values",
        )
    return found
