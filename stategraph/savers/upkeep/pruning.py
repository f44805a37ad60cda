"""Pruning of a thread: what the rules do not keep is deleted, in one transaction, and what only that needed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from stategraph.constants import INTERRUPT
from stategraph.savers.compact.nodes import Run, read_refs, union
from stategraph.savers.upkeep.rules import Checkpoint, Keep, Place, kept
from stategraph.savers.upkeep.sizes import ThreadSize, is_wide, size_of_thread
from stategraph.savers.upkeep.words import LAST_NUMBER, Statements, Words

_JAVASCRIPT: Final = "delta_writes_versioned"
"""Metadata of threads whose delta channels only LangGraph for JavaScript can follow: they are left alone."""


_AT_ONCE: Final = 500
"""Checkpoints that one statement deletes."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """Result of pruning a thread.

    Attributes:
        thread_id: The thread.
        checkpoints: How many checkpoints were deleted.
        bytes: How many bytes less it has.
        left: What is left of it.
    """

    thread_id: str
    checkpoints: int
    bytes: int
    left: ThreadSize


def prune(words: Words, thread_id: str, keep: Keep, now: float, epoch: int) -> Statements[Pruned]:
    """Prune a thread, within a transaction.

    Args:
        words: The words of the database.
        thread_id: The thread.
        keep: What stays.
        now: Seconds since 1970.
        epoch: A number that the thread never had: other processes notice by it that values were deleted.
    """
    wide = yield from is_wide(words)
    if wide:
        yield f"SELECT id FROM sg_threads WHERE thread_id = ?{words.lock}", (thread_id,)
    before = yield from size_of_thread(words, thread_id, wide=wide)
    deleted = yield from _prune(words, thread_id, keep, now, (epoch, wide))
    left = yield from size_of_thread(words, thread_id, wide=wide)
    if keep.max_bytes is not None and left.bytes > keep.max_bytes:
        last = left.checkpoints
        while left.bytes > keep.max_bytes and last > 1:
            last //= 2
            fewer = Keep(last=last, max_age_s=keep.max_age_s)
            deleted += yield from _prune(words, thread_id, fewer, now, (epoch, wide))
            left = yield from size_of_thread(words, thread_id, wide=wide)
    return Pruned(thread_id, deleted, before.bytes - left.bytes, left)


def _prune(words: Words, thread_id: str, keep: Keep, now: float, state: tuple[int, bool]) -> Statements[int]:
    epoch, wide = state
    found = yield from _checkpoints(words, thread_id)
    if any(_JAVASCRIPT in each.metadata for each in found):
        return 0
    stay = kept(found, keep.last, keep.max_age_s, now)
    stay -= {(each.namespace, each.id) for each in found if each.metadata.get("run_id") in keep.without_runs}
    gone = [each for each in found if (each.namespace, each.id) not in stay]
    if not gone:
        return 0
    for namespace in {each.namespace for each in gone}:
        ids = [each.id for each in gone if each.namespace == namespace]
        for begin in range(0, len(ids), _AT_ONCE):
            several = ids[begin : begin + _AT_ONCE]
            marks = ", ".join("?" * len(several))
            where = f"thread_id = ? AND checkpoint_ns = ? AND checkpoint_id IN ({marks})"
            for table in (words.writes, "checkpoints"):
                yield f"DELETE FROM {table} WHERE {where}", (thread_id, namespace, *several)
    yield from _cut(thread_id, found, stay)
    yield from sweep(words, thread_id, epoch, wide=wide)
    return len(gone)


def _checkpoints(words: Words, thread_id: str) -> Statements[list[Checkpoint]]:
    asks = (
        f"SELECT 1 FROM {words.writes} w WHERE w.thread_id = c.thread_id AND w.checkpoint_ns = c.checkpoint_ns "
        f"AND w.checkpoint_id = c.checkpoint_id AND w.channel = '{INTERRUPT}'"
    )
    rows = yield (
        (
            f"SELECT checkpoint_ns, checkpoint_id, parent_checkpoint_id, metadata, EXISTS ({asks}) "
            "FROM checkpoints c WHERE thread_id = ?"
        ),
        (thread_id,),
    )
    return [
        Checkpoint(namespace, checkpoint_id, parent_id, _metadata(metadata), bool(asked))
        for namespace, checkpoint_id, parent_id, metadata, asked in rows
    ]


def _metadata(stored: Any) -> Mapping[str, Any]:
    found = json.loads(stored) if isinstance(stored, (str, bytes)) else stored
    return found if isinstance(found, Mapping) else {}


def _cut(thread_id: str, found: Iterable[Checkpoint], stay: set[Place]) -> Statements[None]:
    """Have those that stay begin where the one before them is gone."""
    for each in found:
        place = (each.namespace, each.id)
        if place in stay and each.parent_id and (each.namespace, each.parent_id) not in stay:
            yield (
                (
                    "UPDATE checkpoints SET parent_checkpoint_id = NULL "
                    "WHERE thread_id = ? AND checkpoint_ns = ? AND checkpoint_id = ?"
                ),
                (thread_id, *place),
            )


def sweep(words: Words, thread_id: str, epoch: int, *, wide: bool) -> Statements[None]:
    """Delete the values of a thread that nothing refers to any more."""
    if words.blobs:
        yield (
            (
                f"DELETE FROM {words.blobs} b WHERE b.thread_id = ? "
                "AND (b.checkpoint_ns, b.channel, b.version) NOT IN ("
                "SELECT c.checkpoint_ns, v.key, v.value FROM checkpoints c "
                "CROSS JOIN LATERAL jsonb_each_text(c.checkpoint -> 'channel_versions') AS v WHERE c.thread_id = ?)"
            ),
            (thread_id, thread_id),
        )
    if not wide:
        return
    rows = yield "SELECT id FROM sg_threads WHERE thread_id = ?", (thread_id,)
    if not rows:
        return
    thread = int(rows[0][0])
    needed = yield from _needed(words, thread_id, thread)
    yield "UPDATE sg_threads SET epoch = ? WHERE id = ?", (epoch, thread)
    for gap in _gaps(needed):
        yield f"DELETE FROM sg_values WHERE {words.owned}", words.owns(thread, gap)


def _needed(words: Words, thread_id: str, thread: int) -> Statements[list[Run]]:
    """Return the numbers of values that rows refer to, and those that these values refer to."""
    rows = yield (
        (
            "SELECT refs FROM checkpoints WHERE thread_id = ? AND refs IS NOT NULL "
            f"UNION SELECT refs FROM {words.writes} WHERE thread_id = ? AND refs IS NOT NULL"
        ),
        (thread_id, thread_id),
    )
    needed = union(run for (refs,) in rows for run in read_refs(refs))
    values = yield (
        f"SELECT {words.number}, refs FROM sg_values WHERE {words.owned} AND refs IS NOT NULL",
        words.owns(thread, [0, LAST_NUMBER]),
    )
    waiting = {int(number): read_refs(refs) for number, refs in values}
    while found := [number for number in waiting if any(first <= number <= last for first, last in needed)]:
        needed = union([*needed, *(run for number in found for run in waiting.pop(number))])
    return needed


def _gaps(needed: Iterable[Run]) -> Iterable[Run]:
    """Yield what is between runs in order, before the first and behind the last."""
    begin = 0
    for first, last in needed:
        if first > begin:
            yield [begin, first - 1]
        begin = last + 1
    yield [begin, LAST_NUMBER]
