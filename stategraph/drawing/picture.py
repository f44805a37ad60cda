"""Nodes and edges to be drawn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Kind = Literal["start", "end", "node"]


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a picture.

    Attributes:
        id: Its name in edges.
        label: The text in its box.
        kind: Whether the graph begins or ends there.
    """

    id: str
    label: str
    kind: Kind = "node"


@dataclass(frozen=True, slots=True)
class Edge:
    """A way from one node to another.

    Attributes:
        source: The id of the node where it begins.
        target: The id of the node where it ends.
        label: The text beside it; empty: none.
        conditional: Whether it is taken only sometimes; drawn dashed.
    """

    source: str
    target: str
    label: str = ""
    conditional: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """A graph to be drawn.

    Attributes:
        nodes: Its nodes, in the order of their definition.
        edges: Its edges, one from a node to another at most; an edge of a node to itself is allowed.
    """

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    @classmethod
    def of(cls, nodes: Iterable[Node], edges: Iterable[Edge]) -> Picture:
        """Make a picture; edges between the same nodes become one, with the labels of all.

        Raises:
            ValueError: An edge names a node that is not there.
        """
        known = {each.id: each for each in nodes}
        merged: dict[tuple[str, str], Edge] = {}
        for edge in edges:
            if missing := {edge.source, edge.target} - known.keys():
                raise ValueError(f"An edge from '{edge.source}' to '{edge.target}' names no node: {sorted(missing)}")
            at = (edge.source, edge.target)
            before = merged.get(at)
            if before is not None:
                label = " / ".join(dict.fromkeys(each for each in (before.label, edge.label) if each))
                edge = Edge(*at, label, before.conditional and edge.conditional)
            merged[at] = edge
        return cls(tuple(known.values()), tuple(merged.values()))


class DrawnEdge(Protocol):
    """An edge of langchain-core's drawable graph."""

    @property
    def source(self) -> str:
        """The node that it leaves."""

    @property
    def target(self) -> str:
        """The node that it leads to."""

    @property
    def data(self) -> object:
        """The label."""

    @property
    def conditional(self) -> bool:
        """True if it is taken only sometimes."""


class Drawable(Protocol):
    """A graph as `get_graph()` of a compiled graph returns it."""

    @property
    def nodes(self) -> Mapping[str, object]:
        """The nodes by id."""

    @property
    def edges(self) -> Sequence[DrawnEdge]:
        """The edges."""


def picture_of(graph: Drawable) -> Picture:
    """Return the picture of what `get_graph()` of a compiled graph returns."""
    sources, targets = {each.source for each in graph.edges}, {each.target for each in graph.edges}
    nodes = []
    for id_ in graph.nodes:
        end = id_.rpartition(":")[2]
        kind: Kind = "node"
        if end == "__start__" and id_ not in targets:
            kind = "start"
        elif end == "__end__" and id_ not in sources:
            kind = "end"
        label = {"__start__": "start", "__end__": "end"}.get(id_, id_)
        nodes.append(Node(id_, label, kind))
    edges = [Edge(each.source, each.target, str(each.data or ""), each.conditional) for each in graph.edges]
    return Picture.of(nodes, edges)
