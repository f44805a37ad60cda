"""Order at the end of a run: whoever is told of it finds its thread ended, in another process too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import AgentRuntime
from stategraph.run.threads import keeping
from stategraph.run.threads.rules import Row
from stategraph.testing import call, reply
from stategraph.workers.agents.runtime import MultiProcessRuntime
from tests.run.threads.test_threads import agent, named
from tests.workers import agents

pytestmark = pytest.mark.anyio

ASK = {"messages": [("user", "hi")]}


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What has been written to rows, as it is there; tests add what readers are told."""
    seen: list[str] = []
    change = keeping.change

    async def noting(index: Any, thread_id: str, how: Callable[[Row | None], Row | None]) -> Row | None:
        await asyncio.sleep(0)  # as a database takes its time
        row = await change(index, thread_id, how)
        seen.append("nothing" if row is None else row.status)
        return row

    monkeypatch.setattr(keeping, "change", noting)
    return seen


async def told(run: Any, order: list[str]) -> None:
    async for event in run.attach():
        if event.event == "on_run_end":
            order.append(f"told: {event.data['status']}")


@pytest.mark.parametrize(
    ("replies", "expected"),
    [
        (["Hello."], ["running", "idle", "told: completed"]),
        ([reply(call("send"))], ["running", "interrupted", "told: interrupted"]),
        ([], ["running", "failed", "told: failed"]),
    ],
)
async def test_the_end_is_in_the_row_before_readers_are_told(
    order: list[str], replies: list[Any], expected: list[str]
) -> None:
    async with AgentRuntime(checkpointer=InMemorySaver(), thread_index=True) as runtime:
        run = await runtime.create_run(run_id="r", agents=[agent(*replies)])
        execution = runtime.start(run, ASK, named("t"))
        await told(run, order)
        await asyncio.gather(execution, return_exceptions=True)
        assert order == expected


async def test_an_abort_is_in_the_row_before_readers_are_told(order: list[str]) -> None:
    async with AgentRuntime(checkpointer=InMemorySaver(), thread_index=True) as runtime:
        run = await runtime.create_run(run_id="r", agents=[agent("Hello.")])
        execution = runtime.start(run, ASK, named("t"))
        await asyncio.sleep(0)
        run.abort()
        await told(run, order)
        await asyncio.gather(execution, return_exceptions=True)
        assert order[-2:] == ["idle", "told: cancelled"]


async def test_the_end_of_a_run_on_a_worker_is_in_the_row_before_readers_are_told(
    order: list[str], tmp_path: Path
) -> None:
    store = f"sqlite:///{tmp_path / 'threads.db'}"
    async with MultiProcessRuntime(
        store=store, workers=1, backend="thread", allow=["tests.workers"], thread_index=True
    ) as runtime:
        run = await runtime.create_run(run_id="r", agents=[agents.agent("Hello.")])
        execution = runtime.start(run, ASK, named("t"))
        await told(run, order)
        await execution
        assert order == ["running", "idle", "told: completed"]
