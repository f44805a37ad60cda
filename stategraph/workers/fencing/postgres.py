"""Fenced writes on PostgreSQL.

A saver of `stategraph.savers` is given the check, and what belongs to the write, as statements of the transaction in
which it stores. Of a saver of `langgraph-checkpoint-postgres`, a copy is given one connection in pipeline mode, whose
synchronisation is left to the caller.

In both, the check goes first and fails in the server if the lease is lost, which makes the server skip all that follows
up to the synchronisation: the saver's statements are one transaction with it.

A client that stalls in the middle of it is cut off by PostgreSQL 17 and newer (`sql.STALL_MS`). An older one waits for
it, and that thread cannot be claimed until then.
"""

from __future__ import annotations

import copy
from functools import partial
from types import TracebackType
from typing import Any

from stategraph.engine.config.procedures import Enter, Procedure, Within, aperform, perform
from stategraph.savers.postgres.libpq import Synchronised, forget_prepared, has_sqlstate
from stategraph.workers.fencing.guard import Fenced, Write
from stategraph.workers.fencing.within import FencedWithin
from stategraph.workers.registry.operations import lost
from stategraph.workers.registry.sql import LEASE_LOST, POSTGRES, Sql

_SQL = Sql(POSTGRES)


class FencedWithinPostgres(FencedWithin):
    """Writes through a `PostgresSaver` or an `AsyncPostgresSaver` of `stategraph.savers`."""

    _sql = _SQL

    def _addition(self, write: Write) -> object:
        return [(_SQL.require_fence, (write.lease.thread_id, write.lease.token)), *write.others]

    def _look_at(self, error: BaseException, write: Write) -> None:
        _raise_if_lost(error, write)


class FencedPostgres(Fenced):
    """Writes through a `PostgresSaver` of `langgraph-checkpoint-postgres`."""

    def call(self, method: str, thread_id: str, base: str | None, arguments: tuple[Any, ...]) -> Any:
        """Call a method of the saver that writes.

        Raises:
            LeaseLost: The run has lost its thread; nothing was written.
        """
        return perform(_call(self, method, thread_id, base, arguments, _Held()))


class AsyncFencedPostgres(Fenced):
    """Writes through an `AsyncPostgresSaver` of `langgraph-checkpoint-postgres`."""

    async def call(self, method: str, thread_id: str, base: str | None, arguments: tuple[Any, ...]) -> Any:
        """Call a method of the saver that writes.

        Raises:
            LeaseLost: The run has lost its thread; nothing was written.
        """
        return await aperform(_call(self, method, thread_id, base, arguments, _AsyncHeld()))


def _call(
    fenced: Fenced,
    method: str,
    thread_id: str,
    base: str | None,
    arguments: tuple[Any, ...],
    held: _Held | _AsyncHeld,
) -> Procedure[Any]:
    write = fenced.guard.write(_SQL, method, thread_id, base, arguments)
    try:
        done = yield Within(_transaction(fenced.saver, write, method, arguments, held))
    except BaseException as error:
        _raise_if_lost(error, write)
        raise
    fenced.guard.written(write)
    return done


def _transaction(
    saver: Any, write: Write, method: str, arguments: tuple[Any, ...], held: _Held | _AsyncHeld
) -> Procedure[Any]:
    """Check the lease and call the saver's method as one transaction, or none of it if something fails."""
    connection = saver.conn
    pool = connection if hasattr(connection, "getconn") else None
    if pool is None:
        yield Enter(saver.lock)
    else:
        connection = yield Enter(pool.connection())
    try:
        return (yield Within(_pipelined(saver, connection, write, method, arguments, held)))
    except BaseException:
        yield from forget_prepared(connection, saver.pipe)
        if pool is not None and connection.closed:
            yield pool.check  # others may be lost with it; whoever tries again gets one that is not
        raise


def _pipelined(
    saver: Any, connection: Any, write: Write, method: str, arguments: tuple[Any, ...], held: _Held | _AsyncHeld
) -> Procedure[Any]:
    # The connection may be in pipeline mode all along.
    yield Enter(connection.pipeline() if saver.pipe is None else Synchronised(saver.pipe))
    cursor = yield Enter(connection.cursor())
    try:
        yield partial(cursor.execute, _SQL.require_fence, (write.lease.thread_id, write.lease.token))
        for statement, parameters in write.others:
            yield partial(cursor.execute, statement, parameters)
        return (yield partial(getattr(_clone(saver, connection, held), method), *arguments))
    except BaseException:
        yield partial(cursor.execute, "ROLLBACK")
        raise


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


def _clone(saver: Any, connection: Any, pipe: _Held | _AsyncHeld) -> object:
    clone = copy.copy(saver)
    clone.conn = connection
    clone.lock = _Alone()
    clone.pipe = pipe
    return clone


def _raise_if_lost(error: BaseException, write: Write) -> None:
    """Raise the loss of the lease if that is what the server's error says.

    Raises:
        LeaseLost: It is.
    """
    if has_sqlstate(error, LEASE_LOST):
        raise lost(write.lease) from None
