"""Stopping a run from outside of it.

Modelled on the web platform's AbortController (https://dom.spec.whatwg.org/#aborting-ongoing-activities), which chat
backends know: one side keeps the controller, the other is given its signal.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import TypeVar

from stategraph.errors import AbortError

#: The reason of runs whose runtime is closed.
RUNTIME_CLOSED = "The runtime was closed"

T = TypeVar("T")


class AbortSignal:
    """Tells whether to stop, and calls back when it is time to.

    Attributes:
        reason: The reason; None if none was given, or it is not aborted.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self._aborted = False
        self._listeners: list[Callable[[], object]] = []
        self._lock = threading.Lock()

    @property
    def aborted(self) -> bool:
        """True once the signal was aborted."""
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
        errors: list[Exception] = []
        for listener in listeners:
            try:
                listener()
            except Exception as error:
                errors.append(error)
        if errors:
            raise errors[0]


class AbortController:
    """Stops all work that was given its signal.

    Attributes:
        signal: To be given away.
    """

    def __init__(self) -> None:
        self.signal = AbortSignal()

    def abort(self, reason: str | None = None) -> None:
        """Say that it is time to stop. May be called from any thread, and more than once.

        Args:
            reason: Why, for the error's message.

        Raises:
            Exception: What a listener raised, after all of them were called.
        """
        self.signal._abort(reason)


async def unless_aborted(signals: Sequence[AbortSignal], work: Callable[[], Coroutine[object, None, T]]) -> T:
    """Await `work`; if a signal aborts, cancel it, wait for its end and raise AbortError.

    Args:
        signals: Any of them stops it; if one did already, the work does not begin.
        work: Begins the work.

    Raises:
        AbortError: A signal said so.
    """
    _raise_if_aborted(signals)
    task = asyncio.ensure_future(work())
    stopped = False

    def stop() -> None:
        # At once: work that waits for little would be over before another task had its turn to cancel it. Only once: a
        # second signal must not cut off what the work does at its end.
        nonlocal stopped
        stopped = stopped or task.cancel()

    loop = asyncio.get_running_loop()
    leave = [signal.listen(partial(loop.call_soon_threadsafe, stop)) for signal in signals]
    try:
        await asyncio.wait((task,))
        if stopped:
            _raise_if_aborted(signals)
        return task.result()
    finally:
        for each in leave:
            each()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def to_its_end(work: Coroutine[object, None, None]) -> None:
    """Run work that must not be left half done: cancellations meanwhile take effect after it.

    Raises:
        CancelledError: The caller was cancelled meanwhile.
        Exception: What the work raised, if the caller was not cancelled.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            # Cancelling this does not cancel the task.
            await asyncio.wait((task,))
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is None:
        return task.result()
    await asyncio.gather(task, return_exceptions=True)
    raise cancelled


def was_stopped(error: BaseException | None) -> bool:
    """Return whether an error means that the work was stopped, and not that it failed."""
    return isinstance(error, AbortError | asyncio.CancelledError)


def _raise_if_aborted(signals: Sequence[AbortSignal]) -> None:
    aborted = [signal for signal in signals if signal.aborted]
    if aborted:
        raise AbortError(aborted[0].reason or "This operation was aborted")
