"""Checks of a state graph: each statement when it is made, the whole when it is compiled.

Each error names the node or the edge, the mistake, and a way to mend it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from stategraph.constants import END, NS_END, NS_SEP, START
from stategraph.core import explain

if TYPE_CHECKING:  # they name langchain's runnables
    from stategraph.graph.branch import BranchSpec
    from stategraph.graph.node import StateNodeSpec

_SEPARATORS: Final = (NS_SEP, NS_END)


def node_name(name: str) -> None:
    """Check the name of a node.

    Raises:
        ValueError: It is `START`, `END`, or has a character that separates names in a checkpoint's namespace.
    """
    if name in (START, END):
        raise ValueError(f"`{name}` stands for the start or the end of a graph: give the node another name")
    for character in _SEPARATORS:
        if character in name:
            raise ValueError(
                f"A node cannot be called '{name}': '{character}' separates names in checkpoint namespaces"
            )


def edge(starts: Sequence[str], end: str, nodes: Collection[str] | None) -> None:
    """Check an edge.

    Args:
        starts: The nodes it comes from.
        end: The node it goes to.
        nodes: The nodes there are so far; None if nodes may be added after their edges.

    Raises:
        ValueError: It leaves `END`, enters `START`, or names an unknown node.
        TypeError: A node is not given by its name.
    """
    for name in (*starts, end):
        if not isinstance(name, str):
            raise TypeError(
                f"An edge names nodes by strings; found {name!r}, of type {type(name).__name__}. Give the name under "
                "which the node was added."
            )
    if END in starts:
        raise ValueError(f"No edge can leave END; this one goes to '{end}'")
    if end == START:
        raise ValueError(f"No edge can enter START; this one comes from {list(starts)!r}")
    if nodes is not None:
        for name in (*starts, end):
            if name not in nodes and (name != END or name in starts):
                raise ValueError(
                    f"`{name}` is no node yet: an edge from several nodes can only name nodes that were added before it"
                )


def graph(
    nodes: Mapping[str, StateNodeSpec[Any, Any]],
    *,
    edges: Iterable[tuple[str, str]],
    branches: Mapping[str, Mapping[str, BranchSpec]],
    interrupt: Iterable[str],
) -> None:
    """Check a whole graph.

    Args:
        nodes: Nodes by name.
        edges: Pairs of names.
        branches: Conditional edges by source and name.
        interrupt: Nodes to pause at.

    Raises:
        ValueError: There is no way in, or an edge or an interrupt names an unknown node.
    """
    edges = sorted(edges)
    _sources(nodes, {start for start, _ in edges} | {start for start, specs in branches.items() if specs})
    for start, end in edges:
        if _is_unknown(end, nodes):
            raise ValueError(f"Found edge ending at unknown node `{end}`: '{start}' -> '{end}'{_known(end, nodes)}")
    _answers_of_routers(nodes, branches)
    _destinations(nodes)
    for name in interrupt:
        if name not in nodes:
            raise ValueError(f"Cannot interrupt at `{name}`, which is not a node{_known(name, nodes)}")


def _sources(nodes: Collection[str], sources: Collection[str]) -> None:
    """Check that edges leave known nodes, and that one of them leaves `START`."""
    for source in sorted(sources):
        if source != START and source not in nodes:
            raise ValueError(f"Found edge starting at unknown node '{source}'{_known(source, nodes)}")
    if START not in sources:
        raise ValueError("The graph has no beginning: add an edge from START to its first node")


def _answers_of_routers(nodes: Collection[str], branches: Mapping[str, Mapping[str, BranchSpec]]) -> None:
    """Check that conditional edges can only end at known nodes."""
    for start, specs in branches.items():
        for name, branch in specs.items():
            for end in filter(lambda each: _is_unknown(each, nodes), (branch.ends or {}).values()):
                raise ValueError(
                    f"Router '{name}' of '{start}' may answer '{end}', which is not a node{_known(end, nodes)}"
                )


def _destinations(nodes: Mapping[str, StateNodeSpec[Any, Any]]) -> None:
    """Check that the destinations that nodes name are nodes."""
    for name, spec in nodes.items():
        for end in filter(lambda each: _is_unknown(each, nodes), spec.ends or ()):
            raise ValueError(
                f"Found edge ending at unknown node `{end}`: a destination of '{name}'{_known(end, nodes)}"
            )


def _is_unknown(end: str, nodes: Collection[str]) -> bool:
    return end != END and end not in nodes


def _known(name: str, nodes: Iterable[str]) -> str:
    return f". {explain.what_there_is(name, tuple(nodes))}"
