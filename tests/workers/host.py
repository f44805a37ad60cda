"""A host of workers that is killed: prints the ids of their processes and waits."""

from __future__ import annotations

import asyncio
import sys

from stategraph.workers.process.supervisor import ProcessPool
from tests.workers.contract import Gate, first, job


async def main() -> None:
    pool = ProcessPool(2, allow=["tests.workers"])
    gate = Gate()
    waiting = await pool.submit(job("waits_for_the_host", 1, id="waits"), calls=gate.calls)
    await first(waiting, "begun")
    # The other worker holds the interpreter's lock, so that nothing in it could notice by itself.
    await pool.submit(job("ignores_sigterm", sys.argv[1], id="hogs"))
    await pool.submit(job("double", 1, id="queued"))
    print(*(each.pid for each in pool.statistics().workers), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
