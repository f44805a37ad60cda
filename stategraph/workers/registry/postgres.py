"""The registry in PostgreSQL, through `psycopg` (the extra `postgres`).

Rules
-----
* Connections are checked before they are used, so a server that was restarted is found again.
* Rows that another worker has locked are passed over by claims, never waited for.
* A server that vanishes is noticed after ten seconds, so that heartbeats go on on another connection.
* The address is never shown: it may hold a password.
* Before the pool is opened, one connection is made without it: its error says what is wrong, at once, where a pool only
  says that its time ran out. Calls that wait for it meanwhile share its error.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import anyio.to_thread

from stategraph.errors import ConfigurationError
from stategraph.savers.postgres.libpq import VANISHED, unless_given
from stategraph.workers.registry.port import ConflictError, Rows, StoreUnavailableError
from stategraph.workers.registry.sql import POSTGRES, Sql

if TYPE_CHECKING:
    from psycopg import Cursor

T = TypeVar("T")

_CONNECTIONS: Final = 8

#: The codes of errors that say that a server is away: connections, and shutdowns, crashes and starts.
_AWAY: Final = ("08", "57P01", "57P02", "57P03")

#: Time limit for a connection.
CONNECT_S: Final = 5.0


class PostgresDatabase:
    """A server, reached over a few connections.

    Args:
        url: Its address, as libpq takes it.
    """

    def __init__(self, url: str) -> None:
        import psycopg  # an extra
        import psycopg_pool

        self.sql = Sql(POSTGRES)
        self._url = url
        self._opening = threading.Lock()
        self._is_open = False
        self._tries = 0
        self._failure = ""
        self._connect = psycopg.connect
        self._unreadable = psycopg.ProgrammingError
        self._pool = psycopg_pool.ConnectionPool(
            url,
            min_size=1,
            max_size=_CONNECTIONS,
            timeout=CONNECT_S,
            reconnect_timeout=CONNECT_S,
            check=psycopg_pool.ConnectionPool.check_connection,
            kwargs={"application_name": "stategraph", "prepare_threshold": 3, **unless_given(VANISHED, url)},
            open=False,
        )
        self._unavailable = (psycopg.OperationalError, psycopg.InterfaceError, psycopg_pool.PoolTimeout)
        self._operational, self._timed_out = psycopg.OperationalError, psycopg_pool.PoolTimeout
        self._conflicts = (psycopg.errors.UniqueViolation, psycopg.errors.DeadlockDetected)

    @contextmanager
    def transaction(self, *, write: bool = True, durable: bool = False) -> Iterator[PostgresSession]:
        """Open a transaction; see `port.Database`."""
        del write, durable  # nothing is gained by knowing
        try:
            self._open()
            with self._pool.connection() as connection, connection.cursor() as cursor:
                yield PostgresSession(cursor)
        except self._conflicts as error:
            raise ConflictError(type(error).__name__) from error
        except self._unavailable as error:
            raise StoreUnavailableError(_unreachable(error)) from error

    def _open(self) -> None:
        if not self._is_open:
            tries = self._tries
            with self._opening:
                self._open_alone(tries)

    def _open_alone(self, tries: int) -> None:
        """Open the pool, unless another thread has opened it, or tried to, since there were this many tries."""
        if self._is_open:
            return
        if self._tries != tries:
            raise StoreUnavailableError(self._failure)
        try:
            self._connect(self._url, connect_timeout=int(CONNECT_S)).close()
        except self._unavailable as error:
            self._tries, self._failure = tries + 1, _unreachable(error)
            raise
        except self._unreadable:
            # The message quotes the address.
            raise ConfigurationError(
                "The registry's address is not one that libpq can read: write 'postgresql://user@host:5432/database'"
            ) from None
        self._pool.open()
        self._is_open = True

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
        """Return whether an error says that the server is away, or going away; see `port.Database`.

        Of errors that a server reports these are the classes and codes for lost connections, shutdowns and starts
        (https://www.postgresql.org/docs/current/errcodes-appendix.html).
        """
        if isinstance(error, self._operational):
            return error.sqlstate is None or error.sqlstate.startswith(_AWAY)
        return isinstance(error, self._timed_out)

    def close(self) -> None:
        """Close every connection."""
        self._pool.close()


def _unreachable(error: Exception) -> str:
    said = " ".join(str(error).split()).rstrip(".")
    stop = "" if said.endswith("?") else "."
    return (
        f"The registry's PostgreSQL cannot be reached: {said}{stop} Check host, port, user and database of its "
        "address, and whether the server runs. The next call tries again"
    )


class PostgresSession:
    """An open transaction; see `port.Session`."""

    __slots__ = ("_cursor",)

    def __init__(self, cursor: Cursor[Any]) -> None:
        self._cursor = cursor

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> Rows:
        """Execute a statement and return its rows."""
        self._cursor.execute(cast("Any", statement), parameters)
        return [] if self._cursor.description is None else self._cursor.fetchall()

    def change(self, statement: str, parameters: Sequence[object] = ()) -> int:
        """Execute a statement and return how many rows it changed."""
        self._cursor.execute(cast("Any", statement), parameters)
        return self._cursor.rowcount

    def change_many(self, statement: str, parameters: Sequence[Sequence[object]]) -> None:
        """Execute a statement with each of several parameters."""
        self._cursor.executemany(cast("Any", statement), parameters)
