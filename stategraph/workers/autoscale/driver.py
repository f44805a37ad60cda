"""Resizes a pool of this process from time to time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol, Self

from stategraph.errors import WorkerError
from stategraph.workers.autoscale.machine import Change, Scaler, ScalingSettings, Seen
from stategraph.workers.pool import PoolHealth, PoolStatistics

logger = logging.getLogger("stategraph.workers")

#: Seconds between two observations.
EVERY_S: Final = 0.5


class Resizable(Protocol):
    """The part of a `WorkerPool` that is needed to resize it."""

    async def resize(self, workers: int) -> None:
        """Have more or fewer workers."""

    async def health(self) -> PoolHealth:
        """Return the pool's present state."""

    def statistics(self) -> PoolStatistics:
        """Return the pool's statistics so far."""


class Autoscaler:
    """Resizes a pool as its queue needs, as long as the block runs: `async with Autoscaler(pool, settings) as scaling`.

    Args:
        pool: The pool; it has at least one worker.
        settings: Limits and targets.
        workers: How many workers the pool has; None: `least`, and the pool is resized to that at the beginning.
        every_s: Seconds between two observations.
        clock: Returns seconds of a clock that only goes forward.
    """

    def __init__(
        self,
        pool: Resizable,
        settings: ScalingSettings,
        *,
        workers: int | None = None,
        every_s: float = EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool = pool
        self._scaler = Scaler(settings)
        self._workers = workers
        self._every_s = every_s
        self._clock = clock
        self._task: asyncio.Task[None] | None = None

    @property
    def workers(self) -> int:
        """The number of workers that there should be now."""
        return self._workers if self._workers is not None else max(1, self._scaler.settings.least)

    @property
    def settings(self) -> ScalingSettings:
        """Limits and targets."""
        return self._scaler.settings

    @property
    def history(self) -> Sequence[Change]:
        """The last changes, the oldest first."""
        return self._scaler.history

    @property
    def job_s(self) -> float | None:
        """Seconds that a job takes on its worker; None: that is not known."""
        return self._scaler.job_s

    async def __aenter__(self) -> Self:
        if self._workers is None:
            await self._pool.resize(self.workers)
            self._workers = self.workers
        self._task = asyncio.create_task(self._keep_looking(), name="stategraph autoscaling")
        return self

    async def __aexit__(self, *_: object) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def look(self) -> int:
        """Observe the pool now, resize it if that is due, and return how many workers there should be."""
        health, statistics = await self._pool.health(), self._pool.statistics()
        seen = Seen(
            at=self._clock(),
            workers=self.workers,
            running=sum(len(each.running) for each in statistics.workers),
            queued=health.queued,
            oldest_wait_s=health.oldest_wait_s,
            ended=statistics.succeeded + statistics.failed + statistics.cancelled,
        )
        wanted = max(1, self._scaler.decide(seen))
        if wanted != self.workers:
            change = self.history[-1]
            logger.info("%d workers in place of %d: %s", wanted, self.workers, change.reason)
            await self._pool.resize(wanted)
            self._workers = wanted
        return wanted

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            try:
                await self.look()
            except (WorkerError, ConnectionError) as error:  # a pool that closes, or whose server is away
                logger.warning("The pool could not be resized: %s", error)
