"""Deleting what is stored of a thread."""

from __future__ import annotations

import sqlite3
from typing import Final

from stategraph.savers.sqlite.schema import MASK, SHIFT

_TABLES: Final = ("checkpoints", "writes")
_THREAD: Final = "SELECT id FROM sg_threads WHERE thread_id = ?"
_IS_COMPACT: Final = "SELECT 1 FROM sqlite_master WHERE name = 'sg_threads'"


def delete_thread(thread_id: str, connection: sqlite3.Connection) -> None:
    """Delete all rows of a thread, within a transaction."""
    for table in _TABLES:
        connection.execute(f"DELETE FROM {table} WHERE thread_id = ?", (thread_id,))
    if connection.execute(_IS_COMPACT).fetchone() is None:
        return
    row = connection.execute(_THREAD, (thread_id,)).fetchone()
    if row is not None:
        base = row[0] << SHIFT
        connection.execute("DELETE FROM sg_values WHERE id BETWEEN ? AND ?", (base, base | MASK))
        connection.execute("DELETE FROM sg_threads WHERE id = ?", row)
