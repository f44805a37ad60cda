"""The audit log in PostgreSQL, through `psycopg` (the extra `postgres`): one partition for each month.

Rules
-----
* A tenant's chain grows under the lock of its row in `sg_audit_head`; other tenants are not held up.
* Tables and partitions are made under an advisory lock, as several processes may start at once. A partition is made
  apart and attached, which holds up nobody who reads or writes; those of the next months are made ahead.
* Partitions are by `stored`, and not by `at`: times of a chain never decrease there, so a month has one stretch of a
  tenant's numbers, and can be archived. `at` has a BRIN index.
* The address is never shown: it may hold a password.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Final, LiteralString

import psycopg
from psycopg import sql

from stategraph.agent.settings.secrets import shown_address
from stategraph.errors import ConfigurationError
from stategraph.governance.audit.chain import Head, SignedHead
from stategraph.governance.audit.record import COLUMNS, Row, moment
from stategraph.governance.audit.storage import EVERY, Choice, Damaged, checked_month, month_of
from stategraph.governance.audit.storages.heads_sql import HEAD, SIGNED_HEAD, HeadsSql
from stategraph.savers.postgres.libpq import CONNECT_S, VANISHED, unless_given

AHEAD: Final = 2
"""Months for which partitions are made ahead."""

_LOCK: Final = 0x5347_4155_4449_54
"""The key of the advisory lock: "SGAUDIT"."""

_READ_AT_ONCE: Final = 2000
_MICROSECONDS: Final = "(extract(epoch FROM {}) * 1000000)::bigint"
_COLUMNS: Final = ", ".join(_MICROSECONDS.format(each) if each in ("at", "stored") else each for each in COLUMNS)
_MOMENT: Final = "(timestamptz 'epoch' + {} * interval '1 microsecond')"
_COPIED: Final = sql.SQL("COPY sg_audit ({}) FROM STDIN").format(sql.SQL(", ").join(map(sql.Identifier, COLUMNS)))

_TABLES: Final[tuple[LiteralString, ...]] = (
    """
    CREATE TABLE IF NOT EXISTS sg_audit (
        tenant TEXT NOT NULL, seq BIGINT NOT NULL, id TEXT NOT NULL, at TIMESTAMPTZ NOT NULL,
        stored TIMESTAMPTZ NOT NULL, type TEXT NOT NULL, severity SMALLINT NOT NULL, run_id TEXT, thread_id TEXT,
        call_id TEXT, principal TEXT, capability_id TEXT, decision TEXT, duration_us BIGINT, trace_id TEXT, data BYTEA,
        data_hash BYTEA NOT NULL, key_id TEXT, prev_hash BYTEA NOT NULL, hash BYTEA NOT NULL,
        PRIMARY KEY (tenant, seq, stored)
    ) PARTITION BY RANGE (stored)
    """,
    "CREATE INDEX IF NOT EXISTS sg_audit_at ON sg_audit USING BRIN (at)",
    "CREATE INDEX IF NOT EXISTS sg_audit_run ON sg_audit (run_id) WHERE run_id IS NOT NULL",
)
_HEADS: Final = HeadsSql("%s", integer="BIGINT", bytes="BYTEA", locked="FOR UPDATE")
_NAMES: Final = ("sg_audit", HEAD, SIGNED_HEAD)
_THERE: Final = "SELECT relname FROM pg_class WHERE oid IN (to_regclass(%s), to_regclass(%s), to_regclass(%s))"
_MONTHS: Final = (
    "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
    "WHERE i.inhparent = to_regclass('sg_audit') ORDER BY c.relname"
)


_NOT_AS_MADE: Final = (
    *(psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn, psycopg.errors.UndefinedFunction),
    *(psycopg.errors.WrongObjectType, psycopg.errors.DatatypeMismatch),
)
"""Errors about a table that is not there, or has other columns."""


class PostgresAuditStorage:
    """An audit log on a server: one connection that writes, and one for each who reads.

    Args:
        url: The address, as libpq takes it.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._connection: psycopg.Connection[Any] | None = None
        self._months: set[str] = set()

    @property
    def name(self) -> str:
        """The address, without its login and options."""
        return shown_address(self._url)

    def set_up(self) -> None:
        """Make the tables, and the partitions of this month and those ahead."""
        with self._lock:
            self._prepare(self._opened(), month_of(time.time_ns() // 1000))

    @contextmanager
    def transaction(self, tenants: Collection[str]) -> Iterator[_Session]:
        """Open a transaction; see `storage.AuditStorage`."""
        del tenants  # each is locked when its end is read
        with self._lock:
            try:
                connection = self._opened()
                month = month_of(time.time_ns() // 1000)
                if month not in self._months:
                    self._prepare(connection, month)
                with connection.transaction(), connection.cursor(binary=True) as cursor:
                    yield _Session(cursor, self)
            except BaseException:
                self._months = set()  # one may have been dropped
                if self._connection is not None and self._connection.closed:
                    self._connection = None
                raise

    @contextmanager
    def reading(self) -> Iterator[_Reading]:
        """Read the log as it is now."""
        with self._connect() as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            connection.autocommit = False
            with connection.cursor(binary=True) as cursor:
                if not _there(cursor):
                    raise ConfigurationError(f"There is no audit log in {self.name}: check the address")
                yield _Reading(connection, cursor)

    def drop_month(self, month: str) -> None:
        """Delete all rows of a month: its partition is detached, beside those who read, and dropped."""
        table = sql.Identifier(_table(month))
        with self._lock:
            self._months.discard(month)
            connection = self._opened()
            with suppress(psycopg.errors.UndefinedTable):
                try:
                    connection.execute(sql.SQL("ALTER TABLE sg_audit DETACH PARTITION {} CONCURRENTLY").format(table))
                except psycopg.errors.ObjectNotInPrerequisiteState:  # an earlier attempt was cut off
                    connection.execute(sql.SQL("ALTER TABLE sg_audit DETACH PARTITION {} FINALIZE").format(table))
            connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(table))

    def scrub(self) -> None:
        """Free what was erased for other rows; what is on the disk is overwritten by these, and not before."""
        with self._lock:
            self._opened().execute("VACUUM sg_audit")

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _opened(self) -> psycopg.Connection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = self._connect()
        return self._connection

    def _connect(self) -> psycopg.Connection[Any]:
        try:
            return psycopg.connect(
                self._url,
                autocommit=True,
                connect_timeout=int(CONNECT_S),
                application_name="stategraph-audit",
                **unless_given(VANISHED, self._url),
            )
        except psycopg.ProgrammingError:
            # The message quotes the address.
            raise ConfigurationError(
                "The audit log's address is not one that libpq can read: write 'postgresql://user@host:5432/database'"
            ) from None

    def _prepare(self, connection: psycopg.Connection[Any], month: str) -> None:
        """Make what is not there: the tables, and the partitions of a month and of those behind it."""
        with connection.transaction():
            with connection.cursor() as cursor:
                if len(_there(cursor)) < len(_NAMES):
                    cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
                    for statement in (*_TABLES, *_HEADS.tables):
                        cursor.execute(sql.SQL(statement))
            self.prepare_months(connection, month)

    def prepare_months(self, connection: psycopg.Connection[Any], month: str) -> None:
        """Make the partitions of a month and of those behind it, within the present transaction."""
        first = _first_of(month)
        wanted = {f"{each:%Y-%m}": each for each in (_later(first, number) for number in range(AHEAD + 1))}
        if not wanted.keys() <= _attached(connection):
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
            attached = _attached(connection)
            for name, begin in wanted.items():
                if name not in attached:
                    _make_partition(connection, _table(name), begin)
        self._months |= wanted.keys()

    def has(self, month: str) -> bool:
        """Return whether the partition of a month is known to be there."""
        return month in self._months


def _there(cursor: psycopg.Cursor[Any]) -> set[str]:
    """Return which of the log's tables are there."""
    return {name for (name,) in cursor.execute(_THERE, _NAMES)}


@contextmanager
def _damage(what: str, connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Raise `Damaged` in place of an error about tables that are not there, or not as they were made.

    The transaction goes on, so that what else there is can be read.
    """
    try:
        with connection.transaction():
            yield
    except _NOT_AS_MADE as error:
        said = str(error).partition("\n")[0]
        raise Damaged(f"{what} cannot be read: {said}") from error


def _make_partition(connection: psycopg.Connection[Any], table: str, begin: datetime) -> None:
    names = {"table": sql.Identifier(table), "begin": sql.Literal(begin), "end": sql.Literal(_later(begin, 1))}
    for statement in (
        sql.SQL("DROP TABLE IF EXISTS {table}"),  # one that was detached, and not dropped
        sql.SQL("CREATE TABLE {table} (LIKE sg_audit INCLUDING DEFAULTS INCLUDING CONSTRAINTS)"),
        sql.SQL("ALTER TABLE sg_audit ATTACH PARTITION {table} FOR VALUES FROM ({begin}) TO ({end})"),
    ):
        connection.execute(statement.format(**names))


def _attached(connection: psycopg.Connection[Any]) -> set[str]:
    return {_month(name) for (name,) in connection.execute(_MONTHS)}


def _table(month: str) -> str:
    return f"sg_audit_{checked_month(month).replace('-', '_')}"


def _month(table: str) -> str:
    return table.removeprefix("sg_audit_").replace("_", "-")


def _first_of(month: str) -> datetime:
    return datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)


def _later(month: datetime, number: int) -> datetime:
    """Return the first day of the month so many months later."""
    months = month.year * 12 + month.month - 1 + number
    return month.replace(year=months // 12, month=months % 12 + 1)


class _Session:
    """An open transaction; see `storage.AuditSession`."""

    __slots__ = ("_cursor", "_storage")

    def __init__(self, cursor: psycopg.Cursor[Any], storage: PostgresAuditStorage) -> None:
        self._cursor = cursor
        self._storage = storage

    @property
    def reading(self) -> _Reading:
        return _Reading(self._cursor.connection, self._cursor)

    def head(self, tenant: str) -> Head:
        return _HEADS.locked_head(self._cursor, tenant)

    def ids(self, tenant: str, after: int) -> set[str]:
        found = self._cursor.execute("SELECT id FROM sg_audit WHERE tenant = %s AND seq > %s", (tenant, after))
        return {id for (id,) in found}

    def insert(self, month: str, rows: Sequence[Row]) -> None:
        if not self._storage.has(month):
            self._storage.prepare_months(self._cursor.connection, month)
        with self._cursor.copy(_COPIED) as copy:
            stored, last = moment(rows[0].stored), rows[0].stored
            for row in rows:
                if row.stored != last:
                    stored, last = moment(row.stored), row.stored
                copy.write_row((*row[:3], moment(row.at), stored, *row[5:]))

    def put_head(self, head: Head) -> None:
        _HEADS.put(self._cursor, head)

    def add_signed_head(self, head: SignedHead) -> None:
        _HEADS.add_signed(self._cursor, head)

    def replace_data(self, rows: Sequence[Row]) -> None:
        self._cursor.executemany(
            "UPDATE sg_audit SET data = %s, key_id = %s WHERE tenant = %s AND seq = %s AND stored = %s",
            [(each.data, each.key_id, each.tenant, each.seq, moment(each.stored)) for each in rows],
        )


class _Reading:
    """A log as it was at one moment; see `storage.AuditReading`."""

    __slots__ = ("_connection", "_cursor")

    def __init__(self, connection: psycopg.Connection[Any], cursor: psycopg.Cursor[Any]) -> None:
        self._connection = connection
        self._cursor = cursor

    def tenants(self) -> list[str]:
        found = set[str]()
        for table in sorted(_there(self._cursor)):
            with suppress(Damaged), _damage("The names of tenants", self._connection):
                found |= self._tenants_in(table)
        return sorted(found)

    def _tenants_in(self, table: str) -> set[str]:
        if table != "sg_audit":
            statement = sql.SQL("SELECT DISTINCT tenant FROM {}").format(sql.Identifier(table))
            if table == HEAD:
                statement += sql.SQL(" WHERE seq > 0")
            return {str(tenant) for (tenant,) in self._cursor.execute(statement)}
        # By steps in the key (https://wiki.postgresql.org/wiki/Loose_indexscan).
        rows = self._cursor.execute("""
            WITH RECURSIVE t AS (
                (SELECT tenant FROM sg_audit ORDER BY tenant LIMIT 1)
                UNION ALL
                SELECT (SELECT tenant FROM sg_audit WHERE tenant > t.tenant ORDER BY tenant LIMIT 1)
                FROM t WHERE t.tenant IS NOT NULL
            )
            SELECT tenant FROM t WHERE tenant IS NOT NULL
        """)
        return {str(tenant) for (tenant,) in rows}

    def months(self) -> list[str]:
        names = [name for (name,) in self._cursor.execute(_MONTHS)]
        return [_month(name) for name in names if self._has_rows(name)]

    def _has_rows(self, table: str) -> bool:
        found = self._cursor.execute(sql.SQL("SELECT EXISTS (SELECT FROM {})").format(sql.Identifier(table)))
        (there,) = found.fetchone() or (False,)
        return bool(there)

    def head(self, tenant: str) -> Head:
        with _damage("The end of the chain", self._connection):
            return _HEADS.head(self._cursor, tenant)

    def signed_heads(self, tenant: str) -> list[SignedHead]:
        with _damage("The signed heads", self._connection):
            return _HEADS.signed(self._cursor, tenant)

    def rows(self, tenant: str, chosen: Choice = EVERY) -> Iterator[Row]:
        rest, parameters = chosen.clauses(tenant, "%s", _MOMENT)
        statement = f"SELECT {_COLUMNS} FROM sg_audit {rest}, stored {'DESC' if chosen.newest else 'ASC'}"
        if chosen.limit is not None:
            statement += " LIMIT %s"
            parameters.append(chosen.limit)
        return self._streamed(statement, parameters)

    def month(self, month: str) -> Iterator[Row]:
        name = _table(month)
        return self._streamed(f'SELECT {_COLUMNS} FROM "{name}" ORDER BY tenant COLLATE "C", seq', ())

    def _streamed(self, statement: str, parameters: Sequence[Any]) -> Iterator[Row]:
        name = f"rows_{id(object())}_{time.monotonic_ns()}"  # several may be open at once
        with self._connection.cursor(name=name, binary=True) as cursor:
            cursor.itersize = _READ_AT_ONCE
            with _damage("The rows", self._connection):  # the cursor outlives the savepoint
                cursor.execute(statement, parameters, binary=True)
            yield from map(Row._make, cursor)
