"""Runs found by their ids: the same in one process as over a registry."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.memory import InMemorySaver

from stategraph.run.ports import RunEvent, RunFinder
from stategraph.run.runtime import AgentRuntime
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from stategraph.workers.leases import LeaseSettings
from stategraph.workers.registry.runs import RunRegistry
from stategraph.workers.run_finder import RegistryRuns
from stategraph.workers.worker import Worker, WorkerSettings
from tests.workers import app

LIMIT_S = 60

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def in_memory(_: Path) -> AsyncIterator[RunFinder]:
    """Hold a run `r` of agents in this process until it is cancelled."""
    gate = script.Gate()
    model = ScriptedChatModel(replies=[script.Reply((script.Text("one "), script.Hold(gate)))])
    async with AgentRuntime() as runtime:
        run = await runtime.create_run(run_id="r", agents=[{"agent_id": "a", "model": model}])
        runtime.start(run, {"messages": [HumanMessage("hi")]})
        await gate.wait_reached_async()
        yield runtime.runs


@asynccontextmanager
async def in_a_registry(folder: Path) -> AsyncIterator[RunFinder]:
    """Hold a run `r` in a worker until it is cancelled."""
    app.gates = {"waits": asyncio.Event(), "go": asyncio.Event()}
    settings = LeaseSettings(lease_s=5.0, heartbeat_s=0.1)
    registry = RunRegistry.from_url(f"sqlite:///{folder / 'runs.db'}", settings=settings)
    await registry.set_up()
    try:
        await registry.submit("t", {"done": []}, target="tests.workers.app:holding", run_id="r")
        worker = Worker(registry, InMemorySaver(), WorkerSettings(allow=["tests.workers"], poll_s=0.02))
        async with anyio.create_task_group() as group:
            group.start_soon(worker.run)
            await app.gates["waits"].wait()
            yield RegistryRuns(registry)
            worker.drain()
    finally:
        await registry.aclose()


@pytest.fixture(params=[in_memory, in_a_registry])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RunFinder]:
    with anyio.fail_after(LIMIT_S):
        async with request.param(tmp_path) as made:
            yield made


async def read(store: RunFinder, after_seq: int = 0) -> list[RunEvent]:
    return [event async for event in store.events("r", after_seq)]


async def test_a_run_is_followed_and_cancelled_by_its_id(store: RunFinder) -> None:
    reading = asyncio.create_task(read(store))
    assert await store.is_running("r")
    assert await store.cancel("r", "the person left")
    events = await reading
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert not await store.is_running("r")
    assert not await store.cancel("r")
    later: Any = await read(store, 2)
    assert [(each.seq, each.event) for each in later] == [(each.seq, each.event) for each in events[2:]]
    assert all(event.to_json() for event in events)


async def test_a_run_that_is_not_there_is_said_to_be_missing(store: RunFinder) -> None:
    with pytest.raises(LookupError, match="nowhere"):
        await store.is_running("nowhere")
    with pytest.raises(LookupError, match="nowhere"):
        await store.cancel("nowhere")
    with pytest.raises(LookupError, match="nowhere"):
        await anext(store.events("nowhere"))
    await store.cancel("r")
