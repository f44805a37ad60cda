"""The tables.

Those of `langgraph-checkpoint-sqlite`, `checkpoints` and `writes`, in both forms. The compact form adds:

- to both the column `refs`. Their rows are told apart by `type`: of a record it begins with `sg.1`, and of what the
  serializer alone made it is the serializer's. So a file may hold both, and what another program has written is read.
- `sg_threads`: the number of a thread, its epoch and the number that its next value gets.
- `sg_values`: the values. The thread's number is in the upper 32 bits of `id`, the value's in the lower ones, so a
  thread's values lie together, in the order of their numbers. Values with `refs` have an index.

A new file gets the compact form; one that has `checkpoints` and no `sg_threads` is plain, and stays so.
"""

from __future__ import annotations

import sqlite3
from typing import Final, Literal, NamedTuple

from stategraph.errors import ConfigurationError
from stategraph.savers.sqlite.connections import path_of

Mode = Literal["compact", "plain"]

#: Bits of a value's number; a thread's number stands above them.
SHIFT: Final = 32
MASK: Final = (1 << SHIFT) - 1

_PLAIN: Final = (
    """CREATE TABLE IF NOT EXISTS checkpoints (
    thread_id TEXT NOT NULL,
    checkpoint_ns TEXT NOT NULL DEFAULT '',
    checkpoint_id TEXT NOT NULL,
    parent_checkpoint_id TEXT,
    type TEXT,
    checkpoint BLOB,
    metadata BLOB,
    PRIMARY KEY (thread_id, checkpoint_ns, checkpoint_id)
)""",
    """CREATE TABLE IF NOT EXISTS writes (
    thread_id TEXT NOT NULL,
    checkpoint_ns TEXT NOT NULL DEFAULT '',
    checkpoint_id TEXT NOT NULL,
    task_id TEXT NOT NULL,
    task_path TEXT NOT NULL DEFAULT '',
    idx INTEGER NOT NULL,
    channel TEXT NOT NULL,
    type TEXT,
    value BLOB,
    PRIMARY KEY (thread_id, checkpoint_ns, checkpoint_id, task_id, idx)
)""",
)
_COMPACT: Final = (
    """CREATE TABLE IF NOT EXISTS sg_threads (
    id INTEGER PRIMARY KEY,
    thread_id TEXT NOT NULL UNIQUE,
    epoch INTEGER NOT NULL,
    next INTEGER NOT NULL
)""",
    """CREATE TABLE IF NOT EXISTS sg_values (
    id INTEGER PRIMARY KEY,
    type TEXT NOT NULL,
    value BLOB NOT NULL,
    refs TEXT
)""",
    "CREATE INDEX IF NOT EXISTS sg_values_refs ON sg_values (id) WHERE refs IS NOT NULL",
)


_PLACE: Final = ("thread_id", "checkpoint_ns", "checkpoint_id")
_NEEDED: Final[dict[str, set[str]]] = {
    "checkpoints": {*_PLACE, "parent_checkpoint_id", "type", "checkpoint", "metadata"},
    "writes": {*_PLACE, "task_id", "idx", "channel", "type", "value"},
    "sg_threads": {"id", "thread_id", "epoch", "next"},
    "sg_values": {"id", "type", "value", "refs"},
}
"""Columns that tables of these names have; those that were added later are not among them."""


class Schema(NamedTuple):
    """The state of a file's tables.

    Attributes:
        mode: The form of what will be written.
        has_paths: Whether writes have the path of their task.
        has_refs: Whether the tables may hold records.
    """

    mode: Mode
    has_paths: bool
    has_refs: bool


def checked(mode: object) -> Mode | None:
    """Return the mode of a saver.

    Raises:
        ConfigurationError: It is another word.
    """
    if mode not in (None, "compact", "plain"):
        raise ConfigurationError(
            f"The mode of a saver is 'compact', 'plain' or None for that of the file; found {mode!r}"
        )
    return mode


def prepare(connection: sqlite3.Connection, mode: Mode | None) -> Schema:
    """Make the tables, and add columns that older ones lack; a file that may not be written to is left as it is.

    Args:
        connection: The database.
        mode: The form of what will be written; None for that of the file.

    Raises:
        ConfigurationError: The file has tables of another program under the same names.
    """
    there = _columns(connection)
    for name, columns in there.items():
        if missing := _NEEDED[name] - columns:
            raise ConfigurationError(
                f"The file '{path_of(connection)}' has a table '{name}' of another program, or of a "
                f"langgraph-checkpoint-sqlite before 2.0: it lacks {', '.join(sorted(missing))}. Name another file"
            )
    if mode is None:
        mode = "compact" if "sg_threads" in there or "checkpoints" not in there else "plain"
    try:
        if not connection.execute("PRAGMA query_only").fetchone()[0]:
            connection.execute("PRAGMA journal_mode=WAL").fetchall()
        if not _is_complete(there, mode):
            _make(connection, mode)
            there = _columns(connection)
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_READONLY or "writes" not in there:
            raise
    return Schema(mode, "task_path" in there["writes"], "refs" in there["writes"] and "sg_values" in there)


def _make(connection: sqlite3.Connection, mode: Mode) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in _PLAIN if mode == "plain" else (*_PLAIN, *_COMPACT):
            connection.execute(statement)
        there = _columns(connection)
        if "task_path" not in there["writes"]:
            connection.execute("ALTER TABLE writes ADD COLUMN task_path TEXT NOT NULL DEFAULT ''")
        for table in ("checkpoints", "writes") if mode == "compact" else ():
            if "refs" not in there[table]:
                connection.execute(f"ALTER TABLE {table} ADD COLUMN refs TEXT")
        connection.commit()
    except BaseException:
        connection.rollback()
        raise


def _columns(connection: sqlite3.Connection) -> dict[str, set[str]]:
    tables = ("checkpoints", "writes", "sg_threads", "sg_values")
    found = {name: {row[1] for row in connection.execute(f"PRAGMA table_info({name})")} for name in tables}
    return {name: columns for name, columns in found.items() if columns}


def _is_complete(there: dict[str, set[str]], mode: Mode) -> bool:
    needed: dict[str, set[str]] = {"checkpoints": set(), "writes": {"task_path"}}
    if mode == "compact":
        needed = {"checkpoints": {"refs"}, "writes": {"task_path", "refs"}, "sg_threads": set(), "sg_values": set()}
    return all(name in there and there[name] >= columns for name, columns in needed.items())
