"""An index as a table in the database of the saver, in the words that SQLite and PostgreSQL share.

A row is changed only in the version that was read, so two processes never write over each other. Threads that another
program wrote, or that were there before the table, are found by going from one thread of `checkpoints` to the next
along its primary key, not through all checkpoints.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias, cast

from stategraph.constants import INTERRUPT
from stategraph.run.threads.port import Unlisted
from stategraph.run.threads.rules import Row, Stored
from stategraph.run.threads.values import ThreadQuery

TABLE: Final = "sg_thread_index"

_COLUMNS: Final = "thread_id, created_at, updated_at, title, owner, metadata, status, holder, held_until, version"

Statement: TypeAlias = tuple[str, Sequence[Any]]
Rows: TypeAlias = Sequence[Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Words:
    """Differences in the spelling of the two databases.

    Attributes:
        real: The type of times.
        writes: The saver's table of what tasks have written.
        metadata: The condition that so many of some values are among the metadata; its parameters are the values as
            JSON and their number.
        exists: Returns a row if there is a table of a name.
        lock: Lets only one process at a time make the table; None if one is alone anyway.
    """

    real: str
    writes: str
    metadata: str
    exists: str
    lock: str | None


SQLITE: Final = Words(
    real="REAL",
    writes="writes",
    metadata="(SELECT COUNT(*) FROM json_each(?) AS wanted JOIN json_each(metadata) AS had ON had.key = wanted.key "
    "AND had.type = wanted.type AND had.value IS wanted.value) = ?",
    exists="SELECT 1 FROM sqlite_master WHERE name = ?",
    lock=None,
)

POSTGRES: Final = Words(
    real="DOUBLE PRECISION",
    writes="checkpoint_writes",
    metadata="(SELECT COUNT(*) FROM jsonb_each(CAST(? AS jsonb)) AS wanted "
    "WHERE CAST(metadata AS jsonb) -> wanted.key = wanted.value) = ?",
    exists="SELECT 1 WHERE to_regclass(?) IS NOT NULL",
    lock="SELECT pg_advisory_xact_lock(7326002)",
)

_UNLISTED: Final = f"""SELECT u.thread_id, u.first, u.last, EXISTS (
    SELECT 1 FROM {{writes}} w WHERE w.thread_id = u.thread_id AND w.checkpoint_ns = '' AND w.checkpoint_id = u.last
    AND w.channel = '{INTERRUPT}'
) FROM (WITH RECURSIVE seen(thread_id) AS (
    SELECT MIN(thread_id) FROM checkpoints
    UNION ALL
    SELECT (SELECT MIN(c.thread_id) FROM checkpoints c WHERE c.thread_id > seen.thread_id)
    FROM seen WHERE seen.thread_id IS NOT NULL
)
SELECT s.thread_id,
    (SELECT MIN(c.checkpoint_id) FROM checkpoints c WHERE c.thread_id = s.thread_id AND c.checkpoint_ns = '') AS first,
    (SELECT MAX(c.checkpoint_id) FROM checkpoints c WHERE c.thread_id = s.thread_id AND c.checkpoint_ns = '') AS last
FROM seen s
WHERE s.thread_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM {TABLE} i WHERE i.thread_id = s.thread_id)
) AS u WHERE u.first IS NOT NULL"""


def tables(words: Words) -> Iterable[str]:
    """Return the statements that make the table, unless it is there."""
    real = words.real
    yield f"""CREATE TABLE IF NOT EXISTS {TABLE} (
        thread_id TEXT PRIMARY KEY,
        created_at {real} NOT NULL,
        updated_at {real} NOT NULL,
        title TEXT,
        owner TEXT,
        metadata TEXT NOT NULL,
        status TEXT NOT NULL,
        holder TEXT,
        held_until {real} NOT NULL,
        version BIGINT NOT NULL,
        words TEXT NOT NULL
    )"""
    yield f"CREATE INDEX IF NOT EXISTS {TABLE}_updated ON {TABLE} (updated_at, thread_id)"
    yield f"CREATE INDEX IF NOT EXISTS {TABLE}_owner ON {TABLE} (owner, updated_at, thread_id)"


class Connection(Protocol):
    """The saver's database."""

    async def execute(self, *statements: Statement) -> tuple[Rows, int]:
        """Execute statements as one transaction; return the rows of the last one, and how many it changed."""

    async def prepare(self) -> None:
        """Have the saver's own tables."""


class SqlIndex:
    """A table.

    Args:
        connection: The database.
        words: How it spells.
    """

    keeps = True

    def __init__(self, connection: Connection, words: Words) -> None:
        self._connection = connection
        self._words = words

    def check(self) -> None:
        """Do nothing: it keeps all."""

    async def open(self) -> None:
        """Make the table, unless it is there."""
        await self._connection.prepare()
        there, _ = await self._connection.execute((self._words.exists, (TABLE,)))
        if there:
            return  # to ask for it again may need rights that nothing else here does
        lock = [] if self._words.lock is None else [(self._words.lock, ())]
        await self._connection.execute(*lock, *((each, ()) for each in tables(self._words)))

    async def get(self, thread_id: str) -> Row | None:
        """Return a row; None if there is none."""
        statement = f"SELECT {_COLUMNS} FROM {TABLE} WHERE thread_id = ?"
        rows, _ = await self._connection.execute((statement, (thread_id,)))
        return _row(rows[0]) if rows else None

    async def put(self, row: Row, version: int | None) -> bool:
        """Keep a row in place of that of a version."""
        values = (
            *(row.created_at, row.updated_at, row.title, row.owner, _json(row.metadata)),
            *(row.status, row.holder, row.held_until, (version or 0) + 1, row.words),
        )
        if version is None:
            marks = ", ".join("?" * 11)
            statement = f"INSERT INTO {TABLE} ({_COLUMNS}, words) VALUES ({marks}) ON CONFLICT (thread_id) DO NOTHING"
            _, changes = await self._connection.execute((statement, (row.id, *values)))
        else:
            named = ", ".join(f"{name} = ?" for name in (*_COLUMNS.split(", ")[1:], "words"))
            statement = f"UPDATE {TABLE} SET {named} WHERE thread_id = ? AND version = ?"
            _, changes = await self._connection.execute((statement, (*values, row.id, version)))
        return changes == 1

    async def remove(self, row: Row) -> bool:
        """Forget a row of this version."""
        statement = f"DELETE FROM {TABLE} WHERE thread_id = ? AND version = ?"
        _, changes = await self._connection.execute((statement, (row.id, row.version)))
        return changes == 1

    async def find(self, query: ThreadQuery) -> Sequence[Row]:
        """Return rows in order."""
        conditions = list(self._conditions(query))
        where = " AND ".join(condition for condition, _ in conditions)
        parameters = [each for _, several in conditions for each in several]
        by, way = f"{query.order}_at", "ASC" if query.oldest_first else "DESC"
        statement = (
            f"SELECT {_COLUMNS} FROM {TABLE} WHERE {where} ORDER BY {by} {way}, thread_id {way} LIMIT {query.limit + 1}"
        )
        rows, _ = await self._connection.execute((statement, parameters))
        return [_row(each) for each in rows]

    def _conditions(self, query: ThreadQuery) -> Iterable[Statement]:
        yield "status <> 'deleting'", ()
        if query.owner is not None:
            yield "owner = ?", (query.owner,)
        if query.metadata:
            yield self._words.metadata, (_json(query.metadata), len(query.metadata))
        if query.text:
            escaped = query.text.casefold().replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
            yield "words LIKE ? ESCAPE '\\'", (f"%{escaped}%",)
        if query.updated_after is not None:
            yield "updated_at >= ?", (query.updated_after,)
        if query.updated_before is not None:
            yield "updated_at < ?", (query.updated_before,)
        match query.status:
            case "running":
                yield "status = 'running' AND held_until > ?", (query.now,)
            case "unfinished":
                yield "status = 'running' AND held_until <= ?", (query.now,)
            case str() as status:
                yield "status = ?", (status,)
        if query.after is not None:
            yield f"({query.order}_at, thread_id) {'>' if query.oldest_first else '<'} (?, ?)", query.after

    async def unlisted(self) -> Sequence[Unlisted]:
        """Return threads of the saver that have no row."""
        rows, _ = await self._connection.execute((_UNLISTED.format(writes=self._words.writes), ()))
        return [Unlisted(thread_id, first, last, bool(waits)) for thread_id, first, last, waits in rows]

    async def abandoned(self, now: float) -> Sequence[Row]:
        """Return threads whose deletion was begun, by a process that is gone."""
        statement = f"SELECT {_COLUMNS} FROM {TABLE} WHERE status = 'deleting' AND held_until <= ?"
        rows, _ = await self._connection.execute((statement, (now,)))
        return [_row(each) for each in rows]

    async def namespaces(self, thread_id: str, after: str) -> Sequence[str]:
        """Return the namespaces of nested graphs."""
        statement = (
            "SELECT DISTINCT checkpoint_ns FROM checkpoints WHERE thread_id = ? AND checkpoint_ns <> '' "
            "AND (checkpoint_id > ? OR checkpoint_ns NOT LIKE ?)"
        )
        rows, _ = await self._connection.execute((statement, (thread_id, after, "%:%")))
        return [name for (name,) in rows]


def _json(values: Mapping[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def _row(values: Sequence[Any]) -> Row:
    thread_id, created_at, updated_at, title, owner, metadata, status, holder, held_until, version = values
    return Row(
        id=thread_id,
        created_at=created_at,
        updated_at=updated_at,
        title=title,
        owner=owner,
        metadata=json.loads(metadata),
        status=cast("Stored", status),
        holder=holder,
        held_until=held_until,
        version=version,
    )
