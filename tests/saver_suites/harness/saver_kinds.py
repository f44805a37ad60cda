"""The savers that the suites hold beside each other: this project's in both modes, and those they stand beside."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

DATABASES = ("sqlite", "postgres")


def put_in_place() -> None:
    """Have imports of their savers give this project's, in the plain form."""
    import langgraph.checkpoint.postgres as postgres
    import langgraph.checkpoint.postgres.aio as async_postgres
    import langgraph.checkpoint.sqlite as sqlite
    import langgraph.checkpoint.sqlite.aio as async_sqlite

    from stategraph.savers import AsyncPostgresSaver, AsyncSqliteSaver, PostgresSaver, SqliteSaver

    sqlite.SqliteSaver = _plain(SqliteSaver)
    async_sqlite.AsyncSqliteSaver = _plain(AsyncSqliteSaver)
    postgres.PostgresSaver = _plain(PostgresSaver)
    async_postgres.AsyncPostgresSaver = _plain(AsyncPostgresSaver)


def _plain(cls: Any) -> Any:
    """Return a class whose savers are in the plain form: a suite makes them without saying which."""

    class Plain(cls):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **{**named, "mode": "plain"})

    Plain.__name__ = Plain.__qualname__ = cls.__name__
    return Plain


@asynccontextmanager
async def saver(whose: str, database: str, mode: str, url: str) -> AsyncIterator[Any]:
    """Open a saver on an empty database.

    Args:
        whose: `ours` or `theirs`.
        database: `sqlite` or `postgres`.
        mode: `plain` or `compact`; theirs have no modes.
        url: The address of a PostgreSQL.
    """
    from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver as TheirPostgres
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver as TheirSqlite

    from stategraph.savers import AsyncPostgresSaver, AsyncSqliteSaver

    options: dict[str, Any] = {"mode": mode} if whose == "ours" else {}
    kinds: dict[str, Any] = {"postgres": AsyncPostgresSaver, "sqlite": AsyncSqliteSaver}
    if whose == "theirs":
        kinds = {"postgres": TheirPostgres, "sqlite": TheirSqlite}
    async with AsyncExitStack() as stack:
        if database == "postgres":
            address = await stack.enter_async_context(_fresh(url))
        else:
            address = str(Path(stack.enter_context(tempfile.TemporaryDirectory())) / "savers.db")
        opened = await stack.enter_async_context(kinds[database].from_conn_string(address, **options))
        await opened.setup()
        yield opened


@asynccontextmanager
async def _fresh(url: str) -> AsyncIterator[str]:
    """Make a database, and drop it afterwards."""
    import psycopg

    name = f"savers_{uuid4().hex}"
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(f"CREATE DATABASE {name}")
        try:
            yield url.replace("/postgres?", f"/{name}?")
        finally:
            await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
