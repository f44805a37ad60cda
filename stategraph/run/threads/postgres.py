"""The connection, or the pool of connections, of an `AsyncPostgresSaver`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from stategraph.run.threads.sql import Rows, Statement


class PostgresConnection:
    """Executes on a connection of the saver.

    Args:
        saver: The saver.
    """

    def __init__(self, saver: Any) -> None:
        self._saver = saver

    async def prepare(self) -> None:
        """Have the saver's own tables: those are made by its `setup`, which its host calls, as always."""

    async def execute(self, *statements: Statement) -> tuple[Rows, int]:
        """Execute statements as one transaction."""
        rows: Rows = ()
        changes = 0
        async with self._connection() as connection, connection.transaction(), connection.cursor() as cursor:
            for statement, parameters in statements:
                await cursor.execute(statement.replace("?", "%s"), tuple(parameters))
                rows = [_values(row) for row in await cursor.fetchall()] if cursor.description else ()
                changes = cursor.rowcount
        return rows, changes

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        if hasattr(self._saver.conn, "getconn"):  # a pool
            async with self._saver.conn.connection() as connection:
                yield connection
        else:
            async with self._saver.lock:
                yield self._saver.conn


def _values(row: Any) -> tuple[Any, ...]:
    return tuple(row.values()) if isinstance(row, Mapping) else tuple(row)
