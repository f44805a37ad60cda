"""The queue of keys to be reconciled.

Rules
-----
* A key is in the queue once, however often it is added, and is handed to one worker at a time: added meanwhile, it
  comes again when that worker is done.
* Keys of a lower rank come first; within a rank, the one that was added first.
* After a failure a key comes again after 0.5 s, then twice as long each time, at most 300 s.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from typing import Final

from stategraph.resources.model import ResourceKey

FIRST_BACKOFF_S: Final = 0.5
LONGEST_BACKOFF_S: Final = 300.0
_MOST_DOUBLINGS: Final = 16


class WorkQueue:
    """Keys that wait, those that are worked on, and those that come later. Belongs to one event loop.

    Args:
        rank: The rank of a key.
    """

    def __init__(self, rank: Callable[[ResourceKey], int]) -> None:
        self._rank = rank
        self._heap: list[tuple[int, int, ResourceKey]] = []
        self._waiting: set[ResourceKey] = set()
        self._active: set[ResourceKey] = set()
        self._again: set[ResourceKey] = set()
        self._later: dict[ResourceKey, asyncio.TimerHandle] = {}
        self._failures: dict[ResourceKey, int] = {}
        self._added = 0
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._active)

    def add(self, key: ResourceKey) -> None:
        """Have a key reconciled soon."""
        if key in self._active:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._added += 1
            heapq.heappush(self._heap, (self._rank(key), self._added, key))
            self._work.set()
            self._idle.clear()

    def add_later(self, key: ResourceKey, seconds: float) -> None:
        """Have a key reconciled after some seconds, unless it already is to come before."""
        loop = asyncio.get_running_loop()
        known = self._later.get(key)
        if known is not None:
            if known.when() <= loop.time() + seconds:
                return
            known.cancel()
        self._later[key] = loop.call_later(seconds, self._due, key)

    def _due(self, key: ResourceKey) -> None:
        del self._later[key]
        self.add(key)

    def fail(self, key: ResourceKey) -> float:
        """Have a key that failed reconciled again, and return after how many seconds."""
        doublings = self._failures.get(key, 0)
        self._failures[key] = min(doublings + 1, _MOST_DOUBLINGS)
        seconds = min(FIRST_BACKOFF_S * float(2**doublings), LONGEST_BACKOFF_S)
        self.add_later(key, seconds)
        return seconds

    def succeed(self, key: ResourceKey) -> None:
        """Forget the failures of a key, and that it was to come later."""
        self._failures.pop(key, None)
        later = self._later.pop(key, None)
        if later is not None:
            later.cancel()

    async def take(self) -> ResourceKey:
        """Return the next key; it is worked on until `done`."""
        while not self._heap:
            self._work.clear()
            await self._work.wait()
        key = heapq.heappop(self._heap)[2]
        self._waiting.discard(key)
        self._active.add(key)
        return key

    def done(self, key: ResourceKey) -> None:
        """Say that a worker is done with a key."""
        self._active.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)
        elif not self._waiting and not self._active:
            self._idle.set()

    async def idle(self) -> None:
        """Wait until no key waits or is worked on; those that come later do not count."""
        await self._idle.wait()

    def close(self) -> None:
        """Forget everything that was to come later."""
        for each in self._later.values():
            each.cancel()
        self._later.clear()
