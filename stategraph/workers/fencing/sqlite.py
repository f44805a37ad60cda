"""Fenced writes of the savers of `langgraph-checkpoint-sqlite`.

Those savers take their lock, write and commit. A copy of the saver with another lock and another connection does the
same, only that taking this lock begins a transaction and checks the lease, that commit is left to the lock, and that
giving it back commits, or rolls back if something was raised.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import TracebackType
from typing import Any

from stategraph.workers.fencing.guard import Fenced, Transaction
from stategraph.workers.registry.sql import SQLITE, Sql

_SQL = Sql(SQLITE)
_BEGIN = "BEGIN IMMEDIATE"


class FencedSqlite(Fenced):
    """Writes through a `SqliteSaver`."""

    def call(self, method: str, thread_id: str, base: str | None, arguments: tuple[Any, ...]) -> Any:
        """Call a method of the saver that writes.

        Raises:
            LeaseLost: The run has lost its thread; nothing was written.
        """
        write = self._guard.write(_SQL, method, thread_id, base)
        clone = copy.copy(self._saver)
        clone.lock = _Transaction(self._saver, write)
        clone.conn = _Held(self._saver.conn)
        clone.setup = _nothing
        done = getattr(clone, method)(*arguments)
        self._guard.written(write)
        return done


class _Held:
    """A connection whose transaction is ended by the code that began it."""

    def __init__(self, connection: Any) -> None:
        self.cursor: Callable[..., Any] = connection.cursor

    def commit(self) -> None:
        """Leave the transaction open."""


class _Transaction(Transaction):
    """Stands for a saver's lock: a transaction in which the lease holds."""

    def __enter__(self) -> None:
        saver, connection = self._saver, self._saver.conn
        saver.lock.acquire()
        try:
            saver.setup()
            connection.execute(_BEGIN)
            self._write.verify(connection.execute(*self._write.check).fetchone())
            for statement, parameters in self._write.others:
                connection.execute(statement, parameters)
        except BaseException:
            self._end(False)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end(kind is None)

    def _end(self, succeeded: bool) -> None:
        connection = self._saver.conn
        try:
            if succeeded:
                connection.commit()
        finally:
            if connection.in_transaction:
                connection.rollback()
            self._saver.lock.release()


def _nothing() -> None:
    """Set nothing up: that is done."""


class AsyncFencedSqlite(Fenced):
    """Writes through an `AsyncSqliteSaver`."""

    async def call(self, method: str, thread_id: str, base: str | None, arguments: tuple[Any, ...]) -> Any:
        """Call a method of the saver that writes.

        Raises:
            LeaseLost: The run has lost its thread; nothing was written.
        """
        await self._saver.setup()
        write = self._guard.write(_SQL, method, thread_id, base)
        clone = copy.copy(self._saver)
        clone.lock = _AsyncTransaction(self._saver, write)
        clone.conn = _AsyncHeld(self._saver.conn)
        clone.setup = _anothing
        done = await getattr(clone, method)(*arguments)
        self._guard.written(write)
        return done


class _AsyncHeld:
    """A connection whose transaction is ended by the code that began it."""

    def __init__(self, connection: Any) -> None:
        self.cursor: Callable[..., Any] = connection.cursor
        self.execute: Callable[..., Any] = connection.execute

    async def commit(self) -> None:
        """Leave the transaction open."""


class _AsyncTransaction(Transaction):
    """Stands for a saver's lock: a transaction in which the lease holds."""

    async def __aenter__(self) -> None:
        connection = self._saver.conn
        await self._saver.lock.acquire()
        try:
            await connection.execute(_BEGIN)
            found = await connection.execute_fetchall(*self._write.check)
            self._write.verify(found[0] if found else None)
            for statement, parameters in self._write.others:
                await connection.execute(statement, parameters)
        except BaseException:
            await self._end(False)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._end(kind is None)

    async def _end(self, succeeded: bool) -> None:
        connection = self._saver.conn
        try:
            if succeeded:
                await connection.commit()
        finally:
            try:
                if connection.in_transaction:
                    await connection.rollback()
            finally:
                self._saver.lock.release()


async def _anothing() -> None:
    """Set nothing up: that is done."""
