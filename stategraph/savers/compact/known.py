"""Knowledge that a process has of the values of threads that it has stored or read.

It is true for as long as a thread's epoch is the same: numbers are given once, and values do not change. It saves
encoding, storing and reading again; nothing depends on it.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

from stategraph.savers.compact.nodes import Node, Run, runs_of

Key: TypeAlias = bytes | tuple[str, bytes]
"""The plain bytes of a value; with its kind, if that is not msgpack."""

#: Bytes of a thread's values, about, after which one warning is logged.
LARGE: Final = 50_000_000

_log = logging.getLogger(__name__)

_MOST_TOLD: Final = 10_000
"""Threads of which it is remembered that they have been warned of."""

_LINES: Final = 3
_NAMES: Final = 64
_ROOTS: Final = 16
_OF_THREAD: Final = 4_000
_OF_VALUE: Final = 250
"""Bytes that objects around the data take."""


class Decoded(NamedTuple):
    """The beginning of a list whose messages were decoded once, and came to the fields that are known of them.

    Attributes:
        by: By whom, as a coder `reads_as`.
        size: How many messages.
        end: The end of their fields.
    """

    by: object
    size: int
    end: int


@dataclass(slots=True)
class Line:
    """A list as it was stored last.

    Attributes:
        classes: The classes of its elements.
        fields: Their fields, in msgpack.
        numbers: The numbers of its values.
        is_grouped: Whether some value holds several elements.
        runs: The numbers as runs.
        decoded: What of it was read; None if nothing was.
    """

    classes: list[type]
    fields: bytes
    numbers: list[int]
    is_grouped: bool
    runs: list[Run]
    decoded: Decoded | None = None


@dataclass(slots=True)
class Root:
    """The newest known checkpoint of a namespace.

    Attributes:
        checkpoint_id: Its id.
        versions: The versions of its channels.
        nodes: The nodes of its values.
    """

    checkpoint_id: str
    versions: dict[str, Any]
    nodes: dict[str, Node]


@dataclass(slots=True)
class Known:
    """The values of one thread, as far as they are known.

    Attributes:
        id: The thread's number in the database; 0 if it has no row yet.
        epoch: What its row said when this was learnt.
        next: The number that the next value gets.
        values: Kind and plain bytes of values, by number.
        numbers: The numbers of values.
        lines: Lists, by where they were met: namespace and name.
        roots: The newest checkpoints, by namespace.
        size: Bytes that this takes, about.
    """

    id: int = 0
    epoch: int = 0
    next: int = 1
    values: dict[int, tuple[str, bytes]] = field(default_factory=dict)
    numbers: dict[Key, int] = field(default_factory=dict)
    lines: dict[tuple[str, str], list[Line]] = field(default_factory=dict)
    roots: OrderedDict[str, Root] = field(default_factory=OrderedDict)
    size: int = _OF_THREAD

    def learn(self, number: int, kind: str, data: bytes) -> None:
        """Take note of a value."""
        if number in self.values:
            return
        self.values[number] = (kind, data)
        self.numbers.setdefault(key_of(kind, data), number)
        self.size += len(data) + _OF_VALUE

    def missing(self, runs: Iterable[Run]) -> list[Run]:
        """Return those of some numbers whose values are not known."""
        known = self.values
        spans = [range(first, last + 1) for first, last in runs]
        return runs_of(
            number for span in spans if not all(map(known.__contains__, span)) for number in span if number not in known
        )

    def keep_line(self, place: tuple[str, str], line: Line, instead_of: Line | None) -> None:
        """Take note of a list.

        Args:
            place: Where it was met.
            line: The list.
            instead_of: What it continues.
        """
        lines = self.lines.setdefault(place, [])
        if instead_of is not None:
            lines.remove(instead_of)
        lines.insert(0, line)
        self.size += len(line.fields) - (0 if instead_of is None else len(instead_of.fields))
        while len(lines) > _LINES:
            self.size -= len(lines.pop().fields)
        if len(self.lines) > _NAMES:
            for dropped in self.lines.pop(next(iter(self.lines))):
                self.size -= len(dropped.fields)

    def keep_root(self, namespace: str, root: Root) -> None:
        """Take note of the newest checkpoint of a namespace."""
        self.roots[namespace] = root
        self.roots.move_to_end(namespace)
        if len(self.roots) > _ROOTS:
            self.roots.popitem(last=False)


class KnownThreads:
    """The threads that are known, those that were used last.

    Args:
        limit: Bytes of values that are kept, about; the thread in use is kept in any case.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._threads: OrderedDict[str, Known] = OrderedDict()
        self._sizes: dict[str, int] = {}
        # Threads of which it was warned, the last one at the end.
        self._told: dict[str, None] = {}
        # Of each thread, what it took when it was learnt.
        self._learnt: dict[str, tuple[Known, int]] = {}

    def get(self, thread_id: str) -> Known | None:
        """Return what is known of a thread; None if nothing is."""
        return self._threads.get(thread_id)

    def keep(self, thread_id: str, known: Known) -> None:
        """Keep what is known of a thread, and drop what was not used for longest if there is too much."""
        self._threads[thread_id] = known
        self._threads.move_to_end(thread_id)
        if known.size > LARGE and thread_id not in self._told:
            self._told[thread_id] = None
            if len(self._told) > _MOST_TOLD:
                del self._told[next(iter(self._told))]
            _log.warning(
                "Thread '%s' has passed %s MB of stored values: each start of it reads them. Prune it, as with "
                "'stategraph store prune', or keep less in its state; docs/storage.md says how",
                thread_id,
                LARGE // 10**6,
            )
        self._size += known.size - self._sizes.get(thread_id, 0)
        self._sizes[thread_id] = known.size
        if (learnt := self._learnt.get(thread_id)) is None or learnt[0] is not known:
            self._learnt[thread_id] = known, known.size
        while self._size > self._limit and len(self._threads) > 1:
            oldest, _ = self._threads.popitem(last=False)
            del self._learnt[oldest]
            self._size -= self._sizes.pop(oldest)

    def bound(self, thread_id: str) -> None:
        """Forget a thread that alone is above the limit, and takes twice what it did when it was learnt.

        Most of that are values that its newest checkpoint does not have any more. Call it between two saves.
        """
        if self._size > self._limit and (learnt := self._learnt.get(thread_id)) is not None:
            known, size = learnt
            if known.size > max(self._limit, 2 * size):
                self.forget(thread_id)

    def forget(self, thread_id: str) -> None:
        """Forget a thread."""
        if self._threads.pop(thread_id, None) is not None:
            del self._learnt[thread_id]
            self._size -= self._sizes.pop(thread_id)


def key_of(kind: str, data: bytes) -> Key:
    """Return what values are compared by."""
    return data if kind == "msgpack" else (kind, data)
