"""The edges of a program, as far as scheduling without a barrier needs them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Flow:
    """The edges of a graph, as they are known before a run.

    Attributes:
        bits: For each node one bit, to keep sets of nodes as numbers.
        before: For each node those that may lead to it, along declared edges; itself, if it may come round.
        any: Nodes that each arrival starts by itself.
        joins: For each channel of an edge from several nodes the names that it waits for.
        deferred: Nodes that wait until nothing else is left to run.
        identify: Gives the messages among writes their ids, so that every reader sees the same ones; in place.
    """

    bits: Mapping[str, int]
    before: Mapping[str, int]
    any: frozenset[str]
    joins: Mapping[str, frozenset[str]]
    deferred: frozenset[str]
    identify: Callable[[list[Any]], None]


def flow(
    nodes: Iterable[str],
    edges: Iterable[tuple[str, str]],
    *,
    each: Iterable[str],
    joins: Mapping[str, Iterable[str]],
    deferred: Iterable[str],
    identify: Callable[[list[Any]], Any],
) -> Flow:
    """Work out which nodes may lead to which.

    Args:
        nodes: All nodes.
        edges: Pairs of nodes: whatever an edge, a router or a command may lead to, as far as it is declared.
        each: Nodes that each arrival starts by itself.
        joins: For each channel of an edge from several nodes these nodes.
        deferred: Nodes that wait until nothing else is left to run.
        identify: Gives the messages among writes their ids, in place.
    """
    bits = {name: 1 << index for index, name in enumerate(nodes)}
    followers: dict[str, list[str]] = {name: [] for name in bits}
    for start, end in edges:
        if start in bits and end in bits:
            followers[start].append(end)
    before = dict.fromkeys(bits, 0)
    changed = list(bits)
    while changed:
        name = changed.pop()
        reached = before[name] | bits[name]
        for follower in followers[name]:
            if before[follower] | reached != before[follower]:
                before[follower] |= reached
                changed.append(follower)
    return Flow(
        bits,
        before,
        frozenset(each),
        {channel: frozenset(names) for channel, names in joins.items()},
        frozenset(deferred),
        identify,
    )
