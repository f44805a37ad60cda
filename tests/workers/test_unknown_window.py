"""The unknown window: a destination that commits and does not answer, and a worker that is killed while it waits."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from stategraph.workers.eventlog import attach
from stategraph.workers.leases import LeaseSettings
from stategraph.workers.registry.runs import RunRegistry
from stategraph.workers.worker import Worker, WorkerSettings
from tests.workers import effects_app, sink
from tests.workers.savers import async_saver

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 60

pytestmark = pytest.mark.anyio


@pytest.fixture
def destination() -> Iterator[sink.Sink]:
    with sink.running() as served:
        yield served


@pytest.fixture
async def registry(url: str) -> AsyncIterator[RunRegistry]:
    made = RunRegistry.from_url(url, settings=LeaseSettings(lease_s=600, heartbeat_s=100))
    await made.set_up()
    yield made
    await made.aclose()


async def kill_in_the_call(url: str, registry: RunRegistry, destination: sink.Sink, graph: str, mode: str) -> str:
    """Submit a run, kill its worker while it waits for the destination, and let the lease run out."""
    destination.modes["o1"] = mode
    given = {"sink": destination.url, "order": "o1"}
    run_id = await registry.submit("t", given, target=f"tests.workers.effects_app:{graph}")
    program = [sys.executable, "-m", "tests.workers.process", url, "600"]
    # Not waited for in the loop but by its pipe.
    worker = await anyio.open_process(program, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=None)
    with anyio.fail_after(LIMIT_S):
        assert await anyio.to_thread.run_sync(destination.asked.wait, LIMIT_S)
        worker.kill()
        await worker.wait()
    await worker.aclose()

    def expire() -> None:
        with registry.operations.database.transaction() as session:
            session.change("UPDATE sg_run SET lease_until = 0")

    await anyio.to_thread.run_sync(expire)
    return run_id


async def finish(url: str, registry: RunRegistry, run_id: str) -> str:
    """Have a worker of this process bring a run to its end; return how it ended."""
    async with async_saver(url) as saver:
        worker = Worker(registry, saver, WorkerSettings(allow=["tests.workers"], poll_s=0.02))
        async with anyio.create_task_group() as group:
            group.start_soon(worker.run)
            with anyio.fail_after(LIMIT_S):
                async for _ in attach(registry, run_id):
                    pass
            worker.drain()
    return (await registry.get(run_id)).status


async def state(url: str) -> Any:
    async with async_saver(url) as saver:
        graph = effects_app.paying.copy({"checkpointer": saver})
        return await graph.aget_state({"configurable": {"thread_id": "t"}})


@pytest.mark.parametrize(("mode", "commits"), [("commit, hold", 1), ("hold", 0)])
async def test_a_person_is_asked_and_the_call_is_not_repeated(
    url: str, registry: RunRegistry, destination: sink.Sink, mode: str, commits: int
) -> None:
    run_id = await kill_in_the_call(url, registry, destination, "paying", mode)
    assert await finish(url, registry, run_id) == "interrupted"
    assert destination.commits["o1"] == commits
    (asked,) = (await state(url)).interrupts
    assert (asked.value["type"], asked.value["key"]) == ("effect_in_doubt", "charge:o1")
    answer = {"happened": True, "result": "paid by then"} if commits else {"happened": False}
    resumed = await registry.resume(run_id, answer)
    assert await finish(url, registry, resumed) == "success"
    assert destination.commits["o1"] == 1
    assert (await state(url)).values["done"] == ["before", "paid by then" if commits else "paid 1", "after"]
    assert len(destination.ids["o1"]) == 1


@pytest.mark.parametrize("mode", ["commit, hold", "hold"])
async def test_with_a_hook_there_is_exactly_one_commit(
    url: str, registry: RunRegistry, destination: sink.Sink, mode: str
) -> None:
    run_id = await kill_in_the_call(url, registry, destination, "paying_reconciled", mode)
    assert await finish(url, registry, run_id) == "success"
    assert destination.commits["o1"] == 1
    assert (await state(url)).values["done"] == ["before", "paid 1", "after"]


async def test_a_connection_that_breaks_after_the_commit_is_a_doubt_also_for_a_worker_that_lives(
    url: str, registry: RunRegistry, destination: sink.Sink
) -> None:
    for number, graph in enumerate(("paying_reconciled", "paying")):
        destination.modes[f"o{number}"] = "commit, drop"
        given = {"sink": destination.url, "order": f"o{number}"}
        run_id = await registry.submit(f"t{number}", given, target=f"tests.workers.effects_app:{graph}")
        assert await finish(url, registry, run_id) == ("success" if number == 0 else "interrupted")
        assert destination.commits[f"o{number}"] == 1
