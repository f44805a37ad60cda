"""The rules of delta channels: what a thread stores of them, and how their values come back from it.

Rules
-----
* A checkpoint stores nothing of a delta channel, or a snapshot. The value is the nearest snapshot among the
  ancestors, with the writes saved on the checkpoints from there on replayed into it. A checkpoint's own pending
  writes belong to its child.
* A snapshot is due after the channel's `snapshot_frequency` updates, or after a number of supersteps without one, so
  that a walk through the history ends.
* A snapshot is forced where a walk would go wrong: after an overwrite, and on a branch from a checkpoint whose
  pending writes belong to another child of it.
* A saver stores a channel's blob only if its version moved. A snapshot of a channel that the step did not write bumps
  the version, and nodes that had seen the old version are marked as having seen the new one: a bump is no write
  and starts no node.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from stategraph.constants import MISSING, NS_END, NS_SEP, NULL_TASK_ID, SNAPSHOT_BUMPS
from stategraph.core.channels import BinaryOperatorAggregate, DeltaChannel, reducers
from stategraph.core.channels.base import AnyChannel

COUNTERS_KEY: Final = "counters_since_delta_snapshot"
"""Where a checkpoint's metadata keep the counters."""

MAX_SUPERSTEPS: Final = 5000
"""Supersteps after which a snapshot is due even if the channel was hardly written."""

REPLAYABLE: Final = (DeltaChannel, BinaryOperatorAggregate)
"""Kinds of channels that the history may have to be asked about. An ordinary reducer stores its value with every
version, so one that has none was a delta channel when it was written."""

Counters = Mapping[str, tuple[int, int]]
"""For each delta channel, since its last snapshot: how many supersteps wrote it, and how many there were."""

Versions = Mapping[str, Any]
Seen = Mapping[str, Versions]
Specs = Mapping[str, object]
Bump = tuple[Any, Any]
"""A version before and after; before is None if there was none."""


def names(specs: Specs) -> frozenset[str]:
    """Return the delta channels of a graph, so that a graph without any pays for none of this."""
    return frozenset(name for name, spec in specs.items() if isinstance(spec, DeltaChannel))


# Reading.


def needing_history(specs: Specs, checkpoint: Mapping[str, Any]) -> list[str]:
    """Find the channels whose value at a checkpoint only the history knows.

    A channel without a version was never written: it is empty, and a walk for it would find no end.

    Args:
        specs: Channels by name.
        checkpoint: The checkpoint.

    Returns:
        Their names, to ask the saver for at once.
    """
    versions, values = checkpoint["channel_versions"], checkpoint["channel_values"]
    return [
        name
        for name, spec in specs.items()
        if name in versions and values.get(name, MISSING) is MISSING and isinstance(spec, REPLAYABLE)
    ]


def replay(spec: AnyChannel, history: Mapping[str, Any]) -> AnyChannel:
    """Make a channel as the history left it.

    Args:
        spec: The channel's template.
        history: What the saver found: the `writes`, oldest first, and the `seed` they start from, if there is one.

    Returns:
        A new channel.
    """
    channel = spec.from_checkpoint(history.get("seed", MISSING))
    writes = history["writes"]
    if isinstance(channel, DeltaChannel):
        channel.replay_writes(writes)
        return channel
    # One by one: the writes of many steps may hold many overwrites, of which one step may not.
    for _, _, value in writes:
        channel.update([value])
    return channel


# When a snapshot is due.


def counted(counters: Counters, channels: Iterable[str], updated: Collection[str]) -> dict[str, tuple[int, int]]:
    """Advance the counters by one superstep.

    Args:
        counters: The counters before.
        channels: The graph's delta channels.
        updated: Channels that the superstep changed.

    Returns:
        Counters of exactly those channels.
    """
    after = {}
    for name in channels:
        updates, supersteps = counters.get(name, (0, 0))
        after[name] = (updates + (name in updated), supersteps + 1)
    return after


def due(
    channels: Mapping[str, AnyChannel],
    counters: Counters,
    versions: Versions,
    max_supersteps: int = MAX_SUPERSTEPS,
) -> set[str]:
    """Find the channels that the next checkpoint should store in full.

    Args:
        channels: Channels with their values, at least those with counters; those of other kinds are passed over.
        counters: The counters of that checkpoint.
        versions: Its channel versions.
        max_supersteps: After how many supersteps a snapshot is due in any case.

    Returns:
        Their names.
    """
    found = set()
    for name, (updates, supersteps) in counters.items():
        if name not in versions:
            continue
        channel = channels[name]
        if not isinstance(channel, DeltaChannel) or not channel.is_available():
            continue
        if updates >= channel.snapshot_frequency or supersteps >= max_supersteps:
            found.add(name)
    return found


def to_store(counters: Counters, snapshotted: Collection[str]) -> dict[str, tuple[int, int]]:
    """Make the counters for a checkpoint's metadata.

    Args:
        counters: The counters of the checkpoint.
        snapshotted: Channels it stores in full.

    Returns:
        What is left to count, without zeros; empty means that the metadata have no counters.
    """
    return {name: count for name, count in counters.items() if name not in snapshotted and count != (0, 0)}


# When a snapshot is forced.


def pending(names: Collection[str], writes: Iterable[tuple[str, str, object]] | None) -> set[str]:
    """Find the delta channels among a checkpoint's pending writes.

    Nothing says which child the writes went into, so a new branch from the checkpoint must not replay them: it stores
    these channels in full.

    Args:
        names: The graph's delta channels.
        writes: Triples of task id, channel and value.

    Returns:
        Their names.
    """
    return {name for _, name, _ in writes or () if name in names}


def overwritten(names: Collection[str], writes: Iterable[tuple[str, object]]) -> set[str]:
    """Find the delta channels that a step overwrote.

    Args:
        names: The graph's delta channels.
        writes: Pairs of channel and value.

    Returns:
        Their names.
    """
    return {name for name, value in writes if name in names and reducers.overwritten(value) is not MISSING}


# Storing a snapshot.


def bumps(
    snapshotted: Iterable[str],
    versions: Versions,
    stored: Versions | None,
    next_version: Callable[[Any, None], Any],
) -> dict[str, Bump]:
    """Find the versions that must move for a saver to store the snapshots.

    Args:
        snapshotted: Channels to store in full.
        versions: The channel versions of the checkpoint.
        stored: Those of the last stored checkpoint; None if that does not matter.
        next_version: The saver's version rule.

    Returns:
        The versions of the channels that the step did not write, before and after.
    """
    moved = {}
    for name in snapshotted:
        if name not in versions:
            moved[name] = (None, next_version(None, None))
        elif stored is not None and versions[name] == stored.get(name):
            moved[name] = (versions[name], next_version(versions[name], None))
    return moved


def _notes(node: str, channel: str) -> tuple[str, str]:
    """Make the keys of two notes: the version that a bump gave, the version that the node really read.

    Neither separator occurs in a node's name.
    """
    return f"{node}{NS_SEP}{channel}", f"{node}{NS_END}{channel}"


def seen_with_bumps(seen: Seen, moved: Mapping[str, Bump], triggers: Mapping[str, Sequence[str]]) -> Seen:
    """Mark bumped versions as seen by those who had seen the versions before.

    Args:
        seen: The versions that each node has seen.
        moved: The bumps.
        triggers: For each channel the nodes it starts. A channel bumped from no version would start those that never
            ran, so they are marked too.

    Returns:
        The versions to store, with notes that `seen_without_bumps` reads. The arguments stay as they are.
    """
    if not moved:
        return seen
    notes = dict(seen.get(SNAPSHOT_BUMPS, {}))
    marked = {node: dict(versions) for node, versions in seen.items() if node != SNAPSHOT_BUMPS}
    for channel, (before, _) in moved.items():
        if before is None:
            for node in triggers.get(channel, ()):
                marked.setdefault(node, {})
    for node, versions in marked.items():
        for channel, (before, after) in moved.items():
            if versions.get(channel) != before:
                continue
            given, read = _notes(node, channel)
            # A version that an earlier bump gave was never read; what was is noted already.
            if before is not None and notes.get(given) != before:
                notes[read] = before
            notes[given] = versions[channel] = after
    if notes:
        marked[SNAPSHOT_BUMPS] = notes
    return marked


def seen_without_bumps(seen: Seen) -> Seen:
    """Return the versions that nodes really read, to tell which node ran last.

    Args:
        seen: The versions as stored.

    Returns:
        The same without what bumps did; nodes keep their place.
    """
    notes = seen.get(SNAPSHOT_BUMPS)
    if not notes:
        return seen
    read: dict[str, dict[str, Any]] = {node: {} for node in seen if node != SNAPSHOT_BUMPS}
    for node, versions in read.items():
        for channel, version in seen[node].items():
            given_key, read_key = _notes(node, channel)
            if notes.get(given_key) != version:
                versions[channel] = version
            elif read_key in notes:
                versions[channel] = notes[read_key]
    return read


# With durability "exit" a run stores one checkpoint. The writes of all its steps are saved on the one it started from.

LATE_PATH_PREFIX: Final = "~~"
"""Sorts after the path of every real task."""


def exit_task_id(step: int, task_id: str) -> str:
    """Make a task id for writes of the step that follows the checkpoint they are saved on.

    It is a UUID, which some savers demand, and not the task's own: a run whose last checkpoint fails to be stored must
    not leave the task looking finished. It is never `NULL_TASK_ID`, whose writes count as the checkpoint's own.

    Args:
        step: The step.
        task_id: The task's id.

    Returns:
        An id that sorts by step.
    """
    changed = f"{step:08d}-{task_id.partition('-')[2]}"
    return changed if changed != NULL_TASK_ID else f"{changed[:-1]}1"


def late_exit_task_id(step: int, task_id: str) -> str:
    """Make a task id for writes of a later step.

    Args:
        step: The step.
        task_id: The task's id.

    Returns:
        A UUID that sorts after every real one, and by step.
    """
    _, _, _, *rest = task_id.split("-")
    return "-".join(("ffffffff", f"{step >> 16:04x}", f"{step & 0xFFFF:04x}", *rest))


def late_exit_path(step: int, path: str) -> str:
    """Make a task path for writes of a later step, for savers that sort by path.

    Args:
        step: The step.
        path: The task's own path, as stored.

    Returns:
        A path that sorts after every real one, and by step.
    """
    return f"{LATE_PATH_PREFIX}{step:010d}{path}"
