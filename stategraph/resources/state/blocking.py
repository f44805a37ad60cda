"""State by key, for callers that cannot await; see `store` for the rules."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from stategraph.resources.errors import ResourceError
from stategraph.resources.store.database import LOG_ROWS
from stategraph.workers.registry.own_tables import OwnTables
from stategraph.workers.registry.port import Database, Session
from stategraph.workers.wakeups.bus import Bus
from stategraph.workers.wakeups.signals import Signal, SignalKind

SIGNAL: Final = Signal(SignalKind.EVENTS, "stategraph.resources.state")

#: Largest value, as JSON in UTF-8.
MAX_BYTES: Final = 1024 * 1024
LONGEST_KEY: Final = 512

_TABLES: Final = (
    """CREATE TABLE sg_network_state (
        network TEXT NOT NULL,
        key TEXT NOT NULL,
        value TEXT,
        version BIGINT NOT NULL,
        expires_at DOUBLE PRECISION,
        PRIMARY KEY (network, key)
    )""",
    "CREATE INDEX sg_network_state_version_of ON sg_network_state (network, version)",
    "CREATE TABLE sg_network_state_version (network TEXT PRIMARY KEY, version BIGINT NOT NULL)",
)


@dataclass(frozen=True, slots=True)
class StateChange:
    """The newest change of a key.

    Attributes:
        key: The key.
        value: Its value; None if it was deleted.
        version: The version that the change made, of all keys of the scope.
        is_deleted: Whether it was deleted.
    """

    key: str
    value: Any
    version: int
    is_deleted: bool = False


@dataclass(frozen=True, slots=True)
class _Found:
    value: Any
    version: int


class StateTables:
    """The tables of all scopes of a database. Thread-safe.

    Args:
        database: The database.
        bus: Wakes those who watch.
    """

    def __init__(self, database: Database, bus: Bus) -> None:
        self.database = database
        self.bus = bus
        self._tables = OwnTables(database, _TABLES)
        say = database.sql.dialect.parameter
        now, lock = database.sql.dialect.now, database.sql.dialect.lock_row
        of_key = f"network = {say} AND key = {say}"
        lives = f"value IS NOT NULL AND (expires_at IS NULL OR expires_at > {now})"
        self.read = f"SELECT value, version FROM sg_network_state WHERE {of_key} AND {lives}"
        self.all = f"SELECT key, value FROM sg_network_state WHERE network = {say} AND {lives} ORDER BY key"
        self.first = (
            f"INSERT INTO sg_network_state_version (network, version) VALUES ({say}, 0) "
            "ON CONFLICT (network) DO NOTHING"
        )
        self.lock = f"SELECT version FROM sg_network_state_version WHERE network = {say} {lock}"
        self.version = f"SELECT version FROM sg_network_state_version WHERE network = {say}"
        self.move = f"UPDATE sg_network_state_version SET version = {say} WHERE network = {say}"
        self.write = (
            "INSERT INTO sg_network_state (network, key, value, version, expires_at) "
            f"VALUES ({say}, {say}, {say}, {say}, {now} + CAST({say} AS DOUBLE PRECISION)) "
            "ON CONFLICT (network, key) DO UPDATE SET value = excluded.value, version = excluded.version, "
            "expires_at = excluded.expires_at"
        )
        self.bury = f"UPDATE sg_network_state SET value = NULL, version = {say}, expires_at = NULL WHERE {of_key}"
        self.changes = (
            f"SELECT key, value, version FROM sg_network_state WHERE network = {say} AND version > {say} "
            f"AND (value IS NULL OR expires_at IS NULL OR expires_at > {now}) ORDER BY version"
        )
        self.purge = (
            f"DELETE FROM sg_network_state WHERE network = {say} "
            f"AND ((value IS NULL AND version < {say}) OR expires_at < {now} - 3600)"
        )

    @contextmanager
    def transaction(self, *, write: bool) -> Iterator[Session]:
        """Open a transaction; the tables are made if they are not there."""
        self._tables.set_up()
        with self.database.transaction(write=write) as session:
            yield session

    def close(self) -> None:
        """Close the database."""
        self.bus.publish([SIGNAL])
        self.bus.close()
        self.database.close()


class BlockingStateStore:
    """The state of one scope. Thread-safe; for callers that cannot await.

    Args:
        tables: Where it is kept.
        scope: The name of the scope, such as that of a network.
        ttl: Seconds after which a value is gone, unless it is set with another time; None for never.
    """

    def __init__(self, tables: StateTables, scope: str, ttl: float | None = None) -> None:
        self._tables = tables
        self._scope = scope
        self._ttl = ttl

    @property
    def bus(self) -> Bus:
        """Wakes those who watch."""
        return self._tables.bus

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, or a default if there is none."""
        found = self.find(key)
        return default if found is None else found.value

    def find(self, key: str) -> _Found | None:
        """Return the value of a key with its version; None if there is none."""
        with self._tables.transaction(write=False) as session:
            return self._find(session, key)

    def _find(self, session: Session, key: str) -> _Found | None:
        rows = session.execute(self._tables.read, (self._scope, _checked(key)))
        return _Found(json.loads(rows[0][0]), rows[0][1]) if rows else None

    def set(self, key: str, value: Any, ttl: float | None = None) -> int:
        """Set the value of a key, and return the version that this makes.

        Args:
            key: The key.
            value: JSON.
            ttl: Seconds after which it is gone; None for the scope's.

        Raises:
            ResourceError: The value is no JSON or too large, or the key is too long.
        """
        text = _json(key, value)
        with self._changing() as (session, version):
            self._write(session, key, text, version, ttl)
        return version

    def swap(self, key: str, value: Any, version: int | None, ttl: float | None = None) -> bool:
        """Set the value of a key unless it has another version than this one; None for a key without a value."""
        text = _json(key, value)
        with self._tables.transaction(write=True) as session:
            next_version = self._lock(session)
            found = self._find(session, key)
            if (None if found is None else found.version) != version:
                return False
            self._write(session, key, text, next_version, ttl)
            session.change(self._tables.move, (next_version, self._scope))
        self._tables.bus.publish([SIGNAL])
        return True

    def update(self, key: str, function: Callable[[Any], Any], default: Any = None, ttl: float | None = None) -> Any:
        """Set a key to what a function makes of its value, with no other write in between, and return that.

        Args:
            key: The key.
            function: Called with the value; again if another writer was faster, so it should do nothing else.
            default: The value of a key that has none.
            ttl: Seconds after which it is gone; None for the scope's.
        """
        while True:
            found = self.find(key)
            new = function(default if found is None else found.value)
            if self.swap(key, new, None if found is None else found.version, ttl):
                return new

    def delete(self, key: str) -> bool:
        """Delete a key, and return whether it had a value."""
        with self._tables.transaction(write=True) as session:
            version = self._lock(session)
            if self._find(session, key) is None:
                return False
            session.change(self._tables.bury, (version, self._scope, key))
            session.change(self._tables.move, (version, self._scope))
        self._tables.bus.publish([SIGNAL])
        return True

    def all(self, prefix: str = "") -> dict[str, Any]:
        """Return all values whose keys begin with a prefix, by key."""
        with self._tables.transaction(write=False) as session:
            rows = session.execute(self._tables.all, (self._scope,))
        return {key: json.loads(value) for key, value in rows if key.startswith(prefix)}

    def clear(self) -> None:
        """Delete everything; those who watch are told of each key."""
        for key in self.all():
            self.delete(key)

    def version(self) -> int:
        """Return the version of the newest change; 0 if there was none."""
        with self._tables.transaction(write=False) as session:
            rows = session.execute(self._tables.version, (self._scope,))
        return int(rows[0][0]) if rows else 0

    def changes(self, after: int) -> list[StateChange]:
        """Return the newest change of each key that changed behind a version, in their order."""
        with self._tables.transaction(write=False) as session:
            rows = session.execute(self._tables.changes, (self._scope, after))
        return [
            StateChange(key, None if value is None else json.loads(value), version, value is None)
            for key, value, version in rows
        ]

    @contextmanager
    def _changing(self) -> Iterator[tuple[Session, int]]:
        with self._tables.transaction(write=True) as session:
            version = self._lock(session)
            yield session, version
            session.change(self._tables.move, (version, self._scope))
        self._tables.bus.publish([SIGNAL])

    def _lock(self, session: Session) -> int:
        """Let no other writer of the scope come in between, and return the next version."""
        tables = self._tables
        session.change(tables.first, (self._scope,))
        ((version,),) = session.execute(tables.lock, (self._scope,))
        if version % 1_000 == 999:
            session.change(tables.purge, (self._scope, version - LOG_ROWS))
        return int(version) + 1

    def _write(self, session: Session, key: str, text: str, version: int, ttl: float | None) -> None:
        _checked(key)
        session.change(self._tables.write, (self._scope, key, text, version, self._ttl if ttl is None else ttl))


def _checked(key: str) -> str:
    if not isinstance(key, str) or not key or len(key) > LONGEST_KEY:
        raise ResourceError(f"A key of state is a text of 1 to {LONGEST_KEY} characters; found {key!r:.60}")
    return key


def _json(key: str, value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ResourceError(f"The value of '{_checked(key)}' is no JSON: {error}") from error
    if len(text.encode(errors="surrogatepass")) > MAX_BYTES:
        raise ResourceError(f"The value of '{_checked(key)}' is larger than {MAX_BYTES:,} bytes as JSON")
    return text
