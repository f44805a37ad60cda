"""Connections of savers: opened by a path, or brought along by the program, as the module sqlite3 lets it set them."""

from __future__ import annotations

import os
import sqlite3
import threading
from typing import Final
from weakref import WeakValueDictionary

from stategraph.errors import ConfigurationError
from stategraph.savers import sqlite_files

_BUSY_S: Final = 30.0
"""Time that a write waits for SQLite's one write lock, which another process has."""

_locks: WeakValueDictionary[int, threading.Lock] = WeakValueDictionary()  # type: ignore[type-var, unused-ignore]
_making = threading.Lock()


def connect(path: str | os.PathLike[str]) -> sqlite3.Connection:
    """Open a connection for any thread.

    Args:
        path: The file, with `~` for the home directory; `:memory:`; or an address of SQLite's own, such as
            `file:runs.db?mode=ro`.

    Raises:
        ConfigurationError: The path is empty.
        sqlite3.OperationalError: The file cannot be opened.
    """
    name = sqlite_files.expanded(path)
    if not name:
        raise ConfigurationError(
            "The path of a saver's file is empty, which SQLite takes for a database that is deleted when it is closed: "
            "name a file, or ':memory:'"
        )
    try:
        return sqlite3.connect(name, timeout=_BUSY_S, check_same_thread=False, uri=name.startswith("file:"))
    except sqlite3.Error as error:
        sqlite_files.explain(error, name.removeprefix("file:").partition("?")[0])
        raise


def taken(connection: object) -> sqlite3.Connection:
    """Check that a saver can work with a connection, and have transactions begin and end where the saver says so.

    Raises:
        ConfigurationError: It is one of another library, or makes rows that are no sequences of Python's own values.
    """
    if not isinstance(connection, sqlite3.Connection):
        raise ConfigurationError(
            f"A saver on SQLite has a connection of the module sqlite3; found one of {type(connection).__module__}. "
            "Open it by its path, with from_conn_string(path), or give it "
            "sqlite3.connect(path, check_same_thread=False)"
        )
    if getattr(connection, "row_factory", None) is not None or connection.text_factory is not str:
        row = connection.execute("SELECT 'a', 1").fetchone()
        if not hasattr(row, "__getitem__") or isinstance(row, dict) or tuple(row) != ("a", 1):
            raise ConfigurationError(
                "The connection of a saver has a row_factory or text_factory that makes something else of a row than "
                f"its values in order; found {type(row).__name__}. Give the saver a connection of its own"
            )
    legacy = getattr(sqlite3, "LEGACY_TRANSACTION_CONTROL", None)  # since Python 3.12
    if legacy is not None and connection.autocommit != legacy:  # type: ignore[attr-defined, unused-ignore]
        connection.autocommit = True  # type: ignore[attr-defined, unused-ignore]  # commits what was begun
        connection.autocommit = legacy  # type: ignore[attr-defined, unused-ignore]
    return connection


def path_of(connection: sqlite3.Connection) -> str:
    """Return the file of a connection; an empty text if there is none, or the connection is closed."""
    try:
        rows = connection.execute("PRAGMA database_list").fetchall()
    except sqlite3.Error:
        return ""
    return next((str(row[2] or "") for row in rows if row[1] == "main"), "")


def lock_of(connection: sqlite3.Connection) -> threading.Lock:
    """Return the lock of a connection, the same for all savers that have it; it lives as long as one of them."""
    with _making:
        lock = _locks.get(id(connection))
        if lock is None:
            lock = _locks[id(connection)] = threading.Lock()
        return lock
