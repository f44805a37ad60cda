"""The index of a saver: in its own database where that is known, else by its own list."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from stategraph.engine.checkpoints.saver_interfaces import InMemorySaver
from stategraph.run.threads.listing import ListedThreads
from stategraph.run.threads.memory import MemoryIndex
from stategraph.run.threads.port import ThreadIndex
from stategraph.run.threads.postgres import PostgresConnection
from stategraph.run.threads.sql import POSTGRES, SQLITE, SqlIndex
from stategraph.run.threads.sqlite import SharedConnection, SqliteConnection

_of_memory: WeakKeyDictionary[Any, MemoryIndex] = WeakKeyDictionary()


def index_of(saver: Any) -> ThreadIndex:
    """Return the index of the threads of a saver.

    Args:
        saver: An `InMemorySaver`, a saver of `stategraph.savers`, an `AsyncSqliteSaver` or `AsyncPostgresSaver` of
            `langgraph-checkpoint`; of another one threads are listed as far as it lists them, and have no titles.
    """
    if isinstance(saver, InMemorySaver):
        return _of_memory.setdefault(saver, MemoryIndex(saver.storage, saver.writes))
    if hasattr(saver, "atransact"):
        return SqlIndex(SharedConnection(saver), SQLITE)
    for cls in type(getattr(saver, "conn", None)).__mro__:
        match cls.__module__.partition(".")[0], cls.__name__:
            case "aiosqlite", "Connection":
                return SqlIndex(SqliteConnection(saver), SQLITE)
            case "psycopg" | "psycopg_pool", "AsyncConnection" | "AsyncConnectionPool":
                return SqlIndex(PostgresConnection(saver), POSTGRES)
    return ListedThreads(saver)
