"""Bytes of a database and of its threads."""

from __future__ import annotations

from dataclasses import dataclass

from stategraph.savers.upkeep.words import LAST_NUMBER, Statements, Words


@dataclass(frozen=True, slots=True)
class ThreadSize:
    """Size of what is stored of one thread, without indexes and free space.

    Attributes:
        thread_id: The thread.
        checkpoints: How many checkpoints.
        writes: How many writes of tasks.
        values: How many values, of channels in the plain form where they have rows of their own.
        bytes: Bytes of all of them.
    """

    thread_id: str
    checkpoints: int
    writes: int
    values: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Size:
    """Size of a database.

    Attributes:
        form: `compact`, or `plain`: the form of what is saved next.
        bytes: Bytes on the disk, with indexes and free space; of a server those of the savers' tables.
        threads: The threads, the largest first.
    """

    form: str
    bytes: int
    threads: tuple[ThreadSize, ...]


def is_wide(words: Words) -> Statements[bool]:
    """Return whether a database may hold the compact form."""
    return bool((yield words.has_table, ("sg_threads",)))


def threads_of(words: Words) -> Statements[list[str]]:
    """List the threads, those too of which only writes are there."""
    rows = yield f"SELECT thread_id FROM checkpoints UNION SELECT thread_id FROM {words.writes} ORDER BY thread_id", ()
    return [str(name) for (name,) in rows]


def has_thread(words: Words, thread_id: str) -> Statements[bool]:
    """Return whether a thread has checkpoints, or writes; nothing is decoded."""
    of_thread = "WHERE thread_id = ?"
    found = (
        f"SELECT EXISTS (SELECT 1 FROM checkpoints {of_thread}) OR EXISTS (SELECT 1 FROM {words.writes} {of_thread})"
    )
    rows = yield found, (thread_id, thread_id)
    return bool(rows[0][0])


def size_of_thread(words: Words, thread_id: str, *, wide: bool) -> Statements[ThreadSize]:
    """Measure a thread."""
    body = words.checkpoint_bytes
    if wide and words.blobs:
        body += " + COALESCE(octet_length(c.body), 0)"
    refs = f" + COALESCE({words.measure.format('c.refs')}, 0)" if wide else ""
    rows = yield f"SELECT COUNT(*), COALESCE(SUM({body}{refs}), 0) FROM checkpoints c WHERE thread_id = ?", (thread_id,)
    (checkpoints, total) = rows[0]
    written = words.measure.format(words.written)
    rows = yield f"SELECT COUNT(*), COALESCE(SUM({written}), 0) FROM {words.writes} WHERE thread_id = ?", (thread_id,)
    (writes, more) = rows[0]
    total, values = int(total) + int(more), 0
    if words.blobs:
        measured = f"SELECT COUNT(*), COALESCE(SUM(octet_length(blob)), 0) FROM {words.blobs} WHERE thread_id = ?"
        rows = yield measured, (thread_id,)
        values, total = values + int(rows[0][0]), total + int(rows[0][1])
    if wide:
        found = yield "SELECT id FROM sg_threads WHERE thread_id = ?", (thread_id,)
        if found:
            sized = words.measure.format("value")
            rows = yield (
                f"SELECT COUNT(*), COALESCE(SUM({sized}), 0) FROM sg_values WHERE {words.owned}",
                words.owns(found[0][0], [0, LAST_NUMBER]),
            )
            values, total = values + int(rows[0][0]), total + int(rows[0][1])
    return ThreadSize(thread_id, int(checkpoints), int(writes), values, total)


def size(words: Words) -> Statements[Size]:
    """Measure a database."""
    wide = yield from is_wide(words)
    total = yield words.total, ()
    threads = []
    for thread_id in (yield from threads_of(words)):
        threads.append((yield from size_of_thread(words, thread_id, wide=wide)))
    threads.sort(key=lambda each: (-each.bytes, each.thread_id))
    return Size("compact" if wide else "plain", int(total[0][0] or 0), tuple(threads))
