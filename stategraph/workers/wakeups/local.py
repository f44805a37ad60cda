"""A bus within one process: for SQLite, when the workers and the readers of its runs are in the process itself.

Other processes that use the same file are not heard: who waits looks at the database from time to time in any case.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager

from stategraph.workers.wakeups.bus import BusHealth, Wakes
from stategraph.workers.wakeups.signals import Signal, SignalKind, Topic


class LocalBus:
    """Wakes waiters of this process, in any thread and event loop."""

    is_live = True

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watching: dict[Topic, set[Wakes]] = {}

    def publish(self, signals: Iterable[Signal]) -> None:
        """Wake those who wait, see `Bus.publish`."""
        for signal in signals:
            with self._lock:
                waiters = list(self._watching.get(signal.topic, ()))
            for wakes in waiters:
                wakes.owes_look |= signal.kind is SignalKind.WORK
                wakes.wake()

    def watch(self, topics: Iterable[Topic]) -> AbstractContextManager[Wakes]:
        """Hear signals for a block, see `Bus.watch`."""
        return self._watched(topics)

    @contextmanager
    def _watched(self, topics: Iterable[Topic]) -> Iterator[Wakes]:
        wakes, watched = Wakes(), tuple(topics)
        with self._lock:
            for topic in watched:
                self._watching.setdefault(topic, set()).add(wakes)
        try:
            yield wakes
        finally:
            with self._lock:
                for topic in watched:
                    waiters = self._watching[topic]
                    waiters.discard(wakes)
                    if not waiters:
                        del self._watching[topic]

    def health(self) -> BusHealth:
        """Return the state of the bus."""
        return BusHealth("local", is_live=True, last_error=None)

    def close(self) -> None:
        """Do nothing."""
