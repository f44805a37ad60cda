"""The time limit of a request; it stands still while a person is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self


class Clock:
    """An async context manager with the limit of `asyncio.timeout`, which can be paused.

    Args:
        limit_s: Seconds that the block may take, pauses not counted; None: no limit.
    """

    def __init__(self, limit_s: float | None) -> None:
        self._timeout = asyncio.timeout(limit_s)
        self._left: float | None = None
        self._pauses = 0
        self._running = False

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        self._running = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._running = False
        await self._timeout.__aexit__(kind, error, traceback)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the clock while the block is open; blocks may overlap, and may end after the request did."""
        self._pauses += 1
        deadline = self._timeout.when()
        if self._pauses == 1 and deadline is not None and self._running and not self._timeout.expired():
            self._left = deadline - asyncio.get_running_loop().time()
            self._timeout.reschedule(None)
        try:
            yield
        finally:
            self._pauses -= 1
            if not self._pauses and self._left is not None:
                if self._running:
                    self._timeout.reschedule(asyncio.get_running_loop().time() + self._left)
                self._left = None
