"""Fenced writes of the savers of `langgraph-checkpoint-postgres`.

A copy of the saver is given one connection in pipeline mode, whose synchronisation is left to the caller. The check
goes first and fails in the server if the lease is lost, which makes the server skip all that follows up to the
synchronisation: the saver's statements are one transaction with it, in one round trip.

A client that stalls in the middle of it is cut off by PostgreSQL 17 and newer (`sql.STALL_MS`). An older one waits for
it, and that thread cannot be claimed until then.
"""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import TracebackType
from typing import Any

from stategraph.workers.fencing.guard import Fenced, Statement, Write
from stategraph.workers.registry.sql import LEASE_LOST, POSTGRES, Sql
from stategraph.workers.registry.store import lost

_SQL = Sql(POSTGRES)


class FencedPostgres(Fenced):
    """Writes through a `PostgresSaver`."""

    def call(self, method: str, thread_id: str, base: str | None, arguments: tuple[Any, ...]) -> Any:
        """Call a method of the saver that writes.

        Raises:
            LeaseLost: The run has lost its thread; nothing was written.
        """
        write = self._guard.write(_SQL, method, thread_id, base)
        try:
            with self._connection() as connection, self._together(connection), connection.cursor() as cursor:
                try:
                    for statement, parameters in _statements(write):
                        cursor.execute(statement, parameters)
                    done = getattr(_clone(self._saver, connection, _Held()), method)(*arguments)
                except BaseException:
                    cursor.execute("ROLLBACK")
                    raise
        except Exception as error:
            _raise_if_lost(error, write)
            raise
        self._guard.written(write)
        return done

    @contextmanager
    def _together(self, connection: Any) -> Iterator[None]:
        """Have statements executed as one transaction, or none of them if one fails."""
        if self._saver.pipe is not None:  # the connection is in pipeline mode all along
            try:
                yield
            finally:
                self._saver.pipe.sync()
        else:
            with connection.pipeline():
                yield

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        """Have the saver's connection to oneself, or one of its pool's."""
        given = self._saver.conn
        if hasattr(given, "getconn"):  # a pool
            with given.connection() as connection:
                yield connection
        else:
            with self._saver.lock:
                yield given


class AsyncFencedPostgres(Fenced):
    """Writes through an `AsyncPostgresSaver`."""

    async def call(self, method: str, thread_id: str, base: str | None, arguments: tuple[Any, ...]) -> Any:
        """Call a method of the saver that writes.

        Raises:
            LeaseLost: The run has lost its thread; nothing was written.
        """
        write = self._guard.write(_SQL, method, thread_id, base)
        try:
            async with self._connection() as connection, self._together(connection), connection.cursor() as cursor:
                try:
                    for statement, parameters in _statements(write):
                        await cursor.execute(statement, parameters)
                    done = await getattr(_clone(self._saver, connection, _AsyncHeld()), method)(*arguments)
                except BaseException:
                    await cursor.execute("ROLLBACK")
                    raise
        except Exception as error:
            _raise_if_lost(error, write)
            raise
        self._guard.written(write)
        return done

    @asynccontextmanager
    async def _together(self, connection: Any) -> AsyncIterator[None]:
        """Have statements executed as one transaction, or none of them if one fails."""
        if self._saver.pipe is not None:  # the connection is in pipeline mode all along
            try:
                yield
            finally:
                await self._saver.pipe.sync()
        else:
            async with connection.pipeline():
                yield

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        """Have the saver's connection to oneself, or one of its pool's."""
        given = self._saver.conn
        if hasattr(given, "getconn"):  # a pool
            async with given.connection() as connection:
                yield connection
        else:
            async with self._saver.lock:
                yield given


class _Held:
    """A pipeline that is synchronised by the code that opened it."""

    def sync(self) -> None:
        """Leave the pipeline open."""


class _AsyncHeld:
    """A pipeline that is synchronised by the code that opened it."""

    async def sync(self) -> None:
        """Leave the pipeline open."""


class _Alone:
    """Replaces the lock of a saver whose connection is not shared."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass


def _statements(write: Write) -> tuple[Statement, ...]:
    return ((_SQL.require_fence, (write.lease.thread_id, write.lease.token)), *write.others)


def _clone(saver: Any, connection: Any, pipe: _Held | _AsyncHeld) -> Any:
    clone = copy.copy(saver)
    clone.conn = connection
    clone.lock = _Alone()
    clone.pipe = pipe
    return clone


def _raise_if_lost(error: Exception, write: Write) -> None:
    """Raise the loss of the lease if that is what the server's error says.

    In a pipeline the error that says so may be followed by others, of the statements behind it and of the rollback.

    Raises:
        LeaseLost: It is.
    """
    found: BaseException | None = error
    while found is not None:
        if getattr(found, "sqlstate", None) == LEASE_LOST:
            raise lost(write.lease) from None
        found = None if found.__suppress_context__ else found.__context__
