"""Savers of langgraph-checkpoint on a database, sync and async.

On a file called `own.db`, and on an address of PostgreSQL whose `application_name` is `own`, those of this project.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from typing import Any

import aiosqlite
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from stategraph import savers

OWN = "&application_name=own"
"""Stands at the end of an address of PostgreSQL on which our savers are used."""


@contextmanager
def sync_saver(url: str, *, pool: bool = False) -> Iterator[Any]:
    """A sync saver; with `pool`, on a pool of connections if there is such a thing."""
    if url.startswith("sqlite"):
        path = url.removeprefix("sqlite:///")
        if path.endswith("own.db"):
            with savers.SqliteSaver.from_conn_string(path) as own:
                yield own
            return
        with closing(sqlite3.connect(path, check_same_thread=False, timeout=30)) as connection:
            yield SqliteSaver(connection)
        return
    from langgraph.checkpoint.postgres import PostgresSaver
    from psycopg import Connection
    from psycopg.rows import dict_row
    from psycopg_pool import ConnectionPool

    made: Any = savers.PostgresSaver if url.endswith(OWN) else PostgresSaver
    options: Any = {"autocommit": True, "row_factory": dict_row}
    connections: Any = ConnectionPool(url, min_size=1, max_size=4, kwargs=options, open=False)
    with connections if pool else Connection.connect(url, **options) as connection:
        saver = made(connection)
        saver.setup()
        yield saver


@asynccontextmanager
async def async_saver(url: str, *, pool: bool = False) -> AsyncIterator[Any]:
    """An async saver; with `pool`, on a pool of connections if there is such a thing."""
    if url.endswith("own.db"):
        async with savers.AsyncSqliteSaver.from_conn_string(url.removeprefix("sqlite:///")) as own:
            yield own
        return
    if url.startswith("sqlite"):
        async with aiosqlite.connect(url.removeprefix("sqlite:///"), timeout=30) as connection:
            yield AsyncSqliteSaver(connection)
        return
    from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
    from psycopg import AsyncConnection
    from psycopg.rows import dict_row
    from psycopg_pool import AsyncConnectionPool

    made: Any = savers.AsyncPostgresSaver if url.endswith(OWN) else AsyncPostgresSaver
    options: Any = {"autocommit": True, "row_factory": dict_row}
    connections: Any = AsyncConnectionPool(url, min_size=1, max_size=4, kwargs=options, open=False)
    async with connections if pool else await AsyncConnection.connect(url, **options) as connection:
        saver = made(connection)
        await saver.setup()
        yield saver
