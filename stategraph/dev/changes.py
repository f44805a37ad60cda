"""Wakes those who follow threads: something has changed, and they look what it is."""

from __future__ import annotations

import asyncio


class Changes:
    """A number that grows with each change, and can be waited for.

    Attributes:
        number: The number of changes so far.
        closed: Set when the server stops: streams end.
    """

    def __init__(self) -> None:
        self.number = 0
        self.closed = asyncio.Event()
        self._changed = asyncio.Event()

    def notify(self) -> None:
        """Wake everyone who waits."""
        self.number += 1
        self._changed.set()
        self._changed = asyncio.Event()

    async def after(self, number: int) -> int:
        """Wait until there were more changes than `number`, and return how many."""
        while self.number <= number:
            await self._changed.wait()
        return self.number

    def close(self) -> None:
        """End all streams."""
        self.closed.set()

    def reopen(self) -> None:
        """Prepare for a server that starts, perhaps in another event loop than the one before."""
        self.closed, self._changed = asyncio.Event(), asyncio.Event()
