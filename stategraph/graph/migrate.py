"""Checkpoints of older formats: under which channel the trigger of a node was kept.

Up to format 2 a node was triggered by a channel for each way to get there: `start:node`, `branch:source:router:node`,
or the name of the node before it. Since then a node has one channel, `branch:to:node`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from stategraph.constants import END, INTERRUPT, MISSING, START
from stategraph.graph.writer import branch_channel

if TYPE_CHECKING:
    from stategraph.engine.checkpoints.saver_interfaces import Checkpoint

ONE_TRIGGER_EACH: Final = 3
"""The first format with one channel for each node."""


def move_triggers(checkpoint: Checkpoint, nodes: Collection[str], edges: Iterable[tuple[str, str]]) -> None:
    """Bring the triggers in a checkpoint under the channels of today.

    Args:
        checkpoint: The checkpoint, changed in place.
        nodes: The graph's nodes. Triggers of nodes that it no longer has stay as they are.
        edges: The graph's plain edges.
    """
    versions = checkpoint["channel_versions"]
    if not versions or checkpoint["v"] >= ONE_TRIGGER_EACH:
        return
    for old, node in [*_start_triggers(versions, nodes), *_branch_triggers(versions, nodes)]:
        _move(checkpoint, old, [node])
    followers = defaultdict(list)
    for start, end in sorted(edges):
        if start != START and end != END:
            followers[start].append(end)
    for old in [channel for channel in versions if channel in nodes and channel != START]:
        _move(checkpoint, old, followers[old])


def _start_triggers(channels: Iterable[str], nodes: Collection[str]) -> Iterator[tuple[str, str]]:
    for channel in channels:
        if channel.startswith("start:") and (node := channel.split(":")[1]) in nodes:
            yield channel, node


def _branch_triggers(channels: Iterable[str], nodes: Collection[str]) -> Iterator[tuple[str, str]]:
    for channel in channels:
        parts = channel.split(":")
        if len(parts) == 4 and parts[0] == "branch" and parts[3] in nodes:
            yield channel, parts[3]


def _move(checkpoint: Checkpoint, old: str, nodes: Iterable[str]) -> None:
    values, versions, seen = checkpoint["channel_values"], checkpoint["channel_versions"], checkpoint["versions_seen"]
    version, value = versions.pop(old), values.pop(old, MISSING)
    at_interrupt = seen.get(INTERRUPT, {}).pop(old, None)
    for node in nodes:
        new = branch_channel(node)
        versions[new] = _later(versions.get(new), version)
        if value is not MISSING:
            values.setdefault(new, value)
        if node in seen and old in seen[node]:
            seen[node][new] = _later(seen[node].get(new), seen[node].pop(old))
        if at_interrupt is not None:
            seen[INTERRUPT][new] = _later(seen[INTERRUPT].get(new), at_interrupt)


def _later(known: Any, other: Any) -> Any:
    return other if known is None else max(known, other)
