"""Nodes in processes of their own, as the command line starts them, for tests that stop, kill and stall them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import anyio

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 60.0
ACK_WAIT_S = 1.0

_COMMAND = [sys.executable, "-m", "stategraph", "worker", "--json", "--allow", "tests.workers"]


class NodeProcess:
    """`stategraph worker --nats`, as it is used."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.pid = process.pid

    async def ready(self) -> None:
        assert self.process.stdout is not None
        with anyio.fail_after(LIMIT_S):
            while json.loads(await self.process.stdout.readline())["event"] != "ready":
                pass

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    async def end(self) -> int:
        with anyio.fail_after(LIMIT_S):
            return await self.process.wait()


@asynccontextmanager
async def node_process(url: str, *arguments: str) -> AsyncIterator[NodeProcess]:
    """Run a node for a block, with one worker that has one job at a time unless the arguments say otherwise."""
    process = await asyncio.create_subprocess_exec(
        *_COMMAND,
        *("--capacity", "1", "--lease", str(ACK_WAIT_S)),
        *arguments,
        cwd=ROOT,
        env={**os.environ, "STATEGRAPH_NATS": url},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    made = NodeProcess(process)
    try:
        await made.ready()
        yield made
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@contextmanager
def node_beside(url: str, workers: int) -> Iterator[None]:
    """Run a node for a block, for tests that each have an event loop of their own."""
    with subprocess.Popen(
        [*_COMMAND, "--workers", str(workers), "--drain", "0"],
        cwd=ROOT,
        env={**os.environ, "STATEGRAPH_NATS": url},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdout is not None
            while (line := process.stdout.readline()) and json.loads(line)["event"] != "ready":
                pass
            yield
        finally:
            process.terminate()
