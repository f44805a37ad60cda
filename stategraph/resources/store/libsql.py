"""A file of libSQL, through its client (the extra `libsql`); the file is one that SQLite reads as well.

The client raises `ValueError` for everything. A database on a server (`sqld`) is not reached by this.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from stategraph.errors import MissingPackageError
from stategraph.workers.registry.port import ConflictError, StoreUnavailableError
from stategraph.workers.registry.sqlite import BUSY_S, SqliteDatabase, SqliteSession

_CONFLICT: Final = re.compile(r"constraint failed", re.IGNORECASE)
_LOCKED: Final = re.compile(r"locked|busy", re.IGNORECASE)
_AWAY: Final = re.compile(r"locked|busy|unable to open|disk|readonly|not a database", re.IGNORECASE)


class LibsqlDatabase(SqliteDatabase):
    """A file, reached over a few connections of libSQL's client.

    Args:
        path: The file.
    """

    @contextmanager
    def transaction(self, *, write: bool = True, durable: bool = False) -> Iterator[SqliteSession]:
        """Open a transaction; see `port.Database`."""
        try:
            with super().transaction(write=write, durable=durable) as session:
                yield session
        except ValueError as error:
            if type(error) is not ValueError:  # one of ours
                raise
            if _CONFLICT.search(str(error)):
                raise ConflictError(str(error)) from error
            if _AWAY.search(str(error)):
                raise StoreUnavailableError(f"The database '{self.path}' cannot be used: {error}") from error
            raise

    def _connect(self) -> Any:
        try:
            import libsql  # type: ignore[import-untyped]  # an extra
        except ImportError as error:
            raise MissingPackageError("stategraph[libsql]", "A store in libSQL") from error
        connection = _Patient(libsql.connect(self.path, timeout=0.0, isolation_level=None))
        connection.execute("PRAGMA journal_mode=WAL").fetchall()
        connection.execute("PRAGMA synchronous=FULL").fetchall()
        return connection


class _Patient:
    """A connection that waits for locks: the client waits with the GIL held, so that no thread could let go of one.

    Args:
        connection: A connection that does not wait.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    @property
    def in_transaction(self) -> bool:
        """True between `BEGIN` and the end of the transaction."""
        return bool(self._connection.in_transaction)

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> Any:
        """Execute a statement, again for as long as the file is locked; what was refused has done nothing."""
        deadline = time.monotonic() + BUSY_S
        while True:
            try:
                return self._connection.execute(statement, tuple(parameters))
            except ValueError as error:
                if not _LOCKED.search(str(error)) or time.monotonic() > deadline:
                    raise
            time.sleep(random.uniform(0.001, 0.01))

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
