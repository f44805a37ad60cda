"""Small transactions in the event loop itself, for a program that has many of them.

Rules
-----
* A statement takes some microseconds, and to have a thread do it takes a hundred: the interpreter's lock changes hands
  at each statement.
* The loop never waits. While another connection writes, or has the saver's connection, a thread does what waits.
* A thread moves the write-ahead log into the file from time to time, which flushes both to the disk. In the loop SQLite
  flushes only the first page of the log, each time that it begins anew.
* Where a transaction took long after all, as on a disk that is slow, threads do what comes in the next seconds.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

#: How much is done at a time.
MOST: Final = 32

#: What is too long for the loop, in seconds, and for how long threads do it then.
SLOW_S: Final = 0.1
PAUSE_S: Final = 10.0

#: Size of the log, in bytes, beyond which it is moved into the file soon; SQLite cuts it to that when it begins anew.
MOST_BYTES: Final = 8 * 1024 * 1024

#: Transactions between two times that the log is moved into the file, and those between two looks at its size.
_WRITES: Final = 200
_LOOK: Final = 8


class InPlace:
    """Decides whether the event loop does what waits.

    Args:
        move_log: Called from time to time, to have another thread move the log into the file; returns at once, and
            never raises.
        path: The file.
        clock: Returns seconds.
    """

    def __init__(self, move_log: Callable[[], object], path: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._move_log = move_log
        self._log = path + "-wal"
        self._clock = clock
        self._again_at = 0.0
        self._writes = 0

    def is_fast(self) -> bool:
        """Return whether the loop may do something."""
        return self._clock() >= self._again_at

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Note how long a block took."""
        began = self._clock()
        try:
            yield
        finally:
            ended = self._clock()
            if ended - began > SLOW_S:
                self._again_at = ended + PAUSE_S

    def written(self) -> None:
        """Note that something was committed, by the loop or by a thread."""
        self._writes += 1
        if self._writes >= _WRITES or (self._writes % _LOOK == 0 and self._is_large()):
            self._writes = 0
            self._move_log()

    def _is_large(self) -> bool:
        try:
            return os.stat(self._log).st_size > MOST_BYTES
        except OSError:  # there is none
            return False
