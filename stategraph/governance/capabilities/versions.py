"""Versions of capabilities that another party describes, and which of them a person has released.

Rules
-----
* A capability is known by its scope, such as a tenant, and its id without a version.
* The first description that is seen is version 1. It is released at once, or by a person if `first` is `quarantine`.
* Another description is the next version, in quarantine until a person releases it. The version before it is gone: its
  server executes what it describes now.
* A description that was released once, and comes back, is that version again.
* Releasing one version takes nothing from others, so a server that is rolled back serves what was released before.
* Of versions in quarantine the newest `MOST_WAITING` of a capability are kept: a server that describes a tool otherwise
  at each listing fills no disk.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, Protocol, Self

from stategraph.errors import ConfigurationError
from stategraph.governance.errors import GovernanceError

First = Literal["release", "quarantine"]


@dataclass(frozen=True, slots=True)
class Seen:
    """A description that a source gives now.

    Attributes:
        key: The capability's id without a version.
        digest: Of the description.
        description: What models are told, for the person who looks at it.
        parts: Digests of its parts.
        contents: All that models are told, such as the schemas, as JSON in text; for that person too.
    """

    key: str
    digest: str
    description: str = ""
    parts: Mapping[str, str] = field(default_factory=dict)
    contents: str = ""


@dataclass(frozen=True, slots=True)
class KnownVersion:
    """A version that was seen.

    Attributes:
        scope: Whose, such as a tenant.
        key: The capability's id without a version.
        version: 1, 2, and so on.
        digest: Of the description.
        description: What models would be told.
        parts: Digests of its parts.
        seen_at: When it was seen first.
        released_by: Who released it; None: it is in quarantine. The first one that is released by itself has `first`.
        released_at: When; None: not yet.
        contents: All that models would be told, as JSON in text; empty: an earlier version of this package noted it.
    """

    scope: str
    key: str
    version: int
    digest: str
    description: str
    parts: Mapping[str, str]
    seen_at: datetime
    released_by: str | None = None
    released_at: datetime | None = None
    contents: str = ""

    @property
    def id(self) -> str:
        """The id of the capability in this version."""
        return f"{self.key}@{self.version}"

    @property
    def released(self) -> bool:
        """True if it may be used."""
        return self.released_by is not None


class VersionStore(Protocol):
    """Remembers versions, for all threads and processes that use the same store."""

    def note(self, scope: str, seen: Sequence[Seen], /, *, first: First, now: datetime) -> Mapping[str, KnownVersion]:
        """Return the version of each description by its key, and remember those that are new.

        Args:
            scope: Whose.
            seen: Descriptions of different capabilities.
            first: What becomes of the first description of a capability.
            now: The time.
        """

    def versions(self, scope: str, /) -> Sequence[KnownVersion]:
        """Return all versions of a scope, by key and version."""

    def release(self, scope: str, id: str, /, *, by: str, now: datetime) -> KnownVersion:
        """Release a version.

        Args:
            scope: Whose.
            id: The capability with its version.
            by: Who has looked at it, as `Principal.name`.
            now: The time.

        Raises:
            GovernanceError: There is no such version.
        """


FIRST_BY: Final = "first"

MOST_CONTENTS: Final = 256 * 1024
"""Characters of the contents that are kept of a version."""

MOST_WAITING: Final = 16
"""Versions of one capability that wait in quarantine."""


def plan(
    scope: str, seen: Sequence[Seen], known: Sequence[KnownVersion], first: First, now: datetime
) -> tuple[dict[str, KnownVersion], list[KnownVersion]]:
    """Return the version of each description by its key, and those of them that are new; see the rules above."""
    by_digest = {(each.key, each.digest): each for each in known}
    latest: dict[str, int] = {}
    for version in known:
        latest[version.key] = max(version.version, latest.get(version.key, 0))
    found: dict[str, KnownVersion] = {}
    new: list[KnownVersion] = []
    for each in seen:
        if (there := by_digest.get((each.key, each.digest))) is None:
            number = latest.get(each.key, 0) + 1
            by = FIRST_BY if number == 1 and first == "release" else None
            released_at = now if by else None
            there = KnownVersion(
                scope,
                each.key,
                number,
                each.digest,
                each.description,
                dict(each.parts),
                now,
                by,
                released_at,
                each.contents[:MOST_CONTENTS],
            )
            new.append(there)
        found[each.key] = there
    return found, new


def _missing(scope: str, id: str, known: Sequence[KnownVersion]) -> GovernanceError:
    there = ", ".join(each.id for each in known if each.key == id.rpartition("@")[0])
    return GovernanceError(
        f"There is no version {id!r} to release in the scope {scope!r}; there is: {there or 'none of this name'}"
    )


def outdated(known: Sequence[KnownVersion], new: Sequence[KnownVersion]) -> list[KnownVersion]:
    """Return the versions in quarantine that are forgotten when new ones come."""
    waiting: dict[str, list[KnownVersion]] = {each.key: [] for each in new}
    for each in sorted((*known, *new), key=lambda version: version.version):
        if each.key in waiting and not each.released:
            waiting[each.key].append(each)
    return [old for versions in waiting.values() for old in versions[:-MOST_WAITING]]


class MemoryVersions:
    """A store in the memory of this process: a restart forgets it, and takes what it sees first for version 1."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], KnownVersion] = {}

    def note(self, scope: str, seen: Sequence[Seen], /, *, first: First, now: datetime) -> dict[str, KnownVersion]:
        """Return the version of each description; see `VersionStore`."""
        with self._lock:
            known = self._of(scope)
            found, new = plan(scope, seen, known, first, now)
            self._known |= {(scope, each.id): each for each in new}
            for old in outdated(known, new):
                del self._known[scope, old.id]
        return found

    def versions(self, scope: str, /) -> list[KnownVersion]:
        """Return all versions of a scope; see `VersionStore`."""
        with self._lock:
            return sorted(self._of(scope), key=lambda each: (each.key, each.version))

    def release(self, scope: str, id: str, /, *, by: str, now: datetime) -> KnownVersion:
        """Release a version; see `VersionStore`."""
        with self._lock:
            if (found := self._known.get((scope, id))) is None:
                raise _missing(scope, id, self._of(scope))
            if not found.released:
                found = self._known[scope, id] = replace(found, released_by=by, released_at=now)
            return found

    def _of(self, scope: str) -> list[KnownVersion]:
        return [each for each in self._known.values() if each.scope == scope]


_COLUMNS: Final = "scope, key, version, digest, description, parts, seen_at, released_by, released_at, contents"


class SqliteVersions:
    """A store in a SQLite file, or in the memory of this process.

    Args:
        path: The file, which is made if it is not there; `:memory:` keeps versions as long as this object.
        create: Whether the file, and the table in it, may be made; if not, both have to be there.

    Raises:
        ConfigurationError: The file cannot be opened, is no database, or has no versions and none may be kept there.
    """

    _TABLE = """
        CREATE TABLE IF NOT EXISTS sg_capability_version (
          scope TEXT NOT NULL, key TEXT NOT NULL, version INTEGER NOT NULL, digest TEXT NOT NULL,
          description TEXT NOT NULL, parts TEXT NOT NULL, seen_at TEXT NOT NULL, released_by TEXT, released_at TEXT,
          contents TEXT NOT NULL DEFAULT '',
          PRIMARY KEY (scope, key, version), UNIQUE (scope, key, digest)
        ) WITHOUT ROWID
    """

    def __init__(self, path: str | Path = ":memory:", *, create: bool = True) -> None:
        self.path = str(path)
        self._lock = threading.Lock()
        if not create and self.path != ":memory:" and not Path(self.path).is_file():
            raise ConfigurationError(f"There is no file '{self.path}' with versions of capabilities")
        try:
            self._connection = sqlite3.connect(self.path, timeout=30.0, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        try:
            self._connection.execute("PRAGMA synchronous=FULL")
            if create:
                self._connection.execute(self._TABLE)
            else:
                self._require_table()
            self._add_contents()
        except sqlite3.Error as error:
            self._connection.close()
            raise self._unusable(error) from error
        except BaseException:
            self._connection.close()
            raise

    def _require_table(self) -> None:
        table = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'sg_capability_version'"
        if self._connection.execute(table).fetchone() is None:
            raise ConfigurationError(
                f"The database '{self.path}' has no versions of capabilities: name the file that the registry was "
                "given, as SqliteVersions(FILE)"
            )

    def _add_contents(self) -> None:
        """Add the column that files of earlier versions of this package do not have."""
        if self._has_contents():
            return
        with self._transaction():
            if not self._has_contents():  # another process may have been quicker
                self._connection.execute(
                    "ALTER TABLE sg_capability_version ADD COLUMN contents TEXT NOT NULL DEFAULT ''"
                )

    def _has_contents(self) -> bool:
        columns = self._connection.execute("SELECT name FROM pragma_table_info('sg_capability_version')")
        return ("contents",) in columns.fetchall()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def note(self, scope: str, seen: Sequence[Seen], /, *, first: First, now: datetime) -> dict[str, KnownVersion]:
        """Return the version of each description; see `VersionStore`."""
        found, new = plan(scope, seen, self.versions(scope), first, now)
        if not new:
            return found
        with self._transaction():
            # Planned again: another process may have been quicker.
            known = self._rows("WHERE scope = ?", scope)
            found, new = plan(scope, seen, known, first, now)
            self._connection.executemany(
                f"INSERT INTO sg_capability_version ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", map(_row, new)
            )
            self._connection.executemany(
                "DELETE FROM sg_capability_version WHERE scope = ? AND key = ? AND version = ?",
                [(scope, old.key, old.version) for old in outdated(known, new)],
            )
        return found

    def versions(self, scope: str, /) -> list[KnownVersion]:
        """Return all versions of a scope; see `VersionStore`."""
        with self._used():
            return self._rows("WHERE scope = ?", scope)

    def all(self) -> list[KnownVersion]:
        """Return all versions of all scopes."""
        with self._used():
            return self._rows("")

    def release(self, scope: str, id: str, /, *, by: str, now: datetime) -> KnownVersion:
        """Release a version; see `VersionStore`."""
        key, _, version = id.rpartition("@")
        with self._transaction():
            self._connection.execute(
                "UPDATE sg_capability_version SET released_by = ?, released_at = ? "
                "WHERE scope = ? AND key = ? AND version = ? AND released_by IS NULL",
                (by, now.isoformat(), scope, key, version if version.isdecimal() else -1),
            )
            known = self._rows("WHERE scope = ? AND key = ?", scope, key)
        for each in known:
            if str(each.version) == version:
                return each
        raise _missing(scope, id, known)

    def _rows(self, where: str, *values: str) -> list[KnownVersion]:
        rows = self._connection.execute(
            f"SELECT {_COLUMNS} FROM sg_capability_version {where} ORDER BY scope, key, version",
            values,
        )
        return [_version(row) for row in rows]

    @contextmanager
    def _used(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except sqlite3.Error as error:
                raise self._unusable(error) from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._used():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def _unusable(self, error: sqlite3.Error) -> ConfigurationError:
        return ConfigurationError(
            f"Versions of capabilities cannot be kept in '{self.path}': {error}. Give a file that can be written, "
            "which is a SQLite database or not there yet"
        )


def _row(version: KnownVersion) -> tuple[object, ...]:
    parts = " ".join(f"{name}={digest}" for name, digest in sorted(version.parts.items()))
    released = None if version.released_at is None else version.released_at.isoformat()
    return (
        version.scope,
        version.key,
        version.version,
        version.digest,
        version.description,
        parts,
        version.seen_at.isoformat(),
        version.released_by,
        released,
        version.contents,
    )


def _version(row: Sequence[str]) -> KnownVersion:
    scope, key, version, digest, description, parts, seen_at, released_by, released_at, contents = row
    by_name = dict(each.split("=", 1) for each in parts.split(" ") if each)
    released = None if released_at is None else datetime.fromisoformat(released_at)
    seen = datetime.fromisoformat(seen_at)
    return KnownVersion(scope, key, int(version), digest, description, by_name, seen, released_by, released, contents)


Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the time with its zone."""
    return datetime.now(UTC)
