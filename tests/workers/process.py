"""A worker in a process of its own, for tests that kill it: `python -m tests.workers.process URL [LEASE_S [BUS]]`.

It prints a line when it is ready, and drains when standard input closes.
"""

from __future__ import annotations

import sys

import anyio
import anyio.to_thread

from stategraph.workers.leases import LeaseSettings
from stategraph.workers.registry.runs import RunRegistry
from stategraph.workers.worker import Worker, WorkerSettings
from tests.workers.savers import async_saver


async def main(url: str, lease_s: float, bus: str | None) -> None:
    settings = LeaseSettings(lease_s=lease_s, heartbeat_s=lease_s / 4)
    registry = RunRegistry.from_url(url, settings=settings, bus=bus)
    async with async_saver(url, pool=True) as saver:
        worker = Worker(registry, saver, WorkerSettings(allow=["tests.workers"], poll_s=0.05))

        async def drain_with_parent() -> None:
            await anyio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
            worker.drain()

        async with anyio.create_task_group() as group:
            group.start_soon(drain_with_parent)
            print("ready", flush=True)
            await worker.run()
            group.cancel_scope.cancel()
    await registry.aclose()


if __name__ == "__main__":
    given = sys.argv[2:]
    anyio.run(main, sys.argv[1], float(given[0]) if given else 2.0, given[1] if given[1:] else None)
