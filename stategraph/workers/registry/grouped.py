"""The registry in a SQLite file, with operations that are stored together: by each other, and by the saves of a saver.

Rules
-----
* An operation that is quick is done with the saver's connection. Whatever waits for that is one transaction, of all
  runs of the process; each operation and each save in it succeeds or fails alone.
* That happens in the event loop, unless it would have to wait: see `stategraph.savers.sqlite.in_place`.
* Callers go on, and signals go out, once the transaction has been committed.
* One that conflicts with another one is done once more by itself, as it may have to be tried several times; so is one
  that goes on after a transaction of it has failed: its part of the common one cannot be undone by itself.
* Each operation sees the context variables of its caller.
* Operations that may take their time, those of other threads, and those that have to be on the disk at once have
  transactions and connections of their own; so have reads while a thread has the saver's connection, as it may wait
  with that for the file's one lock for writing, for which reads need not wait.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from functools import partial
from typing import TypeVar

import anyio

from stategraph.engine.tasks import threads
from stategraph.savers.sqlite.saver import SqliteSaver
from stategraph.workers.registry.port import ConflictError, StoreUnavailableError
from stategraph.workers.registry.sqlite import SqliteDatabase, SqliteSession

T = TypeVar("T")

logger = logging.getLogger("stategraph.workers")


class GroupedSqlite(SqliteDatabase):
    """A file whose operations are stored together with the saves of a saver on it, once `join` was called.

    Args:
        path: The file.
        flushes: As for `SqliteDatabase`.
    """

    def __init__(self, path: str, *, flushes: bool = True) -> None:
        super().__init__(path, flushes=flushes)
        self._saver: SqliteSaver | None = None
        self._here = threading.local()
        self._moves: deque[None] = deque()
        self._mover = threads.SingleWorker()

    def join(self, saver: SqliteSaver) -> None:
        """Store operations together with the saves of a saver on the file; it is flushed to the disk as often."""
        if not self._flushes:
            with saver.lock:
                saver.conn.execute("PRAGMA synchronous=NORMAL").close()
        saver.work_in_place(self._move_log_soon)
        self._saver = saver

    def leave(self) -> None:
        """Store operations by themselves from now on: the saver is about to be closed."""
        saver, self._saver = self._saver, None
        if saver is not None:
            with suppress(sqlite3.ProgrammingError):  # it is closed already
                saver.work_in_place(None)

    async def perform(
        self, function: Callable[..., T], *arguments: object, write: bool = True, quick: bool = False
    ) -> T:
        """Call a function that does operations; see `port.Database`."""
        saver = self._saver
        if saver is None or not quick or (not write and saver.lock.locked()):
            return await super().perform(function, *arguments, write=write)
        stored: list[Callable[[], object]] = []
        called = partial(copy_context().run, function, *arguments)
        inside = partial(self._within, called, stored, write)
        try:
            with anyio.CancelScope(shield=True):  # what it has done is not lost to a caller that is cancelled
                result = await saver.atransact(inside, writes=write, then=partial(_call_all, stored), quick=True)
        except _DoneAloneError:
            return await super().perform(function, *arguments, write=write)
        except sqlite3.OperationalError as error:
            raise self._cannot_be_used(error) from error
        return result

    @contextmanager
    def transaction(self, *, write: bool = True, durable: bool = False) -> Iterator[SqliteSession]:
        """Open a transaction; see `port.Database`. In an operation that is being performed it is a part of that."""
        session: _Shared | None = getattr(self._here, "session", None)
        if session is None or (write and not session.writes):
            with super().transaction(write=write, durable=durable) as own:
                yield own
            return
        if durable:
            raise RuntimeError("A transaction that has to be on the disk at once cannot be one with others")
        if not write:
            yield session
            return
        try:
            yield session
        except (sqlite3.IntegrityError, ConflictError) as error:
            raise _DoneAloneError from error
        except sqlite3.OperationalError as error:
            session.has_failed = True
            raise self._cannot_be_used(error) from error
        except BaseException:
            session.has_failed = True
            raise

    def once_stored(self, call: Callable[[], object]) -> None:
        """Call something when the transactions of the operation have been committed; see `port.Database`."""
        session: _Shared | None = getattr(self._here, "session", None)
        if session is None or not session.writes:
            call()
        else:
            session.stored.append(call)

    # In the event loop, or in a thread of the saver.

    def _within(
        self,
        function: Callable[[], T],
        stored: list[Callable[[], object]],
        writes: bool,
        connection: sqlite3.Connection,
    ) -> T:
        stored.clear()  # it may be done again
        session = self._here.session = _Shared(connection, stored, writes=writes)
        try:
            result = function()
        finally:
            self._here.session = None
        if session.has_failed:
            raise _DoneAloneError
        return result

    # In other threads.

    def _move_log_soon(self) -> None:
        self._moves.append(None)
        with suppress(RuntimeError):  # the system has no more threads: the next time
            self._mover.begin(self._moves, self._move_log)

    def _move_log(self) -> None:
        self._moves.clear()
        with suppress(StoreUnavailableError):  # the log stays as it is until the next time
            self.move_log()

    def _cannot_be_used(self, error: sqlite3.Error) -> StoreUnavailableError:
        return StoreUnavailableError(f"The registry's database '{self.path}' cannot be used: {error}")


class _DoneAloneError(Exception):
    """An operation conflicts with another one: it is done by itself, where it can be undone and done again."""


class _Shared(SqliteSession):
    """A transaction that others have a part in.

    Args:
        connection: The connection.
        stored: Is given what is to be called when it has been committed.
        writes: Whether it may change anything.

    Attributes:
        has_failed: Whether an exception has left a block that was to be undone.
    """

    __slots__ = ("has_failed", "stored", "writes")

    def __init__(self, connection: sqlite3.Connection, stored: list[Callable[[], object]], *, writes: bool) -> None:
        super().__init__(connection)
        self.stored = stored
        self.writes = writes
        self.has_failed = False


def _call_all(calls: list[Callable[[], object]]) -> None:
    for call in calls:
        try:
            call()
        except Exception:  # what was committed stays so; whoever waits for a signal looks by himself now and then
            logger.exception("A signal about what was stored did not go out")
