"""Limits for how many items of an `each` step run at once, for each run and step apart.

A gate is there as long as something waits for it or is inside, so that nothing has to be cleaned up after a run that
was stopped. Waiting is in order of arrival.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Hashable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias, cast

_Permits: TypeAlias = asyncio.Semaphore | threading.Semaphore


@dataclass(slots=True)
class _Gate:
    permits: _Permits
    users: int = 0


@dataclass(slots=True)
class Gates:
    """The gates of one step.

    Attributes:
        limit: How many may be inside at once.
    """

    limit: int
    _open: dict[Hashable, _Gate] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @asynccontextmanager
    async def in_loop(self, run: Hashable) -> AsyncIterator[None]:
        """Wait until there is room, and be inside.

        Args:
            run: The run, whose items share the limit.
        """
        key = (run, id(asyncio.get_running_loop()))
        with self._used(key, asyncio.Semaphore) as permits:
            async with cast("asyncio.Semaphore", permits):
                yield

    @contextmanager
    def in_thread(self, run: Hashable) -> Iterator[None]:
        """Wait until there is room, and be inside, sync."""
        with self._used(run, threading.Semaphore) as permits, cast("threading.Semaphore", permits):
            yield

    @contextmanager
    def _used(self, key: Hashable, make: Callable[[int], _Permits]) -> Iterator[_Permits]:
        gate = self._enter(key, make)
        try:
            yield gate.permits
        finally:
            self._leave(key, gate)

    def _enter(self, key: Hashable, make: Callable[[int], _Permits]) -> _Gate:
        with self._lock:
            gate = self._open.get(key)
            if gate is None:
                gate = self._open[key] = _Gate(make(self.limit))
            gate.users += 1
            return gate

    def _leave(self, key: Hashable, gate: _Gate) -> None:
        with self._lock:
            gate.users -= 1
            if not gate.users:
                del self._open[key]
