"""A row of the index, and how it goes from one state to the next. Nothing here waits or asks for the time.

- A run *holds* its thread from its beginning to its end, and says again and again that it still does. Once it no longer
  says so, the thread is `unfinished`: its process is gone.
- A deletion holds a thread that no run holds, and is not entered by any run. If its process dies, whoever repairs the
  index ends it.
- A run takes a thread that another run holds: which of them may is decided elsewhere, by the process or the registry.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeAlias

from stategraph.errors import ConfigurationError
from stategraph.run.threads.values import STORABLE, Thread, ThreadQuery, ThreadStatus, is_storable, when

#: A holder that says nothing for so many seconds is gone.
HELD_S: Final = 60.0

#: A holder says that it still is every so many seconds.
RENEW_S: Final = 20.0

Stored: TypeAlias = Literal["idle", "running", "interrupted", "failed", "deleting"]


@dataclass(frozen=True, slots=True)
class Row:
    """A thread in an index.

    Attributes:
        id: The thread.
        created_at: Seconds since the epoch.
        updated_at: The same.
        title: For readers.
        owner: Whose it is.
        metadata: The host's own.
        status: What goes on.
        holder: Who holds it; None: nobody.
        held_until: Until when, unless the holder says so again.
        version: How often it was changed.
    """

    id: str
    created_at: float
    updated_at: float
    title: str | None = None
    owner: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    status: Stored = "idle"
    holder: str | None = None
    held_until: float = 0.0
    version: int = 0

    def is_held(self, now: float) -> bool:
        """Return whether a run or a deletion holds it."""
        return self.holder is not None and self.held_until > now

    @property
    def words(self) -> str:
        """The text that is searched, in lower case."""
        values = [json.dumps(value, ensure_ascii=False).strip('"') for value in self.metadata.values()]
        return "\n".join([self.title or "", *values]).casefold()

    def shown_status(self, now: float) -> ThreadStatus:
        """Return what goes on, for readers."""
        if self.status == "running" or self.status == "deleting":
            return "running" if self.is_held(now) else "unfinished"
        return self.status

    def shown(self, now: float) -> Thread:
        """Return the thread for readers."""
        created, updated = when(self.created_at), when(self.updated_at)
        return Thread(self.id, self.title, self.owner, dict(self.metadata), created, updated, self.shown_status(now))

    def place(self, query: ThreadQuery) -> tuple[float, str]:
        """Return its place in a list."""
        return (self.updated_at if query.order == "updated" else self.created_at), self.id

    def matches(self, query: ThreadQuery) -> bool:
        """Return whether it is looked for."""
        if self.status == "deleting":
            return False
        missing = object()
        asked: list[bool] = [
            query.owner is None or self.owner == query.owner,
            all(_same(self.metadata.get(key, missing), value) for key, value in query.metadata.items()),
            query.text.casefold() in self.words,
            query.status is None or self.shown_status(query.now) == query.status,
            query.updated_after is None or self.updated_at >= query.updated_after,
            query.updated_before is None or self.updated_at < query.updated_before,
        ]
        return all(asked)


def _same(one: object, other: object) -> bool:
    """Compare as JSON: True is not 1."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def begun(row: Row | None, thread_id: str, holder: str, now: float) -> Row:
    """Return a thread in which a run begins.

    Raises:
        ConfigurationError: It is being deleted.
    """
    if row is not None and row.status == "deleting" and row.is_held(now):
        raise ConfigurationError(
            f"Thread '{thread_id}' is being deleted, so no run can begin on it: wait until it is, and begin a new one"
        )
    known = row or Row(thread_id, created_at=now, updated_at=now)
    return replace(known, updated_at=now, status="running", holder=holder, held_until=now + HELD_S)


def renewed(row: Row | None, holder: str, now: float) -> Row | None:
    """Return a thread whose holder says that it still is; None: it holds it no longer."""
    return replace(row, held_until=now + HELD_S) if row is not None and row.holder == holder else None


def ended(row: Row | None, holder: str, status: Stored, now: float) -> Row | None:
    """Return a thread whose run has ended; None: another holds it."""
    if row is None or row.holder != holder:
        return None
    return replace(row, updated_at=now, status=status, holder=None, held_until=0.0)


def deleting(row: Row | None, thread_id: str, holder: str, now: float) -> Row:
    """Return a thread that is about to be deleted.

    Raises:
        ConfigurationError: A run goes on in it, or it is being deleted already.
    """
    known = row or Row(thread_id, created_at=now, updated_at=now)
    if known.is_held(now):
        who = "it is being deleted already" if known.status == "deleting" else f"run '{run_of(known)}' goes on in it"
        raise ConfigurationError(f"Thread '{thread_id}' cannot be deleted: {who}; wait for its end, or abort it")
    return replace(known, status="deleting", holder=holder, held_until=now + HELD_S)


def given_up(row: Row | None, holder: str) -> Row | None:
    """Return a thread whose deletion failed; None: another holds it."""
    return replace(row, held_until=0.0) if row is not None and row.holder == holder else None


def changed(row: Row, now: float, **given: Any) -> Row:
    """Return a thread with other details; metadata are laid over those that there are, and None takes a key away."""
    if (metadata := given.get("metadata")) is not None:
        merged = {**row.metadata, **metadata}
        given["metadata"] = {key: value for key, value in merged.items() if value is not None}
    return replace(row, updated_at=now, **{key: value for key, value in given.items() if value is not None})


def run_of(row: Row) -> str:
    """Return the run that holds a thread."""
    return (row.holder or "").rpartition("@")[0]


def checked_metadata(given: object) -> dict[str, Any]:
    """Return the metadata of a host, as they come back from JSON.

    Raises:
        ConfigurationError: They are no mapping, no JSON, or have texts that a database cannot store.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping) or any(not isinstance(key, str) for key in given):
        raise ConfigurationError(f"'metadata' is a value of type {type(given).__name__}; expected a mapping by texts")
    try:
        written = json.dumps(dict(given), allow_nan=False)
        metadata = dict(json.loads(written))
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"'metadata' cannot be written as JSON: {error}") from None
    # Each text with a NUL or a surrogate has an escape, so most metadata need no second look.
    bad = [each for each in _texts(metadata) if not is_storable(each)] if "\\u" in written else []
    if bad:
        raise ConfigurationError(f"'metadata' has the text {bad[0]!r:.60}; expected texts {STORABLE}")
    return metadata


def _texts(value: object) -> Iterator[str]:
    """Yield the keys and texts in a value of JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield key
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
