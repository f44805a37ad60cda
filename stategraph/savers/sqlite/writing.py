"""Plans as statements: what one save, or many that wait, do to the tables."""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Iterable
from typing import Final, cast

from langgraph.checkpoint.base import get_checkpoint_metadata

from stategraph.savers.chains import erased, link_of
from stategraph.savers.compact.known import Known
from stategraph.savers.compact.plan import CheckpointRow, Plan, Row, WriteRow
from stategraph.savers.sqlite.schema import SHIFT

_COLUMNS: Final = "thread_id, checkpoint_ns, checkpoint_id"
_THREAD: Final = "SELECT id, epoch, next FROM sg_threads WHERE thread_id = ?"
_NEW_THREAD: Final = "INSERT INTO sg_threads (thread_id, epoch, next) VALUES (?, ?, ?)"
_IS_THERE: Final = "SELECT 1 FROM checkpoints WHERE thread_id = ? AND checkpoint_ns = ? AND checkpoint_id = ?"
_COUNTED: Final = "UPDATE sg_threads SET next = ? WHERE id = ?"
_VALUE: Final = "INSERT INTO sg_values (id, type, value, refs) VALUES (?, ?, ?, ?)"


class Statements:
    """The statements that write rows.

    Args:
        has_refs: Whether the tables have the column.
    """

    def __init__(self, *, has_refs: bool) -> None:
        self._has_refs = has_refs
        refs, mark = (", refs", ", ?") if has_refs else ("", "")
        self._checkpoint = (
            f"INSERT OR REPLACE INTO checkpoints ({_COLUMNS}, parent_checkpoint_id, type, checkpoint, metadata{refs}) "
            f"VALUES (?, ?, ?, ?, ?, ?, ?{mark})"
        )
        into = (
            f"INTO writes ({_COLUMNS}, task_id, task_path, idx, channel, type, value{refs}) "
            f"VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?{mark})"
        )
        self._writes = {True: f"INSERT OR REPLACE {into}", False: f"INSERT OR IGNORE {into}"}

    def rows(self, connection: sqlite3.Connection, thread_id: str, rows: Iterable[Row]) -> None:
        """Write rows, in order."""
        waiting: list[tuple[object, ...]] = []
        replaces = False
        for row in rows:
            if isinstance(row, WriteRow):
                if waiting and replaces != row.replaces:
                    connection.executemany(self._writes[replaces], waiting)
                    waiting = []
                replaces = row.replaces
                waiting.append(self._write_values(thread_id, row))
            else:
                connection.execute(self._checkpoint, self._checkpoint_values(thread_id, row))
        if waiting:
            connection.executemany(self._writes[replaces], waiting)

    def _checkpoint_values(self, thread_id: str, row: CheckpointRow) -> tuple[object, ...]:
        metadata = json.dumps(get_checkpoint_metadata(row.config, row.metadata), ensure_ascii=False)  # type: ignore[arg-type]
        values = (
            thread_id,
            row.namespace,
            row.id,
            row.parent_id,
            row.kind,
            row.body,
            metadata.encode("utf-8", "ignore"),
        )
        return (*values, row.refs) if self._has_refs else values

    def _write_values(self, thread_id: str, row: WriteRow) -> tuple[object, ...]:
        place = (thread_id, row.namespace, row.checkpoint_id, row.task_id, row.task_path)
        values = (*place, row.position, row.channel, row.kind, row.value)
        return (*values, row.refs) if self._has_refs else values


class ErasedError(sqlite3.IntegrityError):
    """A checkpoint cannot be stored, as the one that it is rebuilt from was erased."""


def check_chains(connection: sqlite3.Connection, thread_id: str, rows: Iterable[Row]) -> None:
    """Check that checkpoints of delta channels, whose values only those before them hold, can be read again.

    Args:
        connection: The database, within a transaction.
        thread_id: The thread.
        rows: The rows that are about to be stored.

    Raises:
        ErasedError: The checkpoint before one of them is gone.
    """
    stored: set[tuple[str, str]] = set()
    for row in rows:
        if isinstance(row, WriteRow):
            continue
        link = link_of(row.namespace, row.id, row.parent_id, row.metadata)
        if link is not None:
            place = (row.namespace, link.parent_id)
            if place not in stored and connection.execute(_IS_THERE, (thread_id, *place)).fetchone() is None:
                raise ErasedError(erased(thread_id, link))
        stored.add((row.namespace, row.id))


def thread_row(connection: sqlite3.Connection, thread_id: str) -> tuple[int, int, int] | None:
    """Return a thread's number, its epoch, and the number that its next value gets; None if it has no row."""
    found = connection.execute(_THREAD, (thread_id,)).fetchone()
    return None if found is None else cast("tuple[int, int, int]", tuple(found))


def put_values(connection: sqlite3.Connection, plan: Plan, known: Known) -> bool:
    """Store the values of a plan, within a transaction that writes.

    Args:
        connection: The database.
        plan: The plan.
        known: What it was made with.

    Returns:
        False if that is not what the database says of the thread: nothing was written.
    """
    row = thread_row(connection, plan.thread_id)
    if row is None:
        if known.id:
            return False
        if not plan.values:
            return True
        known.epoch = secrets.randbits(62)
        cursor = connection.execute(_NEW_THREAD, (plan.thread_id, known.epoch, plan.next))
        known.id = cast("int", cursor.lastrowid)
    elif row != (known.id, known.epoch, plan.first):
        return False
    elif plan.values:
        connection.execute(_COUNTED, (plan.next, known.id))
    base = known.id << SHIFT
    connection.executemany(_VALUE, [(base | each.number, each.kind, each.data, each.refs) for each in plan.values])
    return True
