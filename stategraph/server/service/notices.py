"""Notices in a process that something happens to a thread, for those who would look for it from time to time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class Notice:
    """A waiter for notices."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    async def within(self, seconds: float) -> bool:
        """Wait for a notice; return False if none came in time."""
        try:
            await asyncio.wait_for(self._event.wait(), seconds)
        except TimeoutError:
            return False
        self._event.clear()
        return True

    def tell(self) -> None:
        """Wake the waiter."""
        self._event.set()


class Notices:
    """The waiters of an event loop, by what they wait for."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[Notice]] = {}

    @contextmanager
    def of(self, name: str) -> Iterator[Notice]:
        """Return a waiter for a block."""
        notice = Notice()
        several = self._waiting.setdefault(name, set())
        several.add(notice)
        try:
            yield notice
        finally:
            several.discard(notice)
            if not several:
                self._waiting.pop(name, None)

    def tell(self, name: str) -> None:
        """Wake all who wait for a name."""
        for notice in self._waiting.get(name, ()):
            notice.tell()
