"""Tell whether a saver is on the registry's database, as far as that can be said without waiting for a server.

A write and the check of its lease are one transaction, so both have to be on one database. What cannot be said here
(an async connection to SQLite, a server under another name) is found by the first write, which misses the table.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from stategraph.errors import ConfigurationError
from stategraph.workers.registry.port import Database

_NAMES = {"sqlite3": "sqlite", "aiosqlite": "sqlite", "psycopg": "postgres", "psycopg async": "postgres"}


def refuse_another(saver: Any, kind: str, database: Database) -> None:
    """Refuse a saver that is known to be on another database than the registry.

    Args:
        saver: The saver.
        kind: How it reaches its database.
        database: The registry's.

    Raises:
        ConfigurationError: It is on another one.
    """
    here = database.sql.dialect.name
    if kind not in _NAMES:
        return
    if _NAMES[kind] != here:
        raise _another(f"the saver is an object of {type(saver).__name__}, the registry in {here}")
    path = getattr(database, "path", None)
    if path == ":memory:":
        raise _another("the registry is in memory, where no saver can be; give it a file")
    if kind == "sqlite3" and path is not None and (file := _file(saver)) is not None and not _is_same(file, path):
        raise _another(f"the saver's file is '{file or ':memory:'}', the registry's '{path}'")


def _another(found: str) -> ConfigurationError:
    return ConfigurationError(
        f"The saver is on another database than the registry: {found}. A write and the check of its lease have to be "
        "one transaction, so open both on the same one"
    )


def _file(saver: Any) -> str | None:
    """Return the file of a sync saver, empty if it is in memory; None if only another thread may ask."""
    try:
        with saver.lock:
            rows = saver.conn.execute("PRAGMA database_list").fetchall()
    except sqlite3.Error:
        return None
    return next((str(row[2]) for row in rows if row[1] == "main"), None)


def _is_same(file: str, path: str) -> bool:
    if not file:
        return False
    one, other = Path(file), Path(path)
    if one.exists() and other.exists():
        return one.samefile(other)
    return one.resolve() == other.resolve()
