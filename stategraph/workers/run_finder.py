"""Runs of a registry, found by their ids from any process: the ports of `stategraph.run` over the tables of workers."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from stategraph.run.ports import RunEvent
from stategraph.workers import eventlog
from stategraph.workers.registry.runs import RunRegistry


class RegistryRuns:
    """A `RunFinder` of the runs that were submitted to a registry.

    Its events have the names and contents of the registry's log (`stategraph.workers.eventlog`): chunks by their stream
    mode, `run.attempt` and `run.end`, not those of `GraphEvents`, which a `Run` tells.

    Args:
        registry: The registry.
    """

    def __init__(self, registry: RunRegistry) -> None:
        self._registry = registry

    async def erase_thread(self, thread_id: str) -> int:
        """Erase the runs of a thread with their events; return how many that were.

        Raises:
            ConfigurationError: One of them goes on, or waits for a worker.
        """
        return await self._registry.erase_thread(thread_id)

    async def is_running(self, run_id: str) -> bool:
        """Return whether a run waits or is being executed.

        Raises:
            UnknownRunError: There is none of that id.
        """
        return (await self._registry.get(run_id)).finished_at is None

    async def cancel(self, run_id: str, reason: str = "") -> bool:
        """Ask a run to stop; it does with its owner's next heartbeat.

        Raises:
            UnknownRunError: There is none of that id.
        """
        return await self._registry.cancel(run_id, reason or "cancelled by the host")

    async def events(self, run_id: str, after_seq: int = 0) -> AsyncGenerator[RunEvent, None]:
        """Yield the events of a run after a number, until it ends.

        Raises:
            UnknownRunError: There is none of that id.
        """
        async with aclosing(eventlog.attach(self._registry, run_id, after_seq)) as rows:
            async for row in rows:
                yield RunEvent(row.seq, row.type, row.data, {"run_id": row.run_id, "attempt": row.attempt})
