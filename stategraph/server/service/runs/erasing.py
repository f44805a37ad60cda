"""The end of what is not kept: runs that are taken back, and threads that were a run's own.

Rules
-----
* A run that was taken back is deleted with its events and its checkpoints, once it has stopped. A run that takes the
  thread's place begins after that.
* A thread of a stateless run is deleted some time after its end, so that its readers can read to the end.
* What a process that died left is done by any other one: `tidy` looks for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from typing import Any, Final

from stategraph.errors import ConfigurationError
from stategraph.server.service.port import ANYONE, NotFoundError, Threads
from stategraph.workers.hosted.sources import StoredRun
from stategraph.workers.leases import ENDED
from stategraph.workers.registry.labelled import LabelledRun
from stategraph.workers.registry.runs import RunRegistry
from stategraph.workers.registry.values import UnknownRunError

logger = logging.getLogger("stategraph.server")

#: Reason of a run that is stopped and erased.
ROLLED_BACK: Final = "rolled back by the client"


class Erasing:
    """Erases runs and threads.

    Args:
        registry: Where runs are.
        saver: Where checkpoints are.
        threads: Where threads are.
    """

    def __init__(self, registry: RunRegistry, saver: Any, threads: Threads) -> None:
        self._registry = registry
        self._saver = saver
        self._threads = threads
        self._tasks: set[asyncio.Task[None]] = set()

    async def before(self, run: StoredRun) -> None:
        """Erase what a run takes back, before it begins."""
        reason = f"rollback by run {run.run_id}"
        found = await self._registry.labelled.of_thread(run.thread_id, tuple(ENDED))
        await self._erase(run.thread_id, [each for each in found if each.info.cancel_requested == reason])

    def erase_soon(self, ended: Coroutine[Any, Any, LabelledRun]) -> asyncio.Task[None]:
        """Erase a run when it has ended."""
        task = asyncio.create_task(self._when(ended))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def tidy(self) -> None:
        """Erase what others have left."""
        for run in await self._registry.labelled.left(ROLLED_BACK):
            try:
                await self._erase(run.info.thread_id, [run])
            except Exception:  # of this run alone: the others are not held up
                logger.exception("Run '%s' was not erased; it is tried again", run.info.run_id)
        for thread_id in await self._registry.labelled.temporary_threads():
            try:
                await self._threads.delete(ANYONE, thread_id)
            except (NotFoundError, ConfigurationError):  # another process was faster, or a run was begun there
                continue
            except Exception:
                logger.exception("Thread '%s' was not deleted; it is tried again", thread_id)

    async def aclose(self) -> None:
        """Wait for what is being erased, for a moment."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=5)
            for task in late:
                task.cancel()

    async def _when(self, ended: Coroutine[Any, Any, LabelledRun]) -> None:
        try:
            run = await ended
            await self._erase(run.info.thread_id, [run])
        except NotFoundError:  # it was erased already
            pass
        except Exception:
            logger.exception("A run that was taken back was not erased; it is tried again")

    async def _erase(self, thread_id: str, runs: Iterable[LabelledRun]) -> None:
        if not (names := [each.info.run_id for each in runs]):
            return
        await self._saver.aprune([thread_id], without_runs=names)
        for run_id in names:
            try:
                await self._registry.labelled.delete(run_id)
            except UnknownRunError:  # another process was faster
                continue
