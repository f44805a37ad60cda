"""The event loop that something belongs to: what waits in one loop is not woken from another."""

from __future__ import annotations

import asyncio

from stategraph.errors import ConfigurationError


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
