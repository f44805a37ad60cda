"""The queue between those who record events and the thread that stores them: bounded, in order, never dropping.

Rules
-----
* What finds the queue full stands in line behind it, and comes in in the order of its coming.
* What is still in the queue or in line can be withdrawn; what the writer has taken may be stored.
* Nobody holds the lock while waiting, so putting never blocks an event loop.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final

from stategraph.governance.audit.record import Record
from stategraph.governance.errors import AuditUnavailable

_WAITING, _TAKEN, _WITHDRAWN, _DONE = range(4)


class Item:
    """A record on its way.

    Args:
        record: The record; None: a mark, which is done when all before it is stored.
        urgent: Whether the writer is to begin at once.

    Attributes:
        done: Resolved when it is stored, if anybody waits for that.
        admitted: Resolved when it has its place in the queue; None: it had it at once.
    """

    __slots__ = ("_state", "admitted", "done", "record", "urgent")

    def __init__(self, record: Record | None, *, urgent: bool) -> None:
        self.record = record
        self.urgent = urgent
        self.done: Future[None] | None = Future() if urgent else None
        self.admitted: Future[None] | None = None
        self._state = _WAITING

    @property
    def wanted(self) -> bool:
        """True if it is still to be stored."""
        return self._state != _WITHDRAWN


class Intake:
    """A queue of items, and a line of those that wait for a place in it.

    Args:
        capacity: Items that are queued at most.
        batch: Items that the writer takes at once.
        batch_s: Seconds that the writer waits for a batch to become full.
        clock: A clock that never goes back, in seconds.
    """

    def __init__(self, capacity: int, batch: int, batch_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.capacity: Final = capacity
        self._batch = batch
        self._batch_s = batch_s
        self._clock = clock
        self._items: deque[Item] = deque()
        self._line: deque[Item] = deque()
        self._urgent = 0
        self._closed = ""
        self._dozing = False
        self._condition = threading.Condition(threading.Lock())

    def __len__(self) -> int:
        return len(self._items)

    @property
    def in_line(self) -> int:
        """Items that wait for a place."""
        return len(self._line)

    def put(self, item: Item) -> None:
        """Give an item its place: in the queue, or in line with `admitted` to wait for.

        Raises:
            AuditUnavailable: The queue is closed.
        """
        with self._condition:
            if self._closed:
                raise AuditUnavailable(self._closed)
            if len(self._items) < self.capacity and not self._line:
                self._add(item)
            else:
                item.admitted = Future()
                self._line.append(item)

    def _add(self, item: Item) -> None:
        self._items.append(item)
        self._urgent += item.urgent
        # The writer sleeps until a batch has begun, is urgent, or is full: nobody else has to wake it. While it dozes,
        # it looks by itself when a batch that has begun is due: waking it takes longer than queueing does.
        if item.urgent or len(self._items) == self._batch or (len(self._items) == 1 and not self._dozing):
            self._condition.notify()

    def withdraw(self, item: Item) -> bool:
        """Take an item back; False if the writer has taken it, so that it may be stored."""
        with self._condition:
            before, item._state = item._state, _WITHDRAWN if item._state != _DONE else _DONE
            if before == _WAITING:
                if item in self._line:
                    self._line.remove(item)
                else:
                    self._items.remove(item)
                    self._urgent -= item.urgent
                    self._admit()
            return before == _WAITING

    def take(self, until: float | None = None) -> list[Item]:
        """Wait for a batch and return it: when it is full, urgent, or old enough.

        Args:
            until: Return an empty batch at this time of the clock; None: wait on.

        Returns:
            The items in order; none if the time has come, or the queue is closed and empty.
        """
        with self._condition:
            due = False
            if not self._items and not self._closed:
                self._doze(until)
                due = bool(self._items)
            while not self._items and not self._closed:
                left = None if until is None else until - self._clock()
                if left is not None and left <= 0:
                    return []
                self._condition.wait(left)
            full_at = self._clock() + (0.0 if due else self._batch_s)
            while len(self._items) < self._batch and not self._urgent and not self._closed and self._items:
                if (left := full_at - self._clock()) <= 0:
                    break
                self._condition.wait(left)
            return self._taken()

    def _taken(self) -> list[Item]:
        batch = [self._items.popleft() for _ in range(min(self._batch, len(self._items)))]
        for item in batch:
            item._state = _TAKEN
            self._urgent -= item.urgent
        self._admit()
        return batch

    def _doze(self, until: float | None) -> None:
        """Sleep for as long as a batch is collected; only what is urgent, or fills the batch, wakes the writer.

        What has come at the end is due. If nothing has, the next event wakes the writer.
        """
        ends = self._clock() + self._batch_s
        if until is not None:
            ends = min(ends, until)
        self._dozing = True
        try:
            while not self._urgent and not self._closed and len(self._items) < self._batch:
                if (left := ends - self._clock()) <= 0:
                    return
                self._condition.wait(left)
        finally:
            self._dozing = False

    def _admit(self) -> None:
        """Let those in line into the queue, as far as there is room."""
        while self._line and len(self._items) < self.capacity:
            item = self._line.popleft()
            self._add(item)
            assert item.admitted is not None
            _resolve(item.admitted)

    def done(self, batch: list[Item]) -> None:
        """Say that a batch is stored."""
        for item in batch:
            item._state = _DONE
            if item.done is not None:
                _resolve(item.done)

    def close(self, why: str) -> None:
        """Take nothing more; what is queued or in line is still handed out.

        Args:
            why: The sentence for those who put something.
        """
        with self._condition:
            self._closed = self._closed or why
            self._condition.notify_all()

    @property
    def is_closed(self) -> bool:
        """True if nothing more is taken."""
        return bool(self._closed)

    @property
    def is_empty(self) -> bool:
        """True if nothing is queued or in line."""
        return not self._items and not self._line

    def fail(self, batch: list[Item], why: str) -> int:
        """Say that a batch, and all that is queued or in line, will not be stored.

        Returns:
            How many records that is.
        """
        with self._condition:
            lost = [*batch, *self._items, *self._line]
            self._items.clear()
            self._line.clear()
            self._urgent = 0
        for item in lost:
            for future in (item.admitted, item.done):
                if future is not None and not future.done():
                    future.set_exception(AuditUnavailable(why))
        return sum(item.record is not None and item.wanted for item in lost)


def _resolve(future: Future[None]) -> None:
    if not future.done():
        future.set_result(None)
