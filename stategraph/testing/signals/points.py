"""Points at which a process is killed: its calls of functions, counted in all of its threads."""

from __future__ import annotations

import itertools
import os
import sys
import threading
from collections.abc import Callable
from types import FrameType


class Points:
    """Counts calls and returns of functions, and sends the process a signal at one of them.

    Attributes:
        fired: Whether the signal was sent.

    Args:
        at: The number of the point; 0: none.
        number: The signal.
        before: Called before it is sent, as nothing may be left to do so after it.
    """

    def __init__(self, at: int, number: int, before: Callable[[], object] = lambda: None) -> None:
        self.fired = False
        self._at = at
        self._number = number
        self._before = before
        self._next = itertools.count(1)  # threads may share it

    def arm(self) -> None:
        """Begin to count, in this thread and in those that are started from now on."""
        threading.setprofile(self._pass)
        sys.setprofile(self._pass)

    def disarm(self) -> int:
        """End counting in this thread and in new ones, and return the number of points."""
        sys.setprofile(None)
        threading.setprofile(None)
        return next(self._next) - 1

    def _pass(self, frame: FrameType, event: str, arg: object) -> None:
        if next(self._next) == self._at:
            self.fired = True
            self._before()
            os.kill(os.getpid(), self._number)
