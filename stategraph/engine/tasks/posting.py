"""Calls that other threads have an event loop make, taken over together.

To wake an event loop from another thread costs a system call, and the interpreter's lock changes hands. Whoever posts
while the loop has not got to what was posted before adds to it, and wakes nobody.

There is no lock, as an exception of a signal handler may be raised at any line.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary, ref


class Mailbox:
    """The calls that wait for one event loop.

    It does not keep the loop, which would otherwise never be freed: mailboxes are kept as long as their loops.

    Args:
        loop: The loop.
    """

    __slots__ = ("__weakref__", "_calls", "_is_due", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = ref(loop)
        self._calls: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._is_due = False

    def post(self, call: Callable[..., object], *arguments: object) -> None:
        """Have the loop make a call soon, from any thread; calls of one thread are made in their order.

        Raises:
            RuntimeError: The loop is closed.
        """
        self._calls.append((call, arguments))
        try:
            if not self._is_due:  # two threads that both see this wake the loop twice, which does no harm
                self._is_due = True
                self._living().call_soon_threadsafe(self._take)
        except BaseException:
            self._is_due = False
            raise

    def future(self) -> asyncio.Future[None]:
        """Return a future of the loop, for `settle`."""
        return self._living().create_future()

    def soon(self, call: Callable[..., object], *arguments: object) -> None:
        """Have the loop make a call soon; in its own thread only."""
        self._living().call_soon(call, *arguments)

    def settle(self, future: asyncio.Future[None]) -> None:
        """Have a future be done, from any thread; without effect when the loop is closed: nobody waits any more."""
        if self.is_here():
            _settle(future)
            return
        try:
            self.post(_settle, future)
        except RuntimeError:
            loop = self._loop()
            if loop is not None and not loop.is_closed():
                raise

    def is_here(self) -> bool:
        """Return whether the loop runs in this thread."""
        try:
            return asyncio.get_running_loop() is self._loop()
        except RuntimeError:
            return False

    def _take(self) -> None:
        self._is_due = False  # what is posted from here on wakes the loop again
        try:
            while self._calls:
                call, arguments = self._calls.popleft()
                call(*arguments)
        finally:
            if self._calls:  # a call has failed: the loop reports it, and the others are made
                self.soon(self._take)

    def _living(self) -> asyncio.AbstractEventLoop:
        loop = self._loop()
        if loop is None:
            raise RuntimeError("Event loop is closed")
        return loop


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


_of_loops: WeakKeyDictionary[asyncio.AbstractEventLoop, Mailbox] = WeakKeyDictionary()


def mailbox() -> Mailbox:
    """Return the mailbox of the running event loop.

    Raises:
        RuntimeError: No event loop of asyncio runs in this thread.
    """
    loop = asyncio.get_running_loop()
    found = _of_loops.get(loop)
    if found is None:
        found = _of_loops[loop] = Mailbox(loop)
    return found
