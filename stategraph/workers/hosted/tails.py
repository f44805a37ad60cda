"""The newest events of runs that this process executes, for readers in it: they need not ask the database again.

Rules
-----
* An event is here once it is stored, never before: what a reader has seen is there after a crash.
* A reader reads from the database up to the first event that is here, and from here on until the attempt is over.
* Only so many are kept: who is slower reads from the database.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

#: How many events of a run are kept, and how many bytes.
KEPT: Final = 256
KEPT_BYTES: Final = 1_048_576

#: Number, attempt, kind and data of an event, as rows of the log have them.
Row: TypeAlias = tuple[int, int, str, bytes | None]


@dataclass(slots=True, eq=False)
class Tail:
    """The newest events of one attempt.

    Attributes:
        after: The number of the last event that is not here.
        rows: Those that are.
        read: Their payloads, by number, once a reader has needed them.
        bytes: How many bytes they have.
    """

    after: int
    rows: deque[Row] = field(default_factory=deque)
    read: dict[int, Any] = field(default_factory=dict)
    bytes: int = 0

    def add(self, row: Row) -> None:
        """Add an event that was stored."""
        if row[0] != self.last + 1:
            return
        self.rows.append(row)
        self.bytes += len(row[3] or b"")
        while len(self.rows) > KEPT or self.bytes > KEPT_BYTES:
            self.after, _, _, data = self.rows.popleft()
            self.bytes -= len(data or b"")
            self.read.pop(self.after, None)

    @property
    def last(self) -> int:
        """The number of the newest event."""
        return self.rows[-1][0] if self.rows else self.after

    def behind(self, seq: int) -> Sequence[Row] | None:
        """Return the events after a number; None if the database has to be asked."""
        if seq < self.after:
            return None
        return [row for row in tuple(self.rows) if row[0] > seq]


class Tails:
    """The tails of a process's runs; each belongs to the event loop of its worker and its readers."""

    def __init__(self) -> None:
        self._of: dict[str, Tail] = {}

    def begin(self, run_id: str, after: int) -> Tail:
        """Make the tail of an attempt that begins."""
        made = self._of[run_id] = Tail(after)
        return made

    def end(self, run_id: str, tail: Tail) -> None:
        """Forget the tail of an attempt that is over."""
        if self._of.get(run_id) is tail:
            del self._of[run_id]

    def get(self, run_id: str) -> Tail | None:
        """Return the tail of a run; None if no attempt of it goes on here."""
        return self._of.get(run_id)
