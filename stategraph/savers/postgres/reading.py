"""Rows as checkpoints: statements that read, and what is read with them.

A checkpoint is read with one statement: its row, its writes, its thread's row and, unless this process knows the
thread, the values that they refer to. What is missing after that is asked for by its numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

from langgraph.checkpoint.base import CheckpointTuple, writes_sort_key

from stategraph.savers.compact import records
from stategraph.savers.compact.coder import Coder
from stategraph.savers.compact.decoder import Decoder
from stategraph.savers.compact.found import WriteFound, config_of, written
from stategraph.savers.compact.known import Known
from stategraph.savers.compact.nodes import Run, read_refs, union

Row = Mapping[str, Any]

_WRITES: Final = """array_agg(array[convert_to(w.task_id, 'UTF8'), convert_to(w.channel, 'UTF8'),
    convert_to(w.type, 'UTF8'), w.blob, convert_to(w.task_path, 'UTF8'), w.idx::text::bytea, w.refs::bytea])"""

_REFERRED: Final = """SELECT array_agg(array[v.number::text::bytea, convert_to(v.type, 'UTF8'), v.value, v.refs::bytea])
    FROM (
        SELECT checkpoints.refs UNION ALL
        SELECT w.refs FROM checkpoint_writes w WHERE w.thread_id = checkpoints.thread_id
        AND w.checkpoint_ns = checkpoints.checkpoint_ns AND w.checkpoint_id = checkpoints.checkpoint_id
    ) AS needed (refs)
    CROSS JOIN LATERAL jsonb_array_elements(needed.refs::jsonb) AS run (part)
    JOIN sg_values v ON v.thread = t.id
    AND v.number BETWEEN (run.part ->> 0)::bigint AND (run.part ->> 1)::bigint"""

_CHECKPOINTS: Final = f"""SELECT checkpoints.thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, type,
metadata, body, refs, CASE WHEN body IS NULL THEN checkpoint END AS checkpoint,
CASE WHEN body IS NULL THEN (
    SELECT array_agg(array[convert_to(bl.channel, 'UTF8'), convert_to(bl.type, 'UTF8'), bl.blob])
    FROM jsonb_each_text(checkpoint -> 'channel_versions')
    JOIN checkpoint_blobs bl ON bl.thread_id = checkpoints.thread_id
    AND bl.checkpoint_ns = checkpoints.checkpoint_ns
    AND bl.channel = jsonb_each_text.key AND bl.version = jsonb_each_text.value
) END AS channel_values,
(
    SELECT {_WRITES} FROM checkpoint_writes w WHERE w.thread_id = checkpoints.thread_id
    AND w.checkpoint_ns = checkpoints.checkpoint_ns AND w.checkpoint_id = checkpoints.checkpoint_id
) AS writes,
t.id, t.epoch, t.next, {{values}} AS values
FROM (SELECT * FROM checkpoints {{where}} ORDER BY checkpoint_id DESC {{limit}}) AS checkpoints
LEFT JOIN sg_threads t ON t.thread_id = checkpoints.thread_id ORDER BY checkpoint_id DESC"""

_PLACE: Final = "WHERE thread_id = %s AND checkpoint_ns = %s"
_WITH_VALUES: Final = f"CASE WHEN t.epoch IS DISTINCT FROM %s THEN ({_REFERRED}) END"

ONE: Final = _CHECKPOINTS.format(values=_WITH_VALUES, where=f"{_PLACE} AND checkpoint_id = %s", limit="")
"""A checkpoint, with its values unless the thread's epoch is that of the first parameter."""

NEWEST: Final = _CHECKPOINTS.format(values=_WITH_VALUES, where=_PLACE, limit="LIMIT 1")
"""The newest checkpoint of a namespace; as `ONE`."""


def listing(where: str, limit: int | None) -> str:
    """Return the statement that lists checkpoints, the newest first, without their values."""
    end = "" if limit is None else f"LIMIT {int(limit)}"
    return _CHECKPOINTS.format(values="NULL::bytea[]", where=where, limit=end)


VALUES: Final = """SELECT v.number, v.type, v.value, v.refs FROM sg_threads t
JOIN unnest(%b::bigint[], %b::bigint[]) AS run (first, last) ON true
JOIN sg_values v ON v.thread = t.id AND v.number BETWEEN run.first AND run.last
WHERE t.id = %s AND t.epoch = %s"""

THREAD: Final = "SELECT id, epoch, next FROM sg_threads WHERE thread_id = %s"

ANCESTORS: Final = """WITH RECURSIVE chain AS (
    SELECT c.*, 0 AS depth FROM checkpoints c
    WHERE c.thread_id = %(thread)s AND c.checkpoint_ns = %(ns)s AND c.checkpoint_id = %(id)s
    UNION ALL
    SELECT c.*, chain.depth + 1 FROM chain JOIN checkpoints c ON c.thread_id = chain.thread_id
    AND c.checkpoint_ns = chain.checkpoint_ns AND c.checkpoint_id = chain.parent_checkpoint_id
    WHERE chain.depth < %(most)s
)
SELECT checkpoint_id, parent_checkpoint_id, type, body, refs FROM chain ORDER BY depth"""
"""A checkpoint and those before it, the nearest first."""

WRITES_OF: Final = """SELECT checkpoint_id, task_id, channel, type, blob, task_path, idx, refs FROM checkpoint_writes
WHERE thread_id = %s AND checkpoint_ns = %s AND checkpoint_id = ANY(%s) AND channel = ANY(%s)"""


class Found(NamedTuple):
    """A row of the checkpoints, with its writes.

    Attributes:
        row: The row.
        writes: Its writes, in order.
    """

    row: Row
    writes: Sequence[WriteFound]

    @property
    def refs(self) -> Iterable[str | None]:
        """The numbers that it refers to."""
        return [self.row["refs"], *[each.refs for each in self.writes]]


def found_in(row: Row) -> Found:
    """Return a row with its writes."""
    writes = [
        WriteFound(task_id.decode(), channel.decode(), kind.decode(), value, path.decode(), int(position), _text(refs))
        for task_id, channel, kind, value, path, position, refs in row["writes"] or ()
    ]
    writes.sort(key=lambda each: writes_sort_key(each.task_path, each.task_id, each.position))
    return Found(row, writes)


def known_of(row: Row, known: Known | None, coder: Coder) -> Known:
    """Return what is known of a row's thread, with the values that came with the row.

    Args:
        row: The row.
        known: What was known before.
        coder: Opens.
    """
    if row["id"] is None:
        return Known() if known is None or known.id else known
    if known is None or (known.id, known.epoch) != (row["id"], row["epoch"]):
        known = Known(row["id"], row["epoch"], row["next"])
    known.next = max(known.next, row["next"])
    for number, kind, value, _ in row["values"] or ():
        known.learn(int(number), *coder.open(kind.decode(), value))
    return known


def is_old(row: Row) -> bool:
    """Return whether a row is of a LangGraph that kept packets with the checkpoint before."""
    return bool(row["body"] is None and row["checkpoint"]["v"] < 4 and row["parent_checkpoint_id"])


def needed(known: Known, refs: Iterable[str | None], further: Iterable[Run] = ()) -> list[Run]:
    """Return the numbers of values that are referred to and not known."""
    return known.missing(union([*further, *(run for text in refs if text for run in read_refs(text))]))


def further_of(values: Iterable[tuple[Any, ...]]) -> list[Run]:
    """Return the numbers that values refer to."""
    return [run for *_, refs in values if refs for run in read_refs(_text(refs))]


def checkpoint_of(found: Found, known: Known, coder: Coder, *, is_start: bool) -> CheckpointTuple:
    """Return a checkpoint in the compact form, whose values are known.

    Args:
        found: Its row and its writes.
        known: What is known of its thread.
        coder: Opens and decodes.
        is_start: Whether something may be saved after it.

    Raises:
        ValueError: What is stored is no checkpoint, or lacks a value.
    """
    row, decoder = found.row, Decoder(coder, known.values)
    if row["body"] is None:
        checkpoint = _plain(row, coder)
    else:
        opened = records.open_checkpoint(coder, row["checkpoint_id"], coder.open(row["type"], row["body"])[1])
        checkpoint = records.read_checkpoint(decoder, opened, known if is_start else None, row["checkpoint_ns"])
    thread_id, namespace = row["thread_id"], row["checkpoint_ns"]
    parent_id = row["parent_checkpoint_id"]
    return CheckpointTuple(
        config_of(thread_id, namespace, row["checkpoint_id"]),
        cast("Any", checkpoint),
        row["metadata"],
        config_of(thread_id, namespace, parent_id) if parent_id else None,
        [written(each, coder, decoder) for each in found.writes],
    )


def _plain(row: Row, coder: Coder) -> dict[str, Any]:
    values = dict(row["checkpoint"].get("channel_values") or {})
    for channel, kind, blob in row["channel_values"] or ():
        if kind != b"empty":
            values[channel.decode()] = coder.serde.loads_typed((kind.decode(), blob))
    return {**row["checkpoint"], "channel_values": values}


def _text(value: bytes | str | None) -> str | None:
    return value.decode() if isinstance(value, bytes) else value
