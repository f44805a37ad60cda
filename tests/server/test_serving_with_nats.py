"""Servers beside a real NATS server, as they are deployed: found by its directory, woken by it, and well without it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
from collections.abc import AsyncGenerator
from pathlib import Path

import httpx
import nats
import pytest

from stategraph.fleet import A2aTransport, Directory, HealthChecks, NatsSource, Router, message
from stategraph.fleet.answers import Answer
from tests.workers.nats_server import NatsServer, UnavailableError, serving
from tests.workers.waiting import until
from tests.workers.watching.scraped import TOKEN, free_port, process, program

pytestmark = pytest.mark.anyio

BUS_TOKEN = "a-token-of-the-bus"
LIMIT_S = 90.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@contextlib.contextmanager
def server(folder: Path, name: str, store: Path, url: str, *more: str):  # type: ignore[no-untyped-def]
    """Run a server for a block, and yield its process and its port."""
    place = folder / name
    place.mkdir()
    program(place)
    port = free_port()
    words = ("serve", "--port", str(port), "--config", "langgraph.json", "--nats", url, *more)
    words += ("--announce", f"http://127.0.0.1:{port}")
    given = {"STATEGRAPH_TOKEN": TOKEN, "STATEGRAPH_STORE": f"sqlite:///{store}"}
    with process(place, *words, probes=free_port(), **given) as running:
        yield running, port


@contextlib.asynccontextmanager
async def client(url: str) -> AsyncGenerator[tuple[Directory, Router]]:  # type: ignore[type-arg]
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with (
        httpx.AsyncClient(headers=headers, timeout=httpx.Timeout(10.0, read=None), trust_env=False) as http,
        A2aTransport(http) as transport,
        Directory(NatsSource(url), refresh_s=0.2) as directory,
        HealthChecks(directory, transport.cards, every_s=0.5),
    ):
        yield directory, Router(directory, transport, strategy="round_robin")


async def ask(router: Router) -> str:  # type: ignore[type-arg]
    """Return what the agent answers, and how its task ended."""
    answer, said = Answer(), ""
    async for event in router.stream(message("Hi"), agent="agent", repeatable=True):
        said += answer.take(event)
    return f"{answer.state}: {said}"


async def found(directory: Directory, ports: set[int]) -> None:
    """Wait until the directory has the servers at these ports, and no other."""
    wanted = {f"http://127.0.0.1:{port}/a2a/agent" for port in ports}
    await until(lambda: {each.endpoint.url for each in directory.endpoints()} == wanted)


async def test_servers_are_found_woken_and_withdrawn_by_nats_and_outlive_it(tmp_path: Path) -> None:
    try:
        with serving("--auth", BUS_TOKEN) as bus:
            await _outlived(tmp_path, bus)
    except UnavailableError as error:
        pytest.skip(str(error))


async def _outlived(folder: Path, bus: NatsServer) -> None:
    url = bus.url.replace("://", f"://{BUS_TOKEN}@")
    store = folder / "runs.db"
    heard: list[str] = []

    async def hear(told: nats.aio.msg.Msg) -> None:
        heard.append(told.subject)

    with (
        server(folder, "taking", store, url, "--capacity", "0") as (taking, taken_at),
        server(folder, "executing", store, url) as (executing, executed_at),
    ):
        listening = await nats.connect(url)
        await listening.subscribe(">", cb=hear)
        await listening.flush()
        async with client(url) as (directory, router):
            await found(directory, {taken_at, executed_at})
            # One of the two executes nothing: what it takes is executed by the other one.
            while not all(each.requests for each in directory.endpoints()):
                assert await ask(router) == "completed: Hello."
            await until(lambda: any(not each.startswith(("$JS", "_INBOX", "$KV")) for each in heard))
            await listening.close()

            bus.stop(kill=True)  # what was known stays, and runs begin without it
            assert [await ask(router) for _ in range(2)] == ["completed: Hello."] * 2
            bus.start()
            await found(directory, {taken_at, executed_at})
            assert await ask(router) == "completed: Hello."

            await asyncio.to_thread(_ended, taking)
            await found(directory, {executed_at})  # withdrawn, not only silent
            assert [await ask(router) for _ in range(2)] == ["completed: Hello."] * 2
            assert executing.poll() is None


def _ended(running: subprocess.Popen[str]) -> None:
    running.send_signal(signal.SIGTERM)
    running.wait(LIMIT_S)
