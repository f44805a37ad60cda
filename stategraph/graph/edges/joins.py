"""The joins of a graph in the making: when the edges that lead to a node start it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol, get_args

from stategraph.constants import END
from stategraph.errors import ConfigurationError
from stategraph.scheduling import FanOut, Join, Scheduling

if TYPE_CHECKING:
    from stategraph.graph.branch import BranchSpec

Edges = set[tuple[str, str]]
Waiting = set[tuple[tuple[str, ...], str]]

_JOINS: Final = get_args(Join)
_SCHEDULINGS: Final = get_args(Scheduling)


class Declared(Protocol):
    """The edges of a graph as its author has declared them."""

    edges: Edges
    waiting_edges: Waiting
    joins: Joins

    @property
    def branches(self) -> Mapping[str, Mapping[str, BranchSpec]]:
        """The conditional edges, by the node they come from and the name of the router."""


class Joins:
    """The joins that an author has asked for.

    Attributes:
        by_node: Those of nodes, by name.
        fan_outs: The policies of branches that run beside each other, with their nodes.
        selected: Nodes with an edge from several nodes that waits for those of them that were selected.
    """

    __slots__ = ("by_node", "fan_outs", "selected")

    def __init__(self) -> None:
        self.fan_outs: list[tuple[frozenset[str], FanOut]] = []
        self.by_node: dict[str, Join] = {}
        self.selected: set[str] = set()

    def node(self, name: str, join: Join | None) -> None:
        """Note the join of a node.

        Raises:
            ConfigurationError: It is none, or the node has another one.
        """
        if join is None:
            return
        _check(join)
        known = self.by_node.setdefault(name, join)
        if known != join:
            raise ConfigurationError(
                f"Node '{name}' has the join {known!r} and {join!r}; a node has one: leave one out"
            )

    def edge(self, end: str, join: Join | None) -> Join:
        """Note the join of an edge from several nodes, and return what it comes to.

        Raises:
            ConfigurationError: It is none, or does not fit the join of the node.
        """
        if join is None:
            return "all"
        _check(join)
        if join == "any":
            self.node(end, join)
        elif join == "all_selected":
            self.selected.add(end)
        return join

    def fan_out(self, ends: Iterable[str], policy: FanOut | None) -> None:
        """Note the policy of some branches.

        Raises:
            ConfigurationError: It is none, there are no branches, or one of them has another policy.
        """
        if policy is None:
            return
        if not isinstance(policy, FanOut):
            raise ConfigurationError(
                f"policy= takes what a function of stategraph.scheduling returns, such as quorum(2); found {policy!r}"
            )
        ends = [end for end in ends if end != END]
        if not ends:
            raise ConfigurationError(
                "A policy needs to know its branches: name them, by path_map or by the router's return type"
            )
        for nodes, other in self.fan_outs:
            if shared := sorted(nodes.intersection(ends)):
                raise ConfigurationError(
                    f"Node '{shared[0]}' is a branch of two fan-outs with a policy, {other.kind} and {policy.kind}: "
                    "a branch has one policy"
                )
        self.fan_outs.append((frozenset(ends), policy))

    def edges(self, builder: Declared, nodes: Iterable[str], scheduling: Scheduling) -> tuple[Edges, Waiting]:
        """Return the plain edges of a graph and those that wait for several nodes, as the joins have it.

        Args:
            builder: The graph.
            nodes: All of its nodes.
            scheduling: When its nodes start.

        Raises:
            ConfigurationError: The scheduling is none, or a join does not fit it, or the edges of its node.
        """
        if scheduling not in _SCHEDULINGS:
            raise ConfigurationError(f"compile(scheduling=...) is 'barrier' or 'dataflow'; found {scheduling!r}")
        edges, waiting = builder.edges, builder.waiting_edges
        if not (self.by_node or self.selected):
            return edges, waiting
        selected = self.selected | {name for name, join in self.by_node.items() if join == "all_selected"}
        if selected and scheduling == "barrier":
            raise ConfigurationError(
                f"{_named(selected)}: join='all_selected' needs compile(scheduling='dataflow'). In supersteps a node "
                "cannot know what is still to come; `defer=True` waits for everything"
            )
        edges, waiting = set(edges), set(waiting)
        for name, join in self.by_node.items():
            if join == "all":
                starts = self._starts_of(builder, name)
                edges -= {(start, name) for start in starts}
                if starts:
                    waiting.add((starts, name))
            elif join == "any" and any(end == name for _, end in waiting):
                raise ConfigurationError(
                    f"Node '{name}' has join='any', and an edge from several nodes that waits for all of them: pass "
                    "add_edge([...], join='any'), or leave out the join of the node"
                )
        return edges, waiting

    def _starts_of(self, builder: Declared, name: str) -> tuple[str, ...]:
        routers = sorted(start for start, answers in branches_to(builder) if answers == name)
        if routers:
            raise ConfigurationError(
                f"Node '{name}' has join='all', and a router of '{routers[0]}' may lead to it, or not: such a join "
                "would wait for ever. Use join='all_selected'"
            )
        starts = sorted(start for start, end in builder.edges if end == name)
        return tuple(starts) if len(starts) > 1 else ()


def branches_to(builder: Declared) -> Iterable[tuple[str, str]]:
    """Yield what conditional edges may lead to, as far as they say so: pairs of nodes."""
    for start, branches in builder.branches.items():
        for branch in branches.values():
            for end in (branch.ends or {}).values():
                yield start, end


def ends_of(specs: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """Yield what commands and failures of nodes may lead to, as far as they say so: pairs of nodes."""
    for name, spec in specs.items():
        for end in spec.ends or ():
            yield name, end
        if spec.error_handler_node is not None:
            yield name, spec.error_handler_node


def _check(join: object) -> None:
    if join not in _JOINS:
        raise ConfigurationError(f"A join is one of {', '.join(map(repr, _JOINS))}; found {join!r}")


def _named(names: Iterable[str]) -> str:
    return ", ".join(f"Node '{name}'" for name in sorted(names))
