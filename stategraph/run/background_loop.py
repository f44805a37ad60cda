"""One event loop in a thread of its own, for callers that cannot await: scripts, notebooks, sync web frameworks.

- A process has one such loop, which starts with its first use and ends with the process. Connections of models, which
  belong to an event loop, are so used again by later calls.
- A caller waits for its work and nothing else does: what interrupts the caller (Ctrl-C, a signal handler that raises)
  cancels the work, waits until it has ended, and is then raised. A second interruption ends that wait too.
- Work sees the caller's context variables as they are when it begins.
- A forked process has no such thread. It gets a loop of its own; what belongs to the loop of its parent is refused.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final, Generic, TypeVar

from stategraph.errors import ConfigurationError

T = TypeVar("T")

#: A wait is cut into pieces of so many seconds: on Windows nothing interrupts one.
_SLICE_S: Final = 0.5

#: Longest wait for work that does not end when the process does.
_EXIT_S: Final = 5.0


class _Call(Generic[T]):
    """One piece of work, and the thread that waits for it.

    Args:
        loop: Where it is done.
        work: Begins it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, work: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._loop = loop
        self._work = work
        self._task: asyncio.Task[T] | None = None
        self._stopped = False
        self._over = threading.Event()

    # In the loop's thread.

    def begin(self) -> None:
        """Begin, unless it was stopped before."""
        if self._stopped:
            self._over.set()
            return
        self._task = self._loop.create_task(self._done())
        self._task.add_done_callback(lambda _: self._over.set())

    async def _done(self) -> T:
        # Also what is raised before there is a coroutine, as for wrong arguments, is for the caller.
        return await self._work()

    def stop(self) -> None:
        """Cancel the work."""
        self._stopped = True
        if self._task is None:
            self._over.set()
        else:
            self._task.cancel()

    # In the caller's.

    @property
    def is_over(self) -> bool:
        """True if the work has ended, or will not begin."""
        return self._over.is_set()

    def wait(self) -> None:
        """Wait until it has ended."""
        while not self._over.wait(_SLICE_S):
            pass

    def result(self) -> T:
        """Return what came of it.

        Raises:
            BaseException: What it raised.
        """
        if self._task is None:
            raise asyncio.CancelledError
        return self._task.result()


class BackgroundLoop:
    """An event loop in a thread. Made by `current`."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._closed = False
        self._thread = threading.Thread(target=self._turn, name="stategraph-loop", daemon=True)
        self._thread.start()

    def _turn(self) -> None:
        asyncio.set_event_loop(self._loop)
        while not self._closed:
            try:
                self._loop.run_forever()
            except (KeyboardInterrupt, SystemExit):
                # A task raised it, and asyncio both keeps it as the task's result and ends the loop.
                continue
        self._loop.close()

    @property
    def is_running(self) -> bool:
        """True for its own work."""
        return threading.get_ident() == self._thread.ident

    def check(self) -> None:
        """Check that the caller may wait for this loop.

        Raises:
            ConfigurationError: It belongs to another process, or the caller is work of this loop.
        """
        if os.getpid() != self._process:
            raise ConfigurationError(
                f"This belongs to the process {self._process}, from which this one was forked: its event loop and its "
                "connections are not here. Make runtimes and runs after the fork, in the process that uses them"
            )
        if self.is_running:
            raise ConfigurationError(
                "A sync call was made in the event loop that has to execute it, by a handler or an async tool for "
                "instance, and would wait for itself: await the async method there"
            )
        if self._closed:
            raise ConfigurationError("The process is about to end: no more work is begun")

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do some work in the loop, and wait for its end.

        Args:
            work: Begins it; called in the loop.

        Returns:
            What it returns.

        Raises:
            ConfigurationError: As `check`.
            BaseException: What the work raised, or what interrupted the caller.
        """
        self.check()
        call = _Call(self._loop, work)
        try:
            # With a copy of the caller's context variables, which the task copies in turn.
            self._loop.call_soon_threadsafe(call.begin)
            call.wait()
        except BaseException:
            self._loop.call_soon_threadsafe(call.stop)
            call.wait()
            raise
        return call.result()

    def leave(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do some work that ends something; also where nothing can wait for it, as in a garbage collection.

        Args:
            work: Begins it.
        """
        if os.getpid() != self._process or self._closed:
            return
        if not self.is_running:
            self.run(work)
        else:
            self._loop.call_soon(_Call(self._loop, work).begin)

    def close(self) -> None:
        """End all work, then the thread. For the end of the process."""
        if os.getpid() != self._process or self._closed:
            return
        asyncio.run_coroutine_threadsafe(self._finish(), self._loop)
        self._thread.join(_EXIT_S)

    async def _finish(self) -> None:
        mine = asyncio.current_task()
        try:
            tasks = [task for task in asyncio.all_tasks() if task is not mine]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._loop.shutdown_asyncgens()
            await self._loop.shutdown_default_executor()
        finally:
            self._closed = True
            self._loop.stop()


_lock = threading.Lock()
_current: BackgroundLoop | None = None
_inherited: list[BackgroundLoop] = []
"""Loops of the processes that this one was forked from: to collect one would close what the parent uses."""


def current() -> BackgroundLoop:
    """Return the loop of this process; the first call starts it."""
    global _current
    with _lock:
        if _current is None:
            _current = BackgroundLoop()
        return _current


def is_running() -> bool:
    """Return whether the caller is work of the loop of this process."""
    return _current is not None and _current.is_running


def _end() -> None:
    if _current is not None:
        _current.close()


def _after_fork() -> None:
    global _current, _lock
    if _current is not None:
        _inherited.append(_current)
    _current, _lock = None, threading.Lock()


atexit.register(_end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
