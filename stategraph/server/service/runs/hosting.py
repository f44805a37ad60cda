"""Workers in the process of the server, and what is to be done from time to time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

from stategraph.server.service.graphs.served import SCHEME, ServedGraphs
from stategraph.server.service.runs.erasing import Erasing
from stategraph.workers.attempts import SessionOf
from stategraph.workers.registry.runs import RunRegistry
from stategraph.workers.watching.watch import Watch
from stategraph.workers.worker import Worker, WorkerSettings

logger = logging.getLogger("stategraph.server")

#: How many runs a process executes at a time.
CAPACITY: Final = 100

#: How often what others left is looked for, in seconds.
TIDY_S: Final = 30.0


@asynccontextmanager
async def working(
    registry: RunRegistry,
    saver: Any,
    graphs: ServedGraphs,
    *,
    capacity: int = CAPACITY,
    drain_s: float = 30.0,
    session_of: SessionOf | None = None,
    watch: Watch | None = None,
) -> AsyncIterator[Worker]:
    """Execute runs of the graphs in this event loop for a block.

    At the end of the block nothing more is claimed; runs have some time to end, and are given back after it.

    Args:
        registry: Where runs are.
        saver: Where threads are: an async saver on the same database.
        graphs: What runs may be of.
        capacity: How many runs at a time.
        drain_s: Seconds that runs have at the end.
        session_of: Makes the session of each run, as for `Worker`; None: they have none.
        watch: Counts what happens to runs; None: nobody does.
    """
    settings = WorkerSettings(allow=[SCHEME], capacity=capacity, drain_s=drain_s)
    observer = None if watch is None else watch.runs
    worker = Worker(registry, saver, settings, observer, session_of, graphs)
    if watch is not None:
        watch.runs.watch(worker)
    task = asyncio.create_task(worker.run())
    task.add_done_callback(partial(_say_if_failed, worker))
    try:
        yield worker
    finally:
        worker.drain()
        await task


def _say_if_failed(worker: Worker, done: asyncio.Task[None]) -> None:
    """Log at once that a worker has failed: whoever awaits it does so at the end of the server."""
    if not done.cancelled() and (error := done.exception()) is not None:
        logger.error("Worker '%s' has ended: this process executes no more runs", worker.owner, exc_info=error)


@asynccontextmanager
async def tidying(erasing: Erasing, every_s: float = TIDY_S) -> AsyncIterator[None]:
    """Erase for a block, from time to time, what is not kept."""
    task = asyncio.create_task(_tidy(erasing, every_s))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await erasing.aclose()


async def _tidy(erasing: Erasing, every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        try:
            await erasing.tidy()
        except Exception:  # whatever the database says: it is tried again
            logger.exception("What is not kept was not erased; it is tried again")
