"""Points at which a process is killed: its calls of functions, counted in all of its threads, and its saves."""

from __future__ import annotations

import functools
import inspect
import itertools
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

#: Methods of savers that store something.
_SAVES: Final = ("put", "put_writes", "put_together", "put_within")


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


class Saves:
    """Counts what a saver stores, and kills the process at one of these saves.

    Attributes:
        made: How many there were so far.

    Args:
        at: The number of the save; 0: none.
        after: Whether the process dies when it is done, and not before it.
        before: Called before the process dies, as nothing may be left to do so after it.
    """

    def __init__(self, at: int, after: bool, before: Callable[[], object]) -> None:
        self.made = 0
        self._at = at
        self._after = after
        self._before = before
        self._lock = threading.Lock()

    def watch(self, saver: Any) -> None:
        """Count the saves of a saver from now on."""
        for name in (*_SAVES, *(f"a{each}" for each in _SAVES)):
            store = getattr(saver, name, None)
            if store is not None:
                setattr(saver, name, self._counted(store))

    def _counted(self, store: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.iscoroutinefunction(store):

            @functools.wraps(store)
            async def astored(*args: object, **kwargs: object) -> Any:
                dies_after = self._begin()
                stored = await store(*args, **kwargs)
                self._end(dies_after)
                return stored

            return astored

        @functools.wraps(store)
        def stored(*args: object, **kwargs: object) -> Any:
            dies = self._begin()
            found = store(*args, **kwargs)
            self._end(dies)
            return found

        return stored

    def _begin(self) -> bool:
        """Count a save; returns whether the process dies after it."""
        with self._lock:
            self.made += 1
            is_it = self.made == self._at
        if is_it and not self._after:
            self._end(True)
        return is_it

    def _end(self, dies: bool) -> None:
        if dies:
            self._before()
            os.kill(os.getpid(), signal.SIGKILL)
