"""A bus for a SQLite file: at once within the process, and after a moment from the other processes of the machine.

SQLite tells nobody of a change. But a connection can ask, for a few microseconds, whether another one has changed the
file (https://sqlite.org/pragma.html#pragma_data_version). A thread does so from time to time, and if it has, looks for
what is new: events behind the last row that it knows, runs, and requests to stop.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Iterable
from contextlib import AbstractContextManager, closing
from typing import Final

from stategraph.workers.wakeups.bus import Wakes
from stategraph.workers.wakeups.local import LocalBus
from stategraph.workers.wakeups.signals import Signal, SignalKind, Topic

logger = logging.getLogger("stategraph.workers")

#: How often the thread asks, in seconds.
ASK_S: Final = 0.03

#: The same while the file cannot be read, or has no registry yet.
AWAY_S: Final = 1.0

#: Time that `close` gives the thread.
CLOSE_S: Final = 5.0

_EVENTS: Final = "SELECT DISTINCT run_id FROM sg_event WHERE rowid > ?"
_QUEUES: Final = "SELECT DISTINCT queue FROM sg_run WHERE position > ?"
_STOPS: Final = "SELECT DISTINCT owner FROM sg_run WHERE status = 'running' AND cancel_requested IS NOT NULL"
_LAST: Final = "SELECT (SELECT max(rowid) FROM sg_event), (SELECT max(position) FROM sg_run)"


class SqliteBus(LocalBus):
    """Wakes waiters of this process, also for what other processes do with the file.

    Args:
        path: The file.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path
        self._closing = threading.Event()
        self._open = threading.Lock()  # held until the bus is closed: to wait for it costs half of a wait for an event
        self._open.acquire()
        self._thread: threading.Thread | None = None

    def watch(self, topics: Iterable[Topic]) -> AbstractContextManager[Wakes]:
        """Hear signals for a block, see `Bus.watch`."""
        with self._lock:
            if self._thread is None and not self._closing.is_set():
                self._thread = threading.Thread(target=self._main, name="stategraph sqlite bus", daemon=True)
                self._thread.start()
        return super().watch(topics)

    def close(self) -> None:
        """End the thread."""
        with self._lock:
            if not self._closing.is_set():
                self._closing.set()
                self._open.release()
        if self._thread is not None:
            self._thread.join(CLOSE_S)

    # In the thread.

    def _main(self) -> None:
        while not self._closing.is_set():
            try:
                with closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True)) as connection:
                    self._look(connection)
            except sqlite3.Error as error:
                logger.debug("The registry's file cannot be watched, and waiters look by themselves: %s", error)
                self._pause(AWAY_S)

    def _pause(self, seconds: float) -> bool:
        """Wait, and return whether to look again: not if the bus was closed meanwhile."""
        if self._open.acquire(timeout=seconds):
            self._open.release()
            return False
        return True

    def _look(self, connection: sqlite3.Connection) -> None:
        """Look for what others do until the bus is closed."""
        known = connection.execute("PRAGMA data_version").fetchone()
        event, run = _last(connection)
        self._wake_all()
        while self._pause(ASK_S):
            version = connection.execute("PRAGMA data_version").fetchone()
            if version == known:
                continue
            known = version
            newest = _last(connection)
            if newest[0] < event or newest[1] < run:  # rows were deleted, and their numbers are given again
                self._wake_all()
            else:
                self.publish(_news(connection, event, run))
            event, run = newest

    def _wake_all(self) -> None:
        with self._lock:
            topics = list(self._watching)
        self.publish(Signal(*topic) for topic in topics)


def _last(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return the numbers of the newest event and of the newest run."""
    event, run = connection.execute(_LAST).fetchone()
    return event or 0, run or 0


def _news(connection: sqlite3.Connection, event: int, run: int) -> list[Signal]:
    """Return what is to be signalled of all that is newer than an event and a run."""
    found = [
        (SignalKind.EVENTS, _EVENTS, (event,)),
        (SignalKind.WORK, _QUEUES, (run,)),
        (SignalKind.STOP, _STOPS, ()),
    ]
    return [
        Signal(kind, name)
        for kind, statement, parameters in found
        for (name,) in connection.execute(statement, parameters).fetchall()
        if name is not None
    ]
