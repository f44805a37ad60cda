"""The audit log in a SQLite file: one table for each month.

Rules
-----
* Each transaction takes SQLite's one write lock when it begins: several processes may write to one file.
* Commits are flushed to the disk (`synchronous=FULL`): a row that is stored survives a power failure.
* After an erasure the file is written anew, and the log beside it is emptied.
"""

from __future__ import annotations

import logging
import os
import random
import sqlite3
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

from stategraph.errors import ConfigurationError
from stategraph.governance.audit.chain import Head, SignedHead
from stategraph.governance.audit.record import COLUMNS, Row
from stategraph.governance.audit.storage import EVERY, Choice, Damaged, checked_month
from stategraph.governance.audit.storages import files
from stategraph.governance.audit.storages.heads_sql import HEAD, SIGNED_HEAD, HeadsSql
from stategraph.savers.sqlite_files import explain, named

BUSY_S: Final = 5.0
"""Time that a transaction waits for the write lock; after that the log tries again."""

_logger = logging.getLogger("stategraph.governance.audit")

_NOT_AS_MADE: Final = frozenset({sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT})
"""Kinds of errors about a table that is not there, or has other columns, and about pages that make no sense."""

_ANY_TEXT: Final = partial(str, encoding="utf-8", errors="surrogateescape")
"""Reads text that was put there from outside and may be none in UTF-8; it takes twice as long as to read text."""

_PREFIX: Final = "sg_audit_"
_COLUMNS: Final = ", ".join(COLUMNS)
_ROW: Final = """
    tenant TEXT NOT NULL, seq INTEGER NOT NULL, id TEXT NOT NULL, at INTEGER NOT NULL, stored INTEGER NOT NULL,
    type TEXT NOT NULL, severity INTEGER NOT NULL, run_id TEXT, thread_id TEXT, call_id TEXT, principal TEXT,
    capability_id TEXT, decision TEXT, duration_us INTEGER, trace_id TEXT, data BLOB, data_hash BLOB NOT NULL,
    key_id TEXT, prev_hash BLOB NOT NULL, hash BLOB NOT NULL, PRIMARY KEY (tenant, seq)
"""
_HEADS: Final = HeadsSql("?", integer="INTEGER", bytes="BLOB", options=" WITHOUT ROWID")


class SqliteAuditStorage:
    """An audit log in a file.

    Args:
        path: The file; made if it is not there.
        create: Whether it may be made; if not, it has to be there, and to hold an audit log.

    Raises:
        ConfigurationError: The path is that of a database in memory, or there is no file and none may be made.
    """

    def __init__(self, path: str, *, create: bool = True) -> None:
        if ":memory:" in path or not path:
            raise ConfigurationError("An audit log in memory would be lost with the process: name a file")
        if not create and not Path(path).is_file():
            raise ConfigurationError(f"There is no audit log '{path}': check the address")
        self._path = path
        self._create = create
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._months: set[str] = set()

    @property
    def name(self) -> str:
        """The address."""
        return f"sqlite:///{self._path}"

    def set_up(self) -> None:
        """Make the file, for its owner alone, and its tables."""
        with self._lock:
            self._opened()
        path = Path(self._path)
        files.warn_of_others(path.absolute().parent, path, *(f"{path}{end}" for end in ("-wal", "-shm")))

    @contextmanager
    def transaction(self, tenants: Collection[str]) -> Iterator[_Session]:
        """Open a transaction; see `storage.AuditStorage`."""
        del tenants  # there is one lock for all
        with self._lock:
            connection = self._opened()
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield _Session(connection, self._months)
                connection.execute("COMMIT")
            except BaseException as error:
                self._months = set()
                self._give_up(connection)
                explain(error, self._path)
                raise

    def _give_up(self, connection: sqlite3.Connection) -> None:
        """Roll back; a connection that cannot is closed, and another is opened for the next transaction."""
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._connection = None
            with suppress(sqlite3.Error):
                connection.close()

    @contextmanager
    def reading(self) -> Iterator[_Reading]:
        """Read the log as it is now."""
        if not Path(self._path).is_file():
            raise ConfigurationError(
                f"There is no audit log '{self._path}': check the address, or record something first"
            )
        with named(self._path), closing(self._connect(create=False)) as connection:
            connection.execute("PRAGMA query_only=ON")
            connection.execute("BEGIN")
            if not _tables(connection):
                raise ConfigurationError(f"There is no audit log in the database '{self._path}': check the address")
            yield _Reading(connection)

    def drop_month(self, month: str) -> None:
        """Delete all rows of a month."""
        with self._lock:
            self._months.discard(month)
            self._opened().execute(f"DROP TABLE IF EXISTS {_table(month)}")
        self.scrub()

    def scrub(self) -> None:
        """Write the file anew, and empty the log beside it: pages that were split may hold copies of what was erased.

        Others who write wait meanwhile; it takes some seconds for each gigabyte.
        """
        with self._lock:
            connection = self._opened()
            connection.execute("VACUUM")
            deadline = time.monotonic() + BUSY_S
            while True:
                busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                if not busy:
                    return
                if time.monotonic() > deadline:
                    _logger.warning(
                        "Somebody reads an older state of %s: what was erased stays on the disk until the log beside "
                        "the file is emptied, as it is by the next erasure",
                        self.name,
                    )
                    return
                time.sleep(0.02)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            with named(self._path):
                connection = self._connect(create=self._create)
                try:
                    _prepare(connection)
                except BaseException:
                    connection.close()
                    raise
            self._connection = connection
        return self._connection

    def _connect(self, *, create: bool) -> sqlite3.Connection:
        if create and not os.path.exists(self._path):
            with suppress(OSError):  # SQLite says better why it cannot be made
                files.make_private(self._path)  # the log beside it gets the same mode
        name = self._path if create else f"{Path(self._path).absolute().as_uri()}?mode=rw"
        return sqlite3.connect(name, timeout=BUSY_S, isolation_level=None, check_same_thread=False, uri=not create)


def _prepare(connection: sqlite3.Connection) -> None:
    """Make the tables, and have commits flushed."""
    deadline = time.monotonic() + BUSY_S
    while True:
        try:
            # SQLite does not wait for a lock here (https://sqlite.org/wal.html#sometimes_queries_return_sqlite_busy_in_wal_mode).
            connection.execute("PRAGMA journal_mode=WAL").close()
            break
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(random.uniform(0.005, 0.02))
    connection.execute("PRAGMA synchronous=FULL").close()
    connection.execute("PRAGMA cache_size=-16000").close()  # 16 MB: the newest pages of each index stay in memory
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in _HEADS.tables:
            connection.execute(statement)
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _table(month: str) -> str:
    return f"{_PREFIX}{checked_month(month).replace('-', '_')}"


class _Session:
    """An open transaction; see `storage.AuditSession`."""

    __slots__ = ("_connection", "_months")

    def __init__(self, connection: sqlite3.Connection, months: set[str]) -> None:
        self._connection = connection
        self._months = months

    @property
    def reading(self) -> _Reading:
        return _Reading(self._connection)

    def head(self, tenant: str) -> Head:
        return self.reading.head(tenant)

    def ids(self, tenant: str, after: int) -> set[str]:
        return {each.id for each in self.reading.rows(tenant, Choice(after=after))}

    def insert(self, month: str, rows: Sequence[Row]) -> None:
        table = _table(month)
        if month not in self._months:
            self._connection.execute(f"CREATE TABLE IF NOT EXISTS {table} ({_ROW}) WITHOUT ROWID")
            self._connection.execute(
                f"CREATE INDEX IF NOT EXISTS {table}_run ON {table} (run_id) WHERE run_id IS NOT NULL"
            )
            self._connection.execute(f"CREATE INDEX IF NOT EXISTS {table}_at ON {table} (tenant, at)")
            self._months.add(month)
        self._connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(COLUMNS))})", rows)

    def put_head(self, head: Head) -> None:
        _HEADS.put(self._connection, head)

    def add_signed_head(self, head: SignedHead) -> None:
        _HEADS.add_signed(self._connection, head)

    def replace_data(self, rows: Sequence[Row]) -> None:
        for month in _months(self._connection):
            self._connection.executemany(
                f"UPDATE {_table(month)} SET data = ?, key_id = ? WHERE tenant = ? AND seq = ?",
                [(each.data, each.key_id, each.tenant, each.seq) for each in rows],
            )


class _Reading:
    """A log as it was at one moment; see `storage.AuditReading`."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def tenants(self) -> list[str]:
        return sorted({tenant for table in _tables(self._connection) for tenant in self._tenants_in(table)})

    def _tenants_in(self, table: str) -> Iterator[str]:
        """Yield the tenants of a table, by steps in its key."""
        last: bytes | None = b""
        step = (
            f"SELECT CAST(min(tenant) AS BLOB) FROM {table} WHERE typeof(tenant) = 'text' AND tenant > CAST(? AS TEXT)"
        )
        while True:
            (last,) = self._connection.execute(step, (last,)).fetchone()
            if last is None:
                return
            with suppress(UnicodeDecodeError):  # else it was changed, and is missing in the chain that it was in
                yield last.decode()

    def months(self) -> list[str]:
        return _months(self._connection)

    def head(self, tenant: str) -> Head:
        with _damage("The end of the chain"):
            return _HEADS.head(self._connection, tenant)

    def signed_heads(self, tenant: str) -> list[SignedHead]:
        with _damage("The signed heads"):
            return _HEADS.signed(self._connection, tenant)

    def rows(self, tenant: str, chosen: Choice = EVERY) -> Iterator[Row]:
        rest, parameters = chosen.clauses(tenant, "?")
        left = -1 if chosen.limit is None else chosen.limit
        for month in reversed(self.months()) if chosen.newest else self.months():
            if left == 0:
                return
            for row in self._whatever_they_are(month, rest, parameters, left):
                left -= 1
                yield row

    def month(self, month: str) -> Iterator[Row]:
        with self._selected(month, "ORDER BY tenant, seq") as found:
            yield from map(Row._make, found)

    def _whatever_they_are(self, month: str, rest: str, parameters: Sequence[object], limit: int) -> Iterator[Row]:
        """Yield rows, also those that have texts of bytes that are none: reading goes on where it failed."""
        done = 0
        while True:
            try:
                with self._selected(month, f"{rest} LIMIT ? OFFSET ?", (*parameters, limit - done, done)) as found:
                    for each in found:
                        done += 1
                        yield Row._make(each)
                return
            except Damaged as error:
                if self._connection.text_factory is _ANY_TEXT or not _is_undecodable(error.__cause__):
                    raise
                self._connection.text_factory = _ANY_TEXT

    @contextmanager
    def _selected(self, month: str, rest: str, parameters: Sequence[object] = ()) -> Iterator[sqlite3.Cursor]:
        with _damage(f"The rows of {month}"):
            found = self._connection.execute(f"SELECT {_COLUMNS} FROM {_table(month)} {rest}", parameters)
            try:
                yield found
            finally:
                with suppress(sqlite3.ProgrammingError):  # who read rows failed, and has closed the connection
                    found.close()


@contextmanager
def _damage(what: str) -> Iterator[None]:
    """Raise `Damaged` in place of an error of sqlite3 about tables and pages that are not as they were made."""
    try:
        yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _NOT_AS_MADE and not _is_undecodable(error):
            raise
        why = "a text has bytes that are no UTF-8" if _is_undecodable(error) else error  # it quotes what was stored
        raise Damaged(f"{what} cannot be read: {why}") from error


def _is_undecodable(error: BaseException | None) -> bool:
    """Return whether an error is of the module `sqlite3` itself, which could not read bytes as text."""
    return isinstance(error, sqlite3.OperationalError) and not hasattr(error, "sqlite_errorcode")


def _tables(connection: sqlite3.Connection) -> list[str]:
    """Return the tables of a log that are there: months, and those of heads."""
    heads = (HEAD, SIGNED_HEAD)
    there = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name IN (?, ?)", heads)
    return [name for (name,) in there] + [_table(month) for month in _months(connection)]


def _months(connection: sqlite3.Connection) -> list[str]:
    found = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name GLOB 'sg_audit_[0-9][0-9][0-9][0-9]_[0-9][0-9]' "
        "ORDER BY name"
    ).fetchall()
    return [name.removeprefix(_PREFIX).replace("_", "-") for (name,) in found]
