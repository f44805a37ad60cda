"""The event loop that something belongs to: what waits in one loop is not woken from another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent import futures
from concurrent.futures import Future
from contextlib import suppress
from typing import Final, TypeVar

from stategraph.errors import ConfigurationError

T = TypeVar("T")

Work = Callable[[], Coroutine[object, object, T]]

#: A thread looks so often, in seconds, whether the event loop that it waits for is still there.
_SLICE_S: Final = 0.5

#: One that has not run for so many seconds is taken for one that never will again.
_STOPPED_S: Final = 60.0


def wait_in(loop: asyncio.AbstractEventLoop, work: Work[T]) -> T:
    """Do some work in the event loop of another thread, with the caller's context variables, and wait for its end.

    Args:
        loop: The event loop.
        work: Begins it; called in the loop.

    Raises:
        RuntimeError: The loop was closed before the work had ended, or did not run for a minute; one that was stopped
            for less may run on, and is waited for.
        BaseException: What the work raised.
    """
    future, stopped = _begun(loop, work), 0
    while not futures.wait((future,), timeout=_SLICE_S)[0]:
        stopped = _check_runs(loop, future, stopped)
    return future.result()


async def await_in(loop: asyncio.AbstractEventLoop, work: Work[T]) -> T:
    """Do some work in another event loop as `wait_in`, and await its end; a caller that is cancelled cancels it."""
    future = _begun(loop, work)
    waited, stopped = asyncio.wrap_future(future), 0
    try:
        while not (await asyncio.wait((waited,), timeout=_SLICE_S))[0]:
            stopped = _check_runs(loop, future, stopped)
    except BaseException:
        future.cancel()
        raise
    return waited.result()


def _begun(loop: asyncio.AbstractEventLoop, work: Work[T]) -> Future[T]:
    """Begin some work, and return its end to wait for; cancelling that cancels the work."""
    future: Future[T] = Future()

    def begin() -> None:
        if future.cancelled():
            return
        task = loop.create_task(work())
        task.add_done_callback(end)
        future.add_done_callback(lambda _: stop(task))

    def stop(task: asyncio.Task[T]) -> None:
        if future.cancelled() and not task.done():
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(task.cancel)

    def end(task: asyncio.Task[T]) -> None:
        error = None
        if task.cancelled():
            future.cancel()
        else:
            error = task.exception()
        if not future.set_running_or_notify_cancel():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(task.result())

    loop.call_soon_threadsafe(begin)
    return future


def _check_runs(loop: asyncio.AbstractEventLoop, future: Future[T], stopped: int) -> int:
    """Look at an event loop, and return how many looks in a row have found it stopped.

    Raises:
        RuntimeError: It is closed, or has been stopped for long; the work is cancelled, should the loop run again.
    """
    if future.done() or (loop.is_running() and not loop.is_closed()):
        return 0
    stopped += 1
    if loop.is_closed():
        raise RuntimeError("The event loop of the run was closed while a thread waited for it: the run has ended")
    if stopped * _SLICE_S >= _STOPPED_S:
        future.cancel()
        raise RuntimeError(
            f"The event loop of the run has not run for {_STOPPED_S:g} s while a thread waited for it: keep it running "
            "until the run has ended"
        )
    return stopped


class LoopAffinity:
    """Remembers the loop in which something was first used.

    Args:
        what: The object that belongs to it, for the message.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._way_out = (
            "use it in the one it was first used in, with asyncio.run_coroutine_threadsafe from other threads; only "
            "abort() may be called from anywhere"
        )
        self._loop: asyncio.AbstractEventLoop | None = None

    def bind(self, way_out: str) -> None:
        """Let something belong to the running loop before it is used.

        Args:
            way_out: What callers of other loops are to do, for the message.

        Raises:
            ConfigurationError: As `check`.
        """
        self.check()
        self._way_out = way_out

    def check(self) -> None:
        """See that the running loop is the one.

        Raises:
            ConfigurationError: It is another one, and the first is not closed.
        """
        running = asyncio.get_running_loop()
        if self._loop is None or self._loop.is_closed():
            self._loop = running
        elif self._loop is not running:
            raise ConfigurationError(f"{self._what} is used in another event loop than before: {self._way_out}")


class LoopLock:
    """A lock of the running event loop: a runtime may be opened again in another one."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = asyncio.Lock()

    @property
    def lock(self) -> asyncio.Lock:
        """The lock."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._lock = loop, asyncio.Lock()
        return self._lock
