"""A process that answers messages of NATS with themselves, and counts others, for `benchmarks.fleet`."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time

import nats
from nats.aio.msg import Msg

from benchmarks import fleet


async def main(url: str) -> None:
    client = await nats.connect(url)
    took_ns: list[int] = []

    async def answer(message: Msg) -> None:
        await message.respond(message.data)

    async def hear(message: Msg) -> None:
        # Both processes read one clock: that of the machine.
        took_ns.append(time.monotonic_ns() - int.from_bytes(message.data[:8]))

    async def tell(message: Msg) -> None:
        said = {"messages": len(took_ns), "ms": statistics.median(took_ns) / 1e6 if took_ns else 0.0}
        took_ns.clear()
        await message.respond(json.dumps(said).encode())

    for subject, callback in (("echo", answer), ("heard", hear), ("told", tell)):
        await client.subscribe(subject, cb=callback, pending_msgs_limit=-1, pending_bytes_limit=-1)
    await client.flush()
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)  # until the parent is gone


if __name__ == "__main__":
    fleet.run(main(sys.argv[1]))
