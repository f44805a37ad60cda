"""The service's tables, beside those of the registry of runs: SQLite or PostgreSQL.

Rules
-----
* The schema has versions. A process that finds an older one brings it up to date, step by step, in one transaction
  that only one process at a time is in; one that finds a newer one refuses to work.
* Statements are written once, with words in braces for what the two databases spell differently.
* JSON is stored with sorted keys, so that equal values are equal texts.
* Everything runs in worker threads: an event loop is never held up.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock
from typing import Any, Final, TypeVar

import anyio
import anyio.to_thread

from stategraph.run.threads import sql as index
from stategraph.run.threads.values import is_storable
from stategraph.server.service.plain import plain_json
from stategraph.server.service.values import InvalidError, UnavailableError
from stategraph.workers.registry.operations import RegistryOperations
from stategraph.workers.registry.port import ConflictError, Session, StoreUnavailableError
from stategraph.workers.registry.sql import Dialect

T = TypeVar("T")

_AWAY: Final = "The database cannot be reached now: try again"

#: The one table that all versions have.
SCHEMA_TABLE: Final = "sg_server_schema"

#: How often a transaction is tried that conflicts with others.
_TRIES: Final = 20

_ASSISTANTS: Final = (
    """CREATE TABLE sg_assistant (
        assistant_id TEXT PRIMARY KEY,
        graph_id TEXT NOT NULL,
        name TEXT NOT NULL,
        description TEXT,
        config {json} NOT NULL,
        context {json} NOT NULL,
        metadata {json} NOT NULL,
        version INTEGER NOT NULL,
        created_at {real} NOT NULL,
        updated_at {real} NOT NULL
    )""",
    "CREATE INDEX sg_assistant_created ON sg_assistant (created_at, assistant_id)",
    "CREATE INDEX sg_assistant_graph ON sg_assistant (graph_id, created_at)",
    """CREATE TABLE sg_assistant_version (
        assistant_id TEXT NOT NULL REFERENCES sg_assistant (assistant_id) ON DELETE CASCADE,
        version INTEGER NOT NULL,
        graph_id TEXT NOT NULL,
        name TEXT NOT NULL,
        description TEXT,
        config {json} NOT NULL,
        context {json} NOT NULL,
        metadata {json} NOT NULL,
        created_at {real} NOT NULL,
        PRIMARY KEY (assistant_id, version)
    )""",
)

#: What threads have beside their row in the index of threads, `stategraph.run.threads`.
_THREADS: Final = (
    """CREATE TABLE sg_thread (
        thread_id TEXT PRIMARY KEY,
        state_updated_at {real},
        config {json} NOT NULL,
        "values" {json},
        interrupts {json},
        error {json},
        settled BIGINT,
        ttl_s {real},
        ttl_strategy TEXT,
        expires_at {real}
    )""",
    "CREATE INDEX sg_thread_expiry ON sg_thread (expires_at) WHERE expires_at IS NOT NULL",
)

_STORE: Final = (
    """CREATE TABLE sg_item (
        namespace TEXT {bytewise} NOT NULL,
        key TEXT {bytewise} NOT NULL,
        value {json} NOT NULL,
        created_at {real} NOT NULL,
        updated_at {real} NOT NULL,
        ttl_s {real},
        expires_at {real},
        PRIMARY KEY (namespace, key)
    )""",
    "CREATE INDEX sg_item_updated ON sg_item (updated_at)",
    "CREATE INDEX sg_item_expiry ON sg_item (expires_at) WHERE expires_at IS NOT NULL",
)

_CRONS: Final = (
    """CREATE TABLE sg_cron (
        cron_id TEXT PRIMARY KEY,
        assistant_id TEXT NOT NULL,
        thread_id TEXT,
        user_id TEXT NOT NULL,
        caller {json} NOT NULL,
        schedule TEXT NOT NULL,
        timezone TEXT,
        payload {json} NOT NULL,
        metadata {json} NOT NULL,
        on_completion TEXT,
        enabled INTEGER NOT NULL,
        end_time {real},
        next_run_at {real},
        claimed_until {real} NOT NULL,
        created_at {real} NOT NULL,
        updated_at {real} NOT NULL
    )""",
    "CREATE INDEX sg_cron_next ON sg_cron (next_run_at) WHERE enabled = 1 AND next_run_at IS NOT NULL",
    "CREATE INDEX sg_cron_thread ON sg_cron (thread_id) WHERE thread_id IS NOT NULL",
)

#: From each version of the schema to the next one; what is here is never changed, only added to.
MIGRATIONS: Final[Sequence[Sequence[str]]] = ((*_ASSISTANTS, *_THREADS, *_STORE, *_CRONS),)

#: Indexes that only PostgreSQL has, beside the tables of the version with the same place.
_OF_POSTGRES: Final[Sequence[Sequence[str]]] = (
    (
        "CREATE INDEX sg_assistant_metadata ON sg_assistant USING gin (metadata jsonb_path_ops)",
        "CREATE INDEX sg_thread_metadata ON sg_thread_index USING gin (CAST(metadata AS jsonb) jsonb_path_ops)",
    ),
)


@dataclass(frozen=True, slots=True)
class Words:
    """Differences between the databases in JSON.

    Attributes:
        json: The type of JSON.
        given: A parameter that is JSON.
        bytewise: Has texts compared by their bytes.
    """

    json: str
    given: str
    bytewise: str


_WORDS: Final[Mapping[str, Words]] = {
    "sqlite": Words("TEXT", "?", ""),
    "postgres": Words("JSONB", "CAST(? AS JSONB)", 'COLLATE "C"'),
}


class Tables:
    """The tables of the service.

    Args:
        registry: The registry of runs, whose tables are in the same database.
    """

    def __init__(self, registry: RegistryOperations) -> None:
        self._registry = registry
        self._database = registry.database
        self._setting_up = Lock()
        self._is_set_up = False

    @property
    def is_postgres(self) -> bool:
        """True for PostgreSQL, where JSON has operators of its own."""
        return self.dialect.name == "postgres"

    @property
    def dialect(self) -> Dialect:
        """The words of the database."""
        return self._database.sql.dialect

    def say(self, statement: str) -> str:
        """Return a statement in the words of the database: `{now}`, `{json}`, `{given}`, `{real}`, `{members}`."""
        dialect, words = self.dialect, _WORDS[self.dialect.name]
        named = {
            "now": dialect.now,
            "real": dialect.real,
            "json": words.json,
            "given": words.given,
            "bytewise": words.bytewise,
            "members": dialect.members,
            "lock": dialect.lock_row,
            "free": "FOR UPDATE SKIP LOCKED" if self.is_postgres else "",
        }
        return statement.format_map(named).replace("?", dialect.parameter)

    def perform(self, work: Callable[[Session], T], write: bool) -> T:
        """Do something in a transaction, in the thread of the caller; see `read` and `write`."""
        return self._tried(work, write)

    async def read(self, work: Callable[[Session], T], *, quick: bool = False) -> T:
        """Do something in a transaction that changes nothing.

        Args:
            work: Does it.
            quick: Whether it takes microseconds: a few rows by their keys.

        Raises:
            UnavailableError: The database cannot be reached.
        """
        return await self._performed(work, False, quick)

    async def write(self, work: Callable[[Session], T], *, quick: bool = False) -> T:
        """Do something in a transaction; it is done again if another one was faster.

        Args:
            work: Does it.
            quick: Whether it takes microseconds: a few rows by their keys.

        Raises:
            UnavailableError: The database cannot be reached.
        """
        return await self._performed(work, True, quick)

    async def set_up(self) -> None:
        """Make the tables, or bring them up to date; also done by the first transaction.

        Raises:
            UnavailableError: The database cannot be reached, or its tables are of a newer version.
        """
        await anyio.to_thread.run_sync(self._set_up)

    async def _performed(self, work: Callable[[Session], T], write: bool, quick: bool) -> T:
        if not self._is_set_up:
            await self.set_up()
        try:
            return await self._database.perform(self._tried, work, write, write=write, quick=quick)
        except StoreUnavailableError as error:  # of the transaction that it was a part of
            raise UnavailableError(_AWAY) from error

    def _tried(self, work: Callable[[Session], T], write: bool) -> T:
        self._set_up()
        for _ in range(_TRIES - 1):
            try:
                return self._once(work, write)
            except ConflictError:
                continue
        return self._once(work, write)

    def _once(self, work: Callable[[Session], T], write: bool) -> T:
        try:
            with self._database.transaction(write=write) as session:
                return work(session)
        except StoreUnavailableError as error:
            raise UnavailableError(_AWAY) from error

    def _set_up(self) -> None:
        if self._is_set_up:
            return
        with self._setting_up:
            if not self._is_set_up:
                try:
                    self._registry.set_up()
                except StoreUnavailableError as error:
                    raise UnavailableError(str(error)) from error
                self._once(self._migrate, True)
                self._is_set_up = True

    def _migrate(self, session: Session) -> None:
        if self._version(session) == len(MIGRATIONS):
            return  # a role that may make no tables asks for none
        if self.dialect.lock_schema is not None:
            session.execute(self.dialect.lock_schema)
        session.change(f"CREATE TABLE IF NOT EXISTS {SCHEMA_TABLE} (version INTEGER NOT NULL)")
        version = self._version(session)
        if version > len(MIGRATIONS):
            raise UnavailableError(
                f"The server's tables have version {version} and this stategraph knows version {len(MIGRATIONS)}: "
                "use the same version of stategraph in all processes"
            )
        if version == 0:
            self._make_index(session)
        for number in range(version, len(MIGRATIONS)):
            own = _OF_POSTGRES[number] if self.is_postgres else ()
            for statement in (*MIGRATIONS[number], *own):
                session.change(self.say(statement))
        if version == 0:
            session.change(self.say(f"INSERT INTO {SCHEMA_TABLE} (version) VALUES (?)"), (len(MIGRATIONS),))
        elif version < len(MIGRATIONS):
            session.change(self.say(f"UPDATE {SCHEMA_TABLE} SET version = ?"), (len(MIGRATIONS),))

    def _version(self, session: Session) -> int:
        """Return the version of the tables; 0 if there are none."""
        if not session.execute(self._database.sql.exists, (SCHEMA_TABLE,)):
            return 0
        found = session.execute(f"SELECT version FROM {SCHEMA_TABLE}")
        version: int = found[0][0] if found else 0
        return version

    def _make_index(self, session: Session) -> None:
        """Make the index of threads, unless a runtime has made it; its rows are those that runtimes see."""
        words = index.POSTGRES if self.is_postgres else index.SQLITE
        if words.lock is not None:
            session.execute(words.lock)
        for statement in index.tables(words):
            session.change(statement)


def encoded(value: object) -> str:
    """Return plain JSON as text to be stored.

    Raises:
        InvalidError: It is no JSON, or a text in it has a NUL or half of a character, which databases cannot store.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidError(f"A value is no JSON: {error}") from None
    if not is_storable(text) or "\\u0000" in text:
        raise InvalidError("A text has a NUL or an unpaired surrogate, which cannot be stored: leave it out")
    return text


def shown(value: object) -> str:
    """Return what a graph made as JSON to be stored for search and display; NULs are shown as U+FFFD."""
    text = plain_json(value)
    if "\\u0000" in text or "\\ud" in text.lower():
        text = json.dumps(_without_nul(json.loads(text)), ensure_ascii=False)
    return text


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_without_nul(key): _without_nul(each) for key, each in value.items()}
    return [_without_nul(each) for each in value] if isinstance(value, list) else value


def decoded(text: str | None) -> Any:
    """Return JSON that was stored; columns are selected as text."""
    return None if text is None else json.loads(text)


def when(seconds: float) -> datetime:
    """Return a time in seconds since 1970 as a date in UTC."""
    return datetime.fromtimestamp(seconds, UTC)


def when_any(seconds: float | None) -> datetime | None:
    """Return a time as a date in UTC; None for None."""
    return None if seconds is None else when(seconds)
