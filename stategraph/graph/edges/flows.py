"""The edges of a graph whose nodes start without a barrier, and warnings about joins that can never open."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from stategraph.constants import START
from stategraph.core.flow import Flow, flow
from stategraph.graph.edges.joins import Declared, Edges, Waiting, branches_to, ends_of
from stategraph.scheduling import Scheduling


class JoinWarning(UserWarning):
    """A join, or a router before one, will not do what its author may expect."""


def finder(
    builder: Declared,
    specs: Mapping[str, Any],
    edges: tuple[Edges, Waiting],
    channels: Mapping[str, object],
    scheduling: Scheduling,
) -> Callable[[], Flow] | None:
    """Return what works out the `Flow` of a graph, or None if it has a barrier; warn of what its author should know.

    Args:
        builder: The graph.
        specs: Its nodes, with defaults.
        edges: Its plain edges, and those from several nodes.
        channels: Its channels.
        scheduling: When its nodes start.
    """
    if scheduling == "barrier":
        return None
    from stategraph.engine.checkpoints.message_delta import identify_merged
    from stategraph.graph.writer import join_channel

    plain, waiting = edges
    pairs = {
        *plain,
        *((start, end) for starts, end in waiting for start in starts),
        *branches_to(builder),
        *ends_of(specs),
    }
    deferred = {name for name, spec in specs.items() if spec.defer}
    _warn(builder, pairs, waiting)
    return partial(
        flow,
        (START, *specs),
        pairs,
        each=[name for name, join in builder.joins.by_node.items() if join == "any"],
        joins={join_channel(starts, end): starts for starts, end in waiting if end not in deferred},
        deferred=deferred,
        identify=identify_merged(channels),
    )


def _warn(builder: Declared, pairs: Iterable[tuple[str, str]], waiting: Waiting) -> None:
    for source, branches in builder.branches.items():
        for name, branch in branches.items():
            if branch.ends is None:
                _say(
                    f"Router '{name}' of '{source}' does not say where it may lead to, so no node waits for it. Pass "
                    "the names as path_map, or annotate its return type with Literal[...]"
                )
    followers: dict[str, set[str]] = {}
    for start, end in pairs:
        followers.setdefault(start, set()).add(end)
    reachable = _reached(followers)
    choices = list(_choices(builder, followers))
    for starts, end in sorted(waiting):
        missing = sorted(set(starts) - reachable)
        if missing:
            _say(f"The join of {list(starts)} before '{end}' can never open: nothing leads to '{missing[0]}'")
            continue
        for source, name, needed in choices:
            answers = {start: needed[start] for start in starts if start in needed}
            if len(set(answers.values())) > 1:
                (first, one), (second, other) = _two_of(answers)
                _say(
                    f"The join of {list(starts)} before '{end}' opens only if router '{name}' of '{source}' answers "
                    f"'{one}' and '{other}' at once: '{first}' needs the one, '{second}' the other. To go on with "
                    "those that were selected, pass join='all_selected'"
                )
                break


def _choices(builder: Declared, followers: Mapping[str, set[str]]) -> Iterable[tuple[str, str, dict[str, str]]]:
    """Yield routers, with the answer of theirs that each node needs which is reached by one answer only."""
    others: dict[tuple[str, str], int] = {}
    for pair in branches_to(builder):
        others[pair] = others.get(pair, 0) + 1
    for source, branches in builder.branches.items():
        for name, branch in branches.items():
            ends = set((branch.ends or {}).values())
            if len(ends) < 2:
                continue
            needed: dict[str, str] = {}
            for end in sorted(ends):
                without = {start: set(found) for start, found in followers.items()}
                if (source, end) in builder.edges or others[source, end] > 1:
                    continue
                without[source].discard(end)
                for node in _reached(followers) - _reached(without):
                    needed[node] = end
            yield source, name, needed


def _reached(followers: Mapping[str, Iterable[str]]) -> set[str]:
    reached, open_ = {START}, [START]
    while open_:
        for end in followers.get(open_.pop(), ()):
            if end not in reached:
                reached.add(end)
                open_.append(end)
    return reached


def _two_of(answers: Mapping[str, str]) -> tuple[tuple[str, str], tuple[str, str]]:
    first, *rest = sorted(answers.items())
    return first, next(item for item in rest if item[1] != first[1])


def _say(message: str) -> None:
    # From here to the caller of `compile`.
    warnings.warn(message, JoinWarning, stacklevel=5)
