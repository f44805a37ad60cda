"""The savers that the suites hold beside each other: this project's in both modes, and those they stand beside."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

DATABASES = ("sqlite", "postgres")


def put_in_place() -> None:
    """Have imports of their savers give this project's, which use the same tables."""
    import langgraph.checkpoint.postgres as postgres
    import langgraph.checkpoint.postgres.aio as async_postgres

    from stategraph.savers.postgres import compatible

    postgres.PostgresSaver = compatible.PostgresSaver
    async_postgres.AsyncPostgresSaver = compatible.AsyncPostgresSaver


@asynccontextmanager
async def saver(whose: str, database: str, mode: str, url: str) -> AsyncIterator[Any]:
    """Open a saver on an empty database.

    Args:
        whose: `ours` or `theirs`.
        database: `sqlite` or `postgres`.
        mode: `compatible` or `compact`; theirs have no modes.
        url: The address of a PostgreSQL.
    """
    if database == "postgres":
        async with _fresh(url) as address:
            if whose == "theirs":
                from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
            else:
                from stategraph.savers.postgres.compatible import AsyncPostgresSaver  # type: ignore[assignment]
            async with AsyncPostgresSaver.from_conn_string(address) as opened:
                await opened.setup()
                yield opened
        return
    with tempfile.TemporaryDirectory() as folder:
        from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

        async with AsyncSqliteSaver.from_conn_string(str(Path(folder) / "savers.db")) as found:
            yield found


@asynccontextmanager
async def _fresh(url: str) -> AsyncIterator[str]:
    """Make a database, and drop it afterwards."""
    from uuid import uuid4

    import psycopg

    name = f"savers_{uuid4().hex}"
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(f"CREATE DATABASE {name}")
        try:
            yield url.replace("/postgres?", f"/{name}?")
        finally:
            await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
