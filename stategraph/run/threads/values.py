"""Threads, pages of them, and what is looked for."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal, TypeAlias
from uuid import UUID

from langchain_core.messages import AnyMessage

from stategraph.errors import ConfigurationError
from stategraph.run.pauses import RunInterrupt

ThreadStatus: TypeAlias = Literal["idle", "running", "interrupted", "failed", "unfinished"]
"""What goes on in a thread: nothing, a run, a run that waits for a person, nothing after a run that failed, or nothing
although a run has not ended, as its process is gone: `resume` goes on with it.
"""

STATUSES: Final[tuple[ThreadStatus, ...]] = ("idle", "running", "interrupted", "failed", "unfinished")

ThreadOrder: TypeAlias = Literal["updated", "created"]

#: Threads of a page at most.
MOST: Final = 1000

#: For messages: which texts `is_storable` means.
STORABLE: Final = "without NUL and unpaired surrogates"

#: Seconds from the beginning of the Gregorian calendar, from which UUIDs count, to 1970.
_GREGORIAN_S: Final = 12_219_292_800


@dataclass(frozen=True, slots=True)
class Thread:
    """A thread in a list.

    Attributes:
        id: Its name: the `thread_id` of its runs.
        title: For readers; None: it has none yet.
        owner: Whose it is, as the host says; None: nobody's.
        metadata: The host's own, as JSON.
        created_at: When it was made.
        updated_at: When a run last used it, or it was changed here.
        status: What goes on in it.
    """

    id: str
    title: str | None
    owner: str | None
    metadata: Mapping[str, Any]
    created_at: datetime
    updated_at: datetime
    status: ThreadStatus

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON; times in ISO 8601, in UTC."""
        return {
            "id": self.id,
            "title": self.title,
            "owner": self.owner,
            "metadata": dict(self.metadata),
            "created_at": self.created_at.isoformat(),
            "updated_at": self.updated_at.isoformat(),
            "status": self.status,
        }


@dataclass(frozen=True, slots=True)
class ThreadPage:
    """A part of a list of threads.

    Attributes:
        threads: The threads, in order.
        next: To be given as `after` for the next page; None: this is the last one.
    """

    threads: tuple[Thread, ...]
    next: str | None = None


@dataclass(frozen=True, slots=True)
class ThreadView:
    """A thread with its conversation.

    Attributes:
        thread: As it is in a list.
        messages: The conversation, also what agents have said in a turn that waits.
        content: The same as content parts, by turns: `{"role", "message_id", "content": [...]}`.
        interrupts: What it waits for; empty if it does not wait.
        checkpoint_id: The state that was read; None: nothing is stored yet.
        values: The state's values, as the graph has them.
    """

    thread: Thread
    messages: Sequence[AnyMessage]
    content: Sequence[Mapping[str, Any]]
    interrupts: Sequence[RunInterrupt]
    checkpoint_id: str | None
    values: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Erased:
    """Numbers of what was erased with a thread.

    Attributes:
        store_items: Entries of the long-term memory.
        runs: Runs, with their events, of those who keep runs by their ids.
    """

    store_items: int
    runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadQuery:
    """Conditions for threads in an index.

    Attributes:
        owner: Threads of this owner; None: of any, and of nobody.
        metadata: Threads whose metadata have these values, compared as JSON.
        text: Threads whose title or metadata contain this, in any case; empty: any.
        status: Threads in this status; None: in any.
        updated_after: In seconds since the epoch, inclusive.
        updated_before: The same, exclusive.
        order: By which time they are sorted.
        oldest_first: Whether the oldest come first.
        limit: How many.
        after: The last thread of the page before: its time and id.
        now: The time, in seconds since the epoch.
    """

    owner: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""
    status: ThreadStatus | None = None
    updated_after: float | None = None
    updated_before: float | None = None
    order: ThreadOrder = "updated"
    oldest_first: bool = False
    limit: int = 50
    after: tuple[float, str] | None = None
    now: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.limit, int) or isinstance(self.limit, bool) or not 1 <= self.limit <= MOST:
            raise ConfigurationError(f"'limit' is {self.limit!r}; expected a number of threads from 1 to {MOST}")
        if self.status is not None and self.status not in STATUSES:
            raise ConfigurationError(f"'status' is {self.status!r}; expected one of {', '.join(STATUSES)}")
        if self.order not in ("updated", "created"):
            raise ConfigurationError(f"'order' is {self.order!r}; expected 'updated' or 'created'")


def as_cursor(place: tuple[float, str]) -> str:
    """Return a place in a list as text that can stand in an address."""
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


def of_cursor(text: str | None) -> tuple[float, str] | None:
    """Return the place that `as_cursor` wrote; None for None.

    Raises:
        ConfigurationError: It is another text.
    """
    if text is None:
        return None
    try:
        time, thread_id = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        place = float(time), str(thread_id)
        if not math.isfinite(place[0]) or not is_storable(place[1]):
            raise ValueError
        return place
    except (TypeError, ValueError, RecursionError):
        raise ConfigurationError(
            f"'after' is {text!r:.60}; expected the 'next' of the page before, or None for the first one"
        ) from None


def when(time_s: float) -> datetime:
    """Return a time in seconds since the epoch as a date in UTC."""
    return datetime.fromtimestamp(time_s, UTC)


def time_of(checkpoint_id: str, otherwise: float = 0.0) -> float:
    """Return when a checkpoint was made, in seconds since the epoch, by its id.

    Args:
        checkpoint_id: A UUID of version 6 (RFC 9562, section 5.6), as savers get them.
        otherwise: The time of ids of another kind.
    """
    try:
        made = UUID(checkpoint_id)
    except ValueError:
        return otherwise
    if made.version != 6:
        return otherwise
    ticks = (made.int >> 80) << 12 | (made.int >> 64) & 0xFFF
    return ticks / 1e7 - _GREGORIAN_S


def is_storable(text: str) -> bool:
    """Return whether databases can store a text: PostgreSQL has no NUL, and UTF-8 no unpaired surrogates."""
    return "\0" not in text and text == text.encode("utf-8", "replace").decode()
