"""The registry in a SQLite file, or in the memory of this process.

Rules
-----
* A transaction that writes takes SQLite's one write lock when it begins, so what it reads cannot change before its end.
* Commits are flushed to the disk (`synchronous=FULL`), unless that is said to be needless; those of effects always are:
  an effect must not be dispatched before its row is safe.
* A process that is stopped while it holds the write lock holds up all others until it goes on or is killed: there is no
  server that could end it. Where workers may be stopped for long, use PostgreSQL.
"""

from __future__ import annotations

import queue
import random
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import anyio.to_thread

from stategraph.errors import ConfigurationError
from stategraph.savers.sqlite_files import named
from stategraph.workers.registry.port import ConflictError, Rows, StoreUnavailableError
from stategraph.workers.registry.sql import SQLITE, Sql

T = TypeVar("T")

#: Time that a transaction waits for the write lock.
BUSY_S: Final = 30.0

_CONNECTIONS: Final = 8

#: SQLite's code for errors in statements (https://sqlite.org/rescode.html#error).
_SQLITE_ERROR: Final = 1


class SqliteDatabase:
    """A file, reached over a few connections.

    Args:
        path: The file; `:memory:` for a database that lives as long as this object.
        create: Whether the file is made if it is not there, and made ready for several writers.
        flushes: Whether each commit is flushed to the disk. False: only those of transactions that are `durable`; what
            was committed just before a power failure, not one of a process that is killed, may then be missing.

    Attributes:
        path: The file.
    """

    def __init__(self, path: str, *, create: bool = True, flushes: bool = True) -> None:
        self.sql = Sql(SQLITE)
        self.path = path
        self._create = create
        self._flushes = flushes
        # Slots for connections, opened when first used; one in memory, which is a separate database.
        self._free: queue.LifoQueue[sqlite3.Connection | None] = queue.LifoQueue()
        self._number = 1 if path == ":memory:" else _CONNECTIONS
        for _ in range(self._number):
            self._free.put(None)

    @contextmanager
    def transaction(self, *, write: bool = True, durable: bool = False) -> Iterator[SqliteSession]:
        """Open a transaction; see `port.Database`."""
        connection = self._free.get()
        flushes = durable and not self._flushes
        try:
            connection = connection or self._connect()
            if flushes:
                connection.execute("PRAGMA synchronous=FULL").close()
            connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            try:
                yield SqliteSession(connection)
            except BaseException:
                with suppress(sqlite3.Error):  # what was raised says more
                    _roll_back(connection)
                raise
            connection.execute("COMMIT")
            if flushes:
                connection.execute("PRAGMA synchronous=NORMAL").close()
        except sqlite3.IntegrityError as error:
            raise ConflictError(str(error)) from error
        except sqlite3.OperationalError as error:
            raise StoreUnavailableError(f"The registry's database '{self.path}' cannot be used: {error}") from error
        finally:
            self._free.put(self._fit(connection))

    async def perform(
        self, function: Callable[..., T], *arguments: object, write: bool = True, quick: bool = False
    ) -> T:
        """Call a function that does operations, in a thread; see `port.Database`."""
        del write, quick
        return await anyio.to_thread.run_sync(function, *arguments)

    def once_stored(self, call: Callable[[], object]) -> None:
        """Call something at once: each transaction is committed at its end; see `port.Database`."""
        call()

    def is_away(self, error: BaseException) -> bool:
        """Return whether an error says that the file cannot be used now; see `port.Database`.

        An error in a statement, such as a table that is not there, has a code of its own.
        """
        return type(error) is sqlite3.OperationalError and getattr(error, "sqlite_errorcode", None) != _SQLITE_ERROR

    def move_log(self) -> None:
        """Move the write-ahead log into the file as far as nobody reads it (https://sqlite.org/wal.html#ckpt).

        It does nothing while no connection is open: this may come when all have been closed.

        Raises:
            StoreUnavailableError: The file cannot be used now.
        """
        connection = self._free.get()
        try:
            if connection is not None:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error as error:
            raise StoreUnavailableError(f"The registry's database '{self.path}' cannot be used: {error}") from error
        finally:
            self._free.put(self._fit(connection))

    def close(self) -> None:
        """Close every connection; waits for transactions that are open."""
        for _ in range(self._number):
            connection = self._free.get()
            if connection is not None:
                connection.close()
        for _ in range(self._number):
            self._free.put(None)

    def _connect(self) -> sqlite3.Connection:
        if not self._create and not Path(self.path).is_file():
            raise ConfigurationError(f"There is no database '{self.path}': a worker or a submission makes it")
        connection = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            with named(self.path):
                if self._create:
                    _use_wal(connection)
                connection.execute(f"PRAGMA synchronous={'FULL' if self._flushes else 'NORMAL'}").close()
        except BaseException:
            connection.close()
            raise
        return connection

    def _fit(self, connection: sqlite3.Connection | None) -> sqlite3.Connection | None:
        """Return a connection for the next transaction; None if another one has to be opened for that."""
        if connection is None or not connection.in_transaction:
            return connection
        try:
            _roll_back(connection)
        except sqlite3.Error:
            if self._number > 1:  # the one in memory is its database
                connection.close()
                return None
        return connection


class SqliteSession:
    """An open transaction; see `port.Session`."""

    __slots__ = ("connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> Rows:
        """Execute a statement and return its rows."""
        return self.connection.execute(statement, parameters).fetchall()

    def change(self, statement: str, parameters: Sequence[object] = ()) -> int:
        """Execute a statement and return how many rows it changed."""
        return self.connection.execute(statement, parameters).rowcount

    def change_many(self, statement: str, parameters: Sequence[Sequence[object]]) -> None:
        """Execute a statement with each of several parameters."""
        self.connection.executemany(statement, parameters)


def _use_wal(connection: sqlite3.Connection) -> None:
    """Have a file keep what is committed in a log of its own, so that those who read hold nobody up.

    SQLite does not wait for a lock here (https://sqlite.org/wal.html#sometimes_queries_return_sqlite_busy_in_wal_mode),
    and several processes may start on a new file at once.
    """
    deadline = time.monotonic() + BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").close()
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(random.uniform(0.005, 0.02))


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")
