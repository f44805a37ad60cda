"""Decisions that the audit log was told, so that the same one about a call is one event."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any, Final

_MOST: Final = 4096


class Told:
    """Decisions that the log was told, the newest of this process: each is told once, however often it is made again.

    An action is decided about when its answer is looked at, when people are asked, and when it is carried out. Only a
    decision that differs from those before is an event.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[Any, ...], None] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, key: tuple[Any, ...]) -> bool:
        """Note a decision; return whether it is new."""
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return False
            self._known[key] = None
            if len(self._known) > _MOST:
                self._known.popitem(last=False)
            return True

    def forget(self, key: tuple[Any, ...]) -> None:
        """Take a note back, as the log could not take the event."""
        with self._lock:
            self._known.pop(key, None)
