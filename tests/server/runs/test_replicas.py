"""Processes that serve one database: one is killed in the middle of a run, and a reader goes on at another."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx
import pytest

from stategraph.workers.registry.runs import RunRegistry
from tests.server.serving import HOST

ROOT = Path(__file__).resolve().parents[3]
LIMIT_S = 90

pytestmark = pytest.mark.anyio

CODE = """
import socket, sys
from contextlib import asynccontextmanager
import uvicorn
from starlette.applications import Starlette
from stategraph.server.langgraph import routes
from stategraph.server.service.graphs.served import ServedGraphs
from stategraph.server.service.opening import ServiceSettings, open_service
from stategraph.workers.leases import LeaseSettings
from tests.server.runs.words import ALL

@asynccontextmanager
async def lifespan(app):
    leases = LeaseSettings(lease_s=2.0, heartbeat_s=0.5)
    async with open_service(ServedGraphs(ALL), sys.argv[1], ServiceSettings(leases=leases)) as opened:
        app.router.routes.extend(routes(opened.service))
        print(listening.getsockname()[1], flush=True)
        yield

listening = socket.create_server(("127.0.0.1", 0))
uvicorn.Server(uvicorn.Config(Starlette(lifespan=lifespan), log_level="error")).run([listening])
"""


@asynccontextmanager
async def serving(url: str, number: int) -> AsyncIterator[dict[int, str]]:
    """Run processes that serve a database; return their addresses by their ids."""
    started = [
        await anyio.open_process([sys.executable, "-c", CODE, url], cwd=ROOT, stderr=None) for _ in range(number)
    ]
    found: dict[int, str] = {}
    try:
        with anyio.fail_after(LIMIT_S):
            for process in started:
                assert process.stdout is not None
                found[process.pid] = f"http://{HOST}:{int(await process.stdout.receive())}"
        yield found
    finally:
        for process in started:
            if process.returncode is None:
                process.kill()
            with anyio.CancelScope(shield=True):
                await process.wait()
                await process.aclose()


async def frames(address: str, client: httpx.AsyncClient, last: str | None) -> AsyncIterator[dict[str, str]]:
    """Read the frames of a stream that can be resumed, as they come."""
    async with client.stream("GET", address, headers={"Last-Event-ID": last or "-1"}) as answer:
        assert answer.status_code == 200
        frame: dict[str, str] = {}
        async for line in answer.aiter_lines():
            if line.startswith(":"):
                continue
            if line:
                name, _, value = line.partition(": ")
                frame[name] = value
            elif frame:
                yield frame
                frame = {}


async def test_a_killed_server_loses_no_event_of_its_readers(url: str) -> None:
    registry = RunRegistry.from_url(url)
    seen: list[dict[str, str]] = []
    body = {"assistant_id": "words", "input": {}, "stream_mode": ["custom", "updates"], "stream_resumable": True}
    async with httpx.AsyncClient(timeout=LIMIT_S) as client, serving(url, 2) as places:
        address = next(iter(places.values()))
        thread = (await client.post(f"{address}/threads", json={})).json()["thread_id"]
        run = (await client.post(f"{address}/threads/{thread}/runs", json=body)).json()
        path = f"/threads/{thread}/runs/{run['run_id']}/stream"
        with anyio.fail_after(LIMIT_S):
            async for frame in frames(address + path, client, None):
                seen.append(frame)
                if "b1" in frame["data"]:
                    break
            # In the middle of the second node, the process that executes the run is killed.
            owner = (await registry.get(run["run_id"])).owner or ""
            killed = next(pid for pid in places if str(pid) in re.split(r"\W+", owner))
            os.kill(killed, signal.SIGKILL)
            left = next(place for pid, place in places.items() if pid != killed)
            async for frame in frames(left + path, client, seen[-1]["id"]):
                seen.append(frame)
    await registry.aclose()
    numbers = [int(frame["id"].rpartition("-")[2]) for frame in seen]
    assert numbers == sorted(set(numbers))
    begun = [index for index, frame in enumerate(seen) if frame["event"] == "metadata"]
    assert [json.loads(seen[index]["data"])["attempt"] for index in begun] == [1, 2]
    words = [[json.loads(each["data"]) for each in part if each["event"] == "custom"] for part in parts(seen, begun[1])]
    # The first node is stored and is not told again; the second one is, by the attempt that takes the run over.
    assert words == [["a1", "a2", "b1"], ["b1", "b2", "c1", "c2"]]


def parts(seen: list[dict[str, str]], index: int) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Return what was told before and after a frame."""
    return seen[:index], seen[index:]
