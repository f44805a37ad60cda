"""Runs with options of their own, graphs that are made for each attempt, and registries of older versions."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from stategraph.errors import ConfigurationError, TransferError
from stategraph.workers.eventlog import attach
from stategraph.workers.hosted.options import RunOptions
from stategraph.workers.hosted.sources import GraphMaker, StoredRun
from stategraph.workers.leases import RunStatus
from stategraph.workers.registry.port import Session
from stategraph.workers.registry.runs import RunRegistry
from stategraph.workers.registry.values import ThreadBusy
from stategraph.workers.wakeups.local import LocalBus
from stategraph.workers.worker import Worker, WorkerSettings
from tests.workers import app
from tests.workers.savers import async_saver

LIMIT_S = 60

pytestmark = pytest.mark.anyio


class Made(GraphMaker):
    """Makes the graph of each attempt."""

    def __init__(self) -> None:
        self.seen: list[StoredRun] = []

    @asynccontextmanager
    async def open(self, run: StoredRun) -> AsyncIterator[Any]:
        self.seen.append(run)
        if run.config["configurable"].get("fails"):
            raise RuntimeError("no graph today")
        yield app.steps


class Source:
    def __init__(self) -> None:
        self.made = Made()

    async def find(self, target: str) -> Any:
        if target != "made:here":
            raise TransferError("not here")
        return self.made


@pytest.fixture
async def registry(url: str) -> AsyncIterator[RunRegistry]:
    bus = LocalBus() if url.startswith("sqlite") else None
    made = RunRegistry.from_url(url, bus=bus)
    await made.set_up()
    yield made
    await made.aclose()


async def told(registry: RunRegistry, url: str, run_id: str, source: Any = None) -> list[tuple[str, Any]]:
    """Have a worker execute a run, and return what it told."""
    async with async_saver(url) as saver:
        worker = Worker(registry, saver, WorkerSettings(["tests.workers"], poll_s=0.02), graphs=source)
        async with anyio.create_task_group() as group:
            group.start_soon(worker.run)
            with anyio.fail_after(LIMIT_S):
                events = [(event.type, event.data) async for event in attach(registry, run_id)]
            worker.drain()
    return events


async def submitted(registry: RunRegistry, target: str = "tests.workers.app:steps", **how: Any) -> str:
    return await registry.submit("t", {"done": []}, target=target, **how)


async def test_a_run_streams_and_stops_as_its_options_say(registry: RunRegistry, url: str) -> None:
    options = RunOptions(stream_modes=("values",), interrupt_before=("three",), durability="async")
    run_id = await submitted(registry, options=options, labels={"of": "a host"})
    events = await told(registry, url, run_id)
    assert [data for name, data in events if name == "values"][-1] == {"done": ["one", "two"]}
    assert not [name for name, _ in events if name == "updates"]
    assert (await registry.get(run_id)).status is RunStatus.INTERRUPTED
    found = await registry.labelled.get(run_id)
    assert found.labels == {"of": "a host"}
    assert registry.load(found.input) == {"done": []}
    again = await registry.resume(run_id)
    assert (await registry.labelled.get(again)).labels == {"of": "a host"}


async def test_a_run_without_options_is_as_the_worker_executes_runs(registry: RunRegistry, url: str) -> None:
    names = {name for name, _ in await told(registry, url, await submitted(registry))}
    assert names == {"run.attempt", "custom", "updates", "run.end"}


async def test_the_graph_of_an_attempt_is_made_for_it(registry: RunRegistry, url: str) -> None:
    source = Source()
    run_id = await submitted(registry, "made:here", context={"a": 1}, tenant="ada")
    events = await told(registry, url, run_id, source)
    assert events[-1] == ("run.end", {"status": "success", "error": None})
    (seen,) = source.made.seen
    assert (seen.run_id, seen.thread_id, seen.tenant, seen.context) == (run_id, "t", "ada", {"a": 1})
    assert not seen.takes_back


async def test_a_graph_that_cannot_be_made_is_the_end_of_the_run(registry: RunRegistry, url: str) -> None:
    run_id = await submitted(registry, "made:here", config={"configurable": {"fails": True}})
    await told(registry, url, run_id, Source())
    found = await registry.get(run_id)
    assert (found.status, found.error) == (RunStatus.ERROR, "RuntimeError: no graph today")


async def test_options_of_a_newer_version_end_the_run_with_a_sentence(registry: RunRegistry, url: str) -> None:
    class Newer(RunOptions):
        def to_json(self) -> dict[str, Any]:
            return {"flies": True}

    run_id = await submitted(registry, options=Newer())
    await told(registry, url, run_id)
    assert "does not know: flies" in str((await registry.get(run_id)).error)


async def test_a_database_of_an_older_version_gets_the_new_columns(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    url = f"sqlite:///{path}"
    old = RunRegistry.from_url(url)
    run_id = await submitted(old)
    await old.aclose()
    with closing(sqlite3.connect(path)) as connection:
        for index in ("sg_temporary", "sg_stopped", "sg_rollback", "sg_of_target"):
            connection.execute(f"DROP INDEX {index}")
        for column in ("options", "labels", "kept_s"):
            connection.execute(f"ALTER TABLE sg_run DROP COLUMN {column}")
        connection.execute("ALTER TABLE sg_worker DROP COLUMN queues")
        connection.execute("INSERT INTO sg_worker VALUES ('of before', 'h', 1, 10, '0.0.1', 1, 2e10)")
        connection.commit()
    reader = RunRegistry.from_url(url, create=False)
    missing = "older version of stategraph and have no sg_run.options, sg_run.labels, sg_run.kept_s, sg_worker.queues"
    with pytest.raises(ConfigurationError, match=missing):
        await reader.workers()
    new = RunRegistry.from_url(url)
    try:
        assert (await new.labelled.get(run_id)).labels == {}
        assert [each.worker_id for each in await reader.workers()] == ["of before"]
        await reader.aclose()
        assert await new.labelled.temporary_threads() == []
        new.roster.see("of now", 2, ("urgent", "default"))
        seen = {each.worker_id: each.queues for each in await new.workers()}
        assert seen == {"of before": (), "of now": ("urgent", "default")}
        events = await told(new, url, run_id)
        assert events[-1][0] == "run.end"
        later = await submitted(new, options=RunOptions(stream_modes=("values",)), kept_s=0.0)
        await told(new, url, later)
        with anyio.fail_after(LIMIT_S):
            for _ in itertools.count():
                if await new.labelled.temporary_threads() == ["t"]:
                    break
                await anyio.sleep(0.01)
    finally:
        await new.aclose()


async def test_readers_and_workers_of_one_process_are_woken_at_once(tmp_path: Path) -> None:
    registry = RunRegistry.from_url(f"sqlite:///{tmp_path / 'runs.db'}", bus=LocalBus())
    try:
        async with async_saver(f"sqlite:///{tmp_path / 'runs.db'}") as saver:
            # Neither looks by itself within the limit: without the bus this never ends.
            worker = Worker(registry, saver, WorkerSettings(["tests.workers"], poll_s=10 * LIMIT_S))
            async with anyio.create_task_group() as group:
                group.start_soon(worker.run)
                for _ in range(3):
                    run_id = await submitted(registry, on_conflict="enqueue")
                    with anyio.fail_after(LIMIT_S):
                        assert [event.type async for event in attach(registry, run_id)][-1] == "run.end"
                worker.drain()
    finally:
        await registry.aclose()


async def test_what_is_prepared_for_a_run_is_stored_with_it_or_not_at_all(registry: RunRegistry) -> None:
    sql = registry.operations.database.sql

    def prepare(session: Session) -> dict[str, Any]:
        session.change(sql.add_fence, ("beside",))
        return {"metadata": {"of": "preparing"}}

    def is_there() -> bool:
        with registry.operations.database.transaction(write=False) as session:
            return bool(session.execute(sql.check_fence, ("beside",)))

    def refuse(session: Session) -> dict[str, Any]:
        prepare(session)
        raise LookupError("no such thread")

    with pytest.raises(LookupError, match="no such thread"):
        await submitted(registry, prepare=refuse)
    assert not await registry.list() and not await anyio.to_thread.run_sync(is_there)
    run_id = await submitted(registry)
    with pytest.raises(ThreadBusy):
        await submitted(registry, prepare=prepare)
    assert not await anyio.to_thread.run_sync(is_there)
    later = await submitted(registry, prepare=prepare, on_conflict="enqueue")
    assert await anyio.to_thread.run_sync(is_there)
    assert (await registry.labelled.get(later)).config == {"metadata": {"of": "preparing"}}
    assert (await registry.labelled.get(run_id)).config == {}
