"""Stopping a run from outside of it.

Modelled on the web platform's AbortController (https://dom.spec.whatwg.org/#aborting-ongoing-activities), which chat
backends know: one side keeps the controller, the other is given its signal.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class AbortSignal:
    """Tells whether to stop, and calls back when it is time to.

    Attributes:
        reason: Why; None if nobody said, or it is not aborted.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self._aborted = False
        self._listeners: list[Callable[[], object]] = []
        self._lock = threading.Lock()

    @property
    def aborted(self) -> bool:
        """Whether it is time to stop."""
        return self._aborted

    def listen(self, listener: Callable[[], object]) -> Callable[[], None]:
        """Be called when it is time to stop: at once if it is already.

        Args:
            listener: Called once, in the thread that aborts.

        Returns:
            Call it to listen no longer.
        """
        with self._lock:
            if not self._aborted:
                self._listeners.append(listener)
                return lambda: self._leave(listener)
        listener()
        return lambda: None

    def _leave(self, listener: Callable[[], object]) -> None:
        with self._lock:
            if listener in self._listeners:
                self._listeners.remove(listener)

    def _abort(self, reason: str | None) -> None:
        with self._lock:
            if self._aborted:
                return
            self._aborted, self.reason = True, reason
            listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener()


class AbortController:
    """Stops whatever was given its signal.

    Attributes:
        signal: To be given away.
    """

    def __init__(self) -> None:
        self.signal = AbortSignal()

    def abort(self, reason: str | None = None) -> None:
        """Say that it is time to stop. May be called from any thread, and more than once.

        Args:
            reason: Why, for the error's message.
        """
        self.signal._abort(reason)
