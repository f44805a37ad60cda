"""Savers of langgraph-checkpoint on a database, sync and async; on a file called `own.db`, those of this project."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from typing import Any

import aiosqlite
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from stategraph import savers


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

    if pool:
        from psycopg.rows import dict_row
        from psycopg_pool import ConnectionPool

        kwargs = {"autocommit": True, "row_factory": dict_row}
        with ConnectionPool(url, min_size=1, max_size=4, kwargs=kwargs, open=True) as connections:
            saver = PostgresSaver(connections)
            saver.setup()
            yield saver
        return
    with PostgresSaver.from_conn_string(url) as saver:
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

    if pool:
        from psycopg.rows import dict_row
        from psycopg_pool import AsyncConnectionPool

        kwargs = {"autocommit": True, "row_factory": dict_row}
        async with AsyncConnectionPool(url, min_size=1, max_size=4, kwargs=kwargs, open=False) as connections:
            saver = AsyncPostgresSaver(connections)
            await saver.setup()
            yield saver
        return
    async with AsyncPostgresSaver.from_conn_string(url) as saver:
        await saver.setup()
        yield saver
