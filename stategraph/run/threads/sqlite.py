"""Connections of savers on SQLite: one for the whole process, with a lock around each transaction."""

from __future__ import annotations

import sqlite3
from typing import Any

from stategraph.run.threads.sql import Rows, Statement


class SqliteConnection:
    """Executes on the saver's connection, under the saver's lock.

    Args:
        saver: The saver.
    """

    def __init__(self, saver: Any) -> None:
        self._saver = saver

    async def prepare(self) -> None:
        """Have the saver's own tables."""
        await self._saver.setup()

    async def execute(self, *statements: Statement) -> tuple[Rows, int]:
        """Execute statements as one transaction."""
        rows: Rows = ()
        changes = 0
        connection = self._saver.conn
        async with self._saver.lock:
            try:
                for statement, parameters in statements:
                    async with connection.execute(statement, tuple(parameters)) as cursor:
                        rows, changes = [tuple(row) for row in await cursor.fetchall()], cursor.rowcount
                await connection.commit()
            except BaseException:
                await connection.rollback()
                raise
        return rows, changes


class SharedConnection:
    """Executes on the connection of a `SqliteSaver` of `stategraph.savers`, as the saver itself does.

    Args:
        saver: The saver.
    """

    def __init__(self, saver: Any) -> None:
        self._saver = saver

    async def prepare(self) -> None:
        """Have the saver's own tables."""
        await self._saver.atransact(lambda _: None, writes=False)

    async def execute(self, *statements: Statement) -> tuple[Rows, int]:
        """Execute statements as one transaction."""

        def execute(connection: sqlite3.Connection) -> tuple[Rows, int]:
            rows: Rows = ()
            changes = 0
            for statement, parameters in statements:
                cursor = connection.execute(statement, tuple(parameters))
                rows, changes = cursor.fetchall(), cursor.rowcount
            return rows, changes

        writes = not all(statement.lstrip().startswith("SELECT") for statement, _ in statements)
        done: tuple[Rows, int] = await self._saver.atransact(execute, writes=writes)
        return done
