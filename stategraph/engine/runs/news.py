"""Wakes an async driver that waits on its event loop."""

from __future__ import annotations

import asyncio
import threading


class News:
    """Something that a driver waits for on its event loop: a task has ended, or there is something to show."""

    __slots__ = ("_is_there", "_loop", "_waiter")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._is_there = False
        self._waiter: asyncio.Future[None] | None = None

    @property
    def is_awaited(self) -> bool:
        """True if the driver waits, and nothing has come since."""
        return self._waiter is not None and not self._waiter.done()

    def set(self) -> None:
        """Wake the driver, if it waits."""
        self._is_there = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def clear(self) -> None:
        """Forget what has come."""
        self._is_there = False

    def wait(self) -> asyncio.Future[None]:
        """Return what ends when something comes, or has come already; one at a time may wait."""
        waiter = self._waiter = self._loop.create_future()
        if self._is_there:
            waiter.set_result(None)
        return waiter


class Waker:
    """Wakes a driver from any thread, when there is something to show."""

    def __init__(self, news: News) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._news = news
        self._waking = False

    def __call__(self) -> None:
        """Wake the driver, behind what the loop has to do already."""
        if self._waking:
            return
        if threading.get_ident() == self._thread:
            # What the same event sets free inside the node goes first: it is the cause, the chunk the report.
            self._waking = True
            self._loop.call_soon(self._woken)
        else:
            self._loop.call_soon_threadsafe(self._news.set)

    def _woken(self) -> None:
        self._waking = False
        self._news.set()
