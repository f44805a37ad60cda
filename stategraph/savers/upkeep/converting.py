"""From one form to the other, row by row, each thread in one transaction.

Rows say which form they are in, so a thread that is not converted yet can be read, and conversion may be stopped and
started again. Nothing is decided by what a value is: what the serializer brings back is stored anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from stategraph.savers.compact import records
from stategraph.savers.compact.coder import Coder
from stategraph.savers.compact.decoder import Decoder
from stategraph.savers.compact.encoder import Encoder
from stategraph.savers.compact.known import Known
from stategraph.savers.compact.nodes import RECORD
from stategraph.savers.upkeep.pruning import sweep
from stategraph.savers.upkeep.sizes import is_wide
from stategraph.savers.upkeep.words import LAST_NUMBER, Statements, Words

Mode = Literal["compact", "plain"]
Place = tuple[str, str, str]
_RECORD = f"SUBSTR(type, 1, {len(RECORD)}) = '{RECORD}'"
_WHERE = "WHERE thread_id = ? AND checkpoint_ns = ? AND checkpoint_id = ?"


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """A row of the checkpoints.

    Attributes:
        place: Thread, namespace and id.
        parent_id: The id of the one before.
        body: Kind and bytes of its record; None in the plain form.
        checkpoint: The checkpoint; in the plain form only.
    """

    place: Place
    parent_id: str | None
    body: tuple[str, bytes] | None
    checkpoint: Mapping[str, Any] | None


class Tables(Protocol):
    """Reads and writes checkpoints in the plain form of a database."""

    def checkpoints(self, thread_id: str, coder: Coder) -> Statements[list[StoredCheckpoint]]:
        """Read the checkpoints of a thread, the oldest first."""

    def put_record(self, place: Place, record: records.Record) -> Statements[None]:
        """Replace a checkpoint by its record."""

    def put_plain(self, place: Place, checkpoint: Mapping[str, Any], coder: Coder) -> Statements[None]:
        """Replace a checkpoint by its plain form."""

    def put_value(self, thread: int, values: Sequence[Any]) -> tuple[str, Sequence[Any]]:
        """Return the statement that inserts a value: number, kind, bytes and refs."""


@dataclass(slots=True)
class _Thread:
    """A thread that is being converted.

    Attributes:
        words: The words of the database.
        coder: Encodes and decodes.
        known: Its values.
        encoder: Encodes into them.
    """

    words: Words
    coder: Coder
    known: Known
    encoder: Encoder = field(init=False)

    def __post_init__(self) -> None:
        self.encoder = Encoder(self.coder, self.known)

    def decoder(self) -> Decoder:
        return Decoder(self.coder, self.known.values)


def convert(words: Words, tables: Tables, thread_id: str, mode: Mode, coder: Coder, epoch: int) -> Statements[int]:
    """Convert a thread, within a transaction.

    Args:
        words: The words of the database.
        tables: Its tables.
        thread_id: The thread.
        mode: The form that it gets.
        coder: Encodes and decodes.
        epoch: A number that the thread never had.

    Returns:
        How many checkpoints and writes were in another form.

    Raises:
        DamagedCheckpointError: A row cannot be read, or would not be read as the same; the thread is left as it was.
    """
    wide = yield from is_wide(words)
    if not wide:
        return 0
    thread = _Thread(words, coder, (yield from _known(words, thread_id, coder, epoch, mode)))
    changed = 0
    for stored in (yield from tables.checkpoints(thread_id, coder)):
        if (stored.body is None) != (mode == "plain"):
            yield from _checkpoint(tables, thread, stored, mode)
            changed += 1
    changed += yield from _writes(thread, thread_id, mode)
    if mode == "compact" and thread.known.id:
        for value in thread.encoder.new:
            sealed = (value.number, *coder.seal(value.kind, value.data), value.refs)
            yield tables.put_value(thread.known.id, sealed)
        yield "UPDATE sg_threads SET next = ? WHERE id = ?", (thread.known.next, thread.known.id)
    yield from sweep(words, thread_id, epoch, wide=True)
    return changed


def _known(words: Words, thread_id: str, coder: Coder, epoch: int, mode: Mode) -> Statements[Known]:
    """Return a thread with all of its values."""
    find = f"SELECT id, epoch, next FROM sg_threads WHERE thread_id = ?{words.lock}"
    rows = yield find, (thread_id,)
    if not rows:
        if mode == "plain":
            return Known()
        added = "INSERT INTO sg_threads (thread_id, epoch, next) VALUES (?, ?, 1) ON CONFLICT DO NOTHING"
        yield added, (thread_id, epoch)
        rows = yield find, (thread_id,)
    known = Known(int(rows[0][0]), int(rows[0][1]), int(rows[0][2]))
    values = yield (
        f"SELECT {words.number}, type, value FROM sg_values WHERE {words.owned} ORDER BY 1",
        words.owns(known.id, [0, LAST_NUMBER]),
    )
    for number, kind, value in values:
        known.learn(int(number), *coder.open(kind, bytes(value)))
    return known


def _checkpoint(tables: Tables, thread: _Thread, stored: StoredCheckpoint, mode: Mode) -> Statements[None]:
    _, namespace, checkpoint_id = stored.place
    checkpoint = stored.checkpoint
    if stored.body is not None:
        opened = records.open_checkpoint(thread.coder, checkpoint_id, thread.coder.open(*stored.body)[1])
        checkpoint = records.read_checkpoint(thread.decoder(), opened)
    assert checkpoint is not None
    if mode == "plain":
        yield from tables.put_plain(stored.place, checkpoint, thread.coder)
        return
    versions = checkpoint.get("channel_versions") or {}
    place = (namespace, stored.parent_id)
    record = records.of_checkpoint(thread.encoder, thread.coder, thread.known, place, checkpoint, versions)
    yield from tables.put_record(stored.place, record)


def _writes(thread: _Thread, thread_id: str, mode: Mode) -> Statements[int]:
    table, column = thread.words.writes, thread.words.written
    rows = yield (
        f"SELECT checkpoint_ns, checkpoint_id, task_id, idx, channel, type, {column} FROM {table} WHERE thread_id = ?",
        (thread_id,),
    )
    changed = 0
    for namespace, checkpoint_id, task_id, index, channel, kind, value in rows:
        plain_kind, plain = thread.coder.open(kind, bytes(value))
        is_record = records.is_record(plain_kind)
        if mode == "plain" and not is_record:
            continue
        if is_record:
            if mode == "compact":
                continue
            record = records.Record(*thread.coder.serde.dumps_typed(records.read_write(thread.decoder(), plain)), None)
        else:
            found = thread.coder.load(plain_kind, plain)
            record = records.of_write(thread.encoder, thread.coder, (namespace, channel), found)
            if not records.is_record(record.kind):
                continue  # a small value is the same in both forms
        yield (
            f"UPDATE {table} SET type = ?, {column} = ?, refs = ? {_WHERE} AND task_id = ? AND idx = ?",
            (*record, thread_id, namespace, checkpoint_id, task_id, index),
        )
        changed += 1
    return changed


def is_plain(words: Words) -> Statements[bool]:
    """Return whether nothing is left in the compact form, so that the tables may be made plain."""
    rows = yield f"SELECT 1 FROM checkpoints WHERE {_RECORD} LIMIT 1", ()
    more = yield f"SELECT 1 FROM {words.writes} WHERE {_RECORD} LIMIT 1", ()
    values = yield "SELECT 1 FROM sg_values LIMIT 1", ()
    return not rows and not more and not values
