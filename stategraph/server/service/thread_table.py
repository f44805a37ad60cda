"""The rows of threads: one in the index that runtimes have too, and beside it what the LangGraph API shows of a thread.

Rules
-----
* A thread's title, owner, metadata and times are those of the index (`stategraph.run.threads`), so threads of the
  `/v1` routes are threads here, and the other way round. A row of the index is never written over a newer version.
* A thread is `busy` while one of its runs waits or goes on; that is looked up, never stored.
* Values, interrupts, error and status are stored when a run has ended and somebody looks: `settled` is the number of
  the last run that they tell of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from stategraph.run.threads.rules import Row
from stategraph.server.service import paging
from stategraph.server.service.database import Tables, decoded, encoded, shown, when, when_any
from stategraph.server.service.filters import Condition, allowed, contains, every
from stategraph.server.service.values import Filter, Page, Thread
from stategraph.workers.registry.port import Rows, Session
from stategraph.workers.registry.sql import SCHEDULED
from stategraph.workers.registry.values import HELD

#: Statuses of a thread in the index by those of the LangGraph API.
STORED: Final[Mapping[str, str]] = {"idle": "idle", "interrupted": "interrupted", "error": "failed"}

_ACTIVE: Final = """(EXISTS (SELECT 1 FROM sg_run AS r WHERE r.thread_id = i.thread_id
    AND r.status IN ('pending', 'running')) OR (i.status = 'running' AND i.held_until > {now}))"""

_STATUS: Final = f"""CASE WHEN {_ACTIVE} THEN 'busy' WHEN i.status = 'interrupted' THEN 'interrupted'
    WHEN i.status = 'failed' THEN 'error' ELSE 'idle' END"""

#: The last run of a thread that has ended.
_LAST: Final = "(SELECT MAX(r.position) FROM sg_run AS r WHERE r.thread_id = i.thread_id AND r.finished_at IS NOT NULL)"

_FROM: Final = "FROM sg_thread_index AS i LEFT JOIN sg_thread AS t ON t.thread_id = i.thread_id"

_SELECT: Final = f"""SELECT i.thread_id, i.created_at, i.updated_at, i.metadata, {_STATUS},
    COALESCE(t.state_updated_at, i.created_at), CAST(t.config AS TEXT), CAST(t."values" AS TEXT),
    CAST(t.interrupts AS TEXT), CAST(t.error AS TEXT), t.settled, {_LAST} {_FROM}"""

_FIELDS: Final = {
    "thread_id": "i.thread_id",
    "status": f"({_STATUS})",
    "created_at": "i.created_at",
    "updated_at": "i.updated_at",
    "state_updated_at": "COALESCE(t.state_updated_at, i.created_at)",
}


@dataclass(frozen=True, slots=True)
class Found:
    """A thread's row.

    Attributes:
        thread: As it is stored.
        last: The number of its last run that has ended; None if none has.
        settled: The number of the last run that the row tells of; None if it tells of no state.
    """

    thread: Thread
    last: int | None
    settled: int | None

    @property
    def is_stale(self) -> bool:
        """True if a run has ended since the row was settled."""
        return self.last is not None and (self.settled is None or self.settled < self.last)


@dataclass(frozen=True, slots=True)
class Settled:
    """A thread's state as its row tells it.

    Attributes:
        status: `idle`, `interrupted` or `error`.
        values: JSON.
        interrupts: JSON.
        error: JSON; None if there is none.
        at: When the state came to be, in seconds since 1970.
        run: The number of the last run that has ended; 0 if none has.
    """

    status: str
    values: str
    interrupts: str
    error: str | None
    at: float
    run: int


@dataclass(frozen=True, slots=True)
class LastRun:
    """The last run of a thread that has ended.

    Attributes:
        status: How.
        error: Kind and message of what it failed with.
        cancelled: Why it was cancelled; None if it was not.
        at: When, in seconds since 1970.
        is_change: Whether it stands for a change of the state from outside.
    """

    status: str
    error: str | None
    cancelled: str | None
    at: float
    is_change: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadSearch:
    """Conditions for threads.

    Attributes:
        metadata: Values among their metadata.
        values: Values among those of their state.
        ids: Their ids; None or empty: any.
        status: Their status; None: any.
    """

    metadata: Mapping[str, Any] | None = None
    values: Mapping[str, Any] | None = None
    ids: Sequence[str] | None = None
    status: str | None = None

    @property
    def needs_states(self) -> bool:
        """True if rows have to be settled before they are searched."""
        return bool(self.values) or self.status is not None


class ThreadTable:
    """Reads and writes rows of threads, each call in the transaction that it is given.

    Args:
        tables: The database.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._metadata = "CAST(i.metadata AS JSONB)" if tables.is_postgres else "i.metadata"

    def visible(self, thread_id: str, filter: Filter | None) -> Condition:
        """Return the condition of one thread that a caller may see."""
        return every([Condition("i.thread_id = ?", (thread_id,)), self._seen(filter)])

    def _seen(self, filter: Filter | None) -> Condition:
        return every([Condition("i.status <> 'deleting'"), allowed(self._tables, self._metadata, filter)])

    def searched(self, search: ThreadSearch, filter: Filter | None) -> Condition:
        """Return the condition of threads that are looked for and that a caller may see."""
        parts = [self._seen(filter), contains(self._tables, self._metadata, search.metadata)]
        parts.append(contains(self._tables, 't."values"', search.values))
        if search.ids:
            parts.append(Condition("i.thread_id IN ({members})", (encoded(list(search.ids)),)))
        if search.status is not None:
            parts.append(Condition(f"({_STATUS}) = ?", (search.status,)))
        return every(parts)

    def find(self, session: Session, where: Condition) -> Found | None:
        """Return a thread; None if there is none."""
        rows = self._execute(session, f"{_SELECT} WHERE {where.text}", where.values)
        return _found(rows[0]) if rows else None

    def page(self, session: Session, where: Condition, page: Page) -> list[Found]:
        """Return threads of a page."""
        order = paging.ordered(page, _FIELDS, "updated_at", "i.thread_id")
        rows = self._execute(session, f"{_SELECT} WHERE {where.text} {order}", (*where.values, *paging.limits(page)))
        return [_found(row) for row in rows]

    def count(self, session: Session, where: Condition) -> int:
        """Return how many threads there are."""
        number: int = self._execute(session, f"SELECT COUNT(*) {_FROM} WHERE {where.text}", where.values)[0][0]
        return number

    def stale(self, session: Session, where: Condition, limit: int) -> list[Found]:
        """Return threads whose rows do not tell of their last run."""
        statement = f"{_SELECT} WHERE {where.text} AND COALESCE(t.settled, -1) < {_LAST} LIMIT ?"
        return [_found(row) for row in self._execute(session, statement, (*where.values, limit))]

    def exists(self, session: Session, where: Condition) -> bool:
        """Return whether there is such a thread."""
        return bool(self._execute(session, f"SELECT 1 {_FROM} WHERE {where.text}", where.values))

    def add(self, session: Session, row: Row) -> bool:
        """Add a thread to the index; False if it has one with this id."""
        statement = """INSERT INTO sg_thread_index (thread_id, created_at, updated_at, title, owner, metadata, status,
            holder, held_until, version, words) VALUES (?, {now}, {now}, ?, ?, ?, 'idle', NULL, 0, 1, ?)
            ON CONFLICT (thread_id) DO NOTHING"""
        values = (row.id, row.title, row.owner, encoded(row.metadata), row.words)
        added = session.change(self._tables.say(statement), values)
        return bool(added)

    def extend(self, session: Session, thread_id: str) -> None:
        """Have the row beside that of the index."""
        statement = """INSERT INTO sg_thread (thread_id, config) VALUES (?, {given})
            ON CONFLICT (thread_id) DO NOTHING"""
        session.change(self._tables.say(statement), (thread_id, "{}"))

    def merge(self, session: Session, thread_id: str, metadata: Mapping[str, Any]) -> Mapping[str, Any]:
        """Lay metadata over a thread's, and return them all."""
        merged = dict(metadata)
        found = self._execute(
            session, "SELECT metadata, title FROM sg_thread_index WHERE thread_id = ? {lock}", (thread_id,)
        )
        for text, title in found:
            merged = {**decoded(text), **metadata}
            words = Row(thread_id, 0.0, 0.0, title=title, metadata=merged).words
            statement = """UPDATE sg_thread_index SET metadata = ?, words = ?, updated_at = {now}, version = version + 1
                WHERE thread_id = ?"""
            self._execute(session, statement, (encoded(merged), words, thread_id))
        return merged

    def use(self, session: Session, thread_id: str, config: Mapping[str, Any]) -> None:
        """Note with which config a thread is run, and let it live for its time from now on.

        What is in `configurable` is the run's alone: it may hold secrets, and ids of the server.
        """
        self.extend(session, thread_id)
        rows = self._execute(session, "SELECT CAST(config AS TEXT) FROM sg_thread WHERE thread_id = ?", (thread_id,))
        given = {key: value for key, value in config.items() if key not in ("configurable", "metadata")}
        merged = {**decoded(rows[0][0]), **given, "configurable": {}}
        statement = """UPDATE sg_thread SET config = {given},
            expires_at = CASE WHEN ttl_s IS NULL THEN NULL ELSE {now} + ttl_s END WHERE thread_id = ?"""
        session.change(self._tables.say(statement), (shown(merged), thread_id))

    def live(self, session: Session, thread_id: str, ttl_s: float, strategy: str) -> None:
        """Let a thread live for a time from now on."""
        self.extend(session, thread_id)
        statement = "UPDATE sg_thread SET ttl_s = ?, ttl_strategy = ?, expires_at = {now} + ? WHERE thread_id = ?"
        session.change(self._tables.say(statement), (ttl_s, strategy, ttl_s, thread_id))

    def settle(self, session: Session, thread_id: str, state: Settled) -> None:
        """Store what is known of a thread's state, unless a row of a later run is there."""
        self.extend(session, thread_id)
        statement = """UPDATE sg_thread SET "values" = {given}, interrupts = {given}, error = {given},
            state_updated_at = ?, settled = ? WHERE thread_id = ? AND (settled IS NULL OR settled <= ?)"""
        values = (state.values, state.interrupts, state.error, state.at, state.run, thread_id, state.run)
        if session.change(self._tables.say(statement), values):
            statement = """UPDATE sg_thread_index SET status = ?, version = version + 1, holder = NULL,
                updated_at = CASE WHEN updated_at > ? THEN updated_at ELSE ? END
                WHERE thread_id = ? AND status <> 'deleting' AND NOT (status = 'running' AND held_until > {now})"""
            now = (STORED[state.status], state.at, state.at, thread_id)
            session.change(self._tables.say(statement), now)

    def last_run(self, session: Session, thread_id: str) -> LastRun | None:
        """Return the last run of a thread that has ended; a change from outside that failed is none."""
        statement = """SELECT r.status, r.error, r.cancel_requested, r.finished_at, r.target FROM sg_run AS r
            WHERE r.thread_id = ? AND r.finished_at IS NOT NULL AND (r.target <> ? OR r.status = 'success')
            ORDER BY r.position DESC LIMIT 1"""
        for status, error, cancelled, at, target in self._execute(session, statement, (thread_id, HELD)):
            return LastRun(status, error, cancelled, at, target == HELD)
        return None

    def runs_after(self, session: Session, thread_id: str, number: int, limit: int) -> list[tuple[int, str]]:
        """Return numbers and ids of a thread's runs after a number, the oldest first.

        Runs that are scheduled are not among them: they have their number when they begin.
        """
        statement = f"""SELECT o.position, o.run_id FROM sg_run AS o
            WHERE o.thread_id = ? AND o.position > ? AND o.target <> ? AND NOT ({SCHEDULED})
            ORDER BY o.position LIMIT ?"""
        rows = self._execute(session, statement, (thread_id, number, HELD, limit))
        return [(position, run_id) for position, run_id in rows]

    def remove(self, session: Session, thread_id: str) -> None:
        """Forget a thread and its schedules."""
        for table in ("sg_thread", "sg_cron", "sg_thread_index"):
            session.change(self._tables.say(f"DELETE FROM {table} WHERE thread_id = ?"), (thread_id,))

    def expired(self, session: Session, limit: int, again_s: float) -> list[tuple[str, str]]:
        """Claim threads whose time is over and which are not busy: no other process gets them before some time.

        Returns:
            Their ids and what is to be done with them, `delete` or `keep_latest`.
        """
        statement = f"""SELECT i.thread_id, t.ttl_strategy {_FROM}
            WHERE t.expires_at <= {{now}} AND i.status <> 'deleting' AND NOT {_ACTIVE} ORDER BY t.expires_at LIMIT ?"""
        claimed = []
        for thread_id, strategy in self._execute(session, statement, (limit,)):
            change = "UPDATE sg_thread SET expires_at = {now} + ? WHERE thread_id = ? AND expires_at <= {now}"
            if session.change(self._tables.say(change), (again_s, thread_id)):
                claimed.append((thread_id, strategy))
        return claimed

    def keep(self, session: Session, thread_id: str) -> None:
        """Let a thread live on, until it is used again."""
        session.change(self._tables.say("UPDATE sg_thread SET expires_at = NULL WHERE thread_id = ?"), (thread_id,))

    def _execute(self, session: Session, statement: str, values: Sequence[Any]) -> Rows:
        return session.execute(self._tables.say(statement), tuple(values))


def _found(row: Sequence[Any]) -> Found:
    thread_id, created_at, updated_at, metadata, status, state_at, config, values, interrupts, error, settled, last = (
        row
    )
    thread = Thread(
        thread_id=thread_id,
        created_at=when(created_at),
        updated_at=when(updated_at),
        state_updated_at=when_any(state_at),
        metadata=decoded(metadata),
        config=decoded(config) or {},
        status=status,
        values=decoded(values),
        interrupts=decoded(interrupts) or {},
        error=decoded(error),
        has_state=settled is not None,
    )
    return Found(thread, last, settled)
