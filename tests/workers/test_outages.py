"""Databases that go away while runs are executed: writes wait for them, and what is given up is left as it was."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.to_thread
import pytest

from stategraph.savers.urls import saver_at
from stategraph.workers.eventlog import attach
from stategraph.workers.leases import LeaseLost, LeaseSettings
from stategraph.workers.outages import REPEATED_S, News, flat, is_outage, persist
from stategraph.workers.registry.databases import open_database
from stategraph.workers.registry.port import StoreUnavailableError
from stategraph.workers.registry.runs import RunRegistry
from stategraph.workers.worker import RunNotice, Worker, WorkerSettings
from tests.workers import app
from tests.workers.restarting import Server
from tests.workers.waiting import until

LIMIT_S = 90
DATABASE = open_database("sqlite:///:memory:")

pytestmark = pytest.mark.anyio


class Site:
    """A worker on a PostgreSQL that tests stop and start."""

    def __init__(self, registry: RunRegistry, saver: Any, server: Server) -> None:
        self.registry = registry
        self.saver = saver
        self.server = server
        self.notices: list[RunNotice] = []

    @asynccontextmanager
    async def worker(self, **settings: Any) -> AsyncIterator[Worker]:
        taken = WorkerSettings(allow=["tests.workers"], poll_s=0.05, **settings)
        made = Worker(self.registry, self.saver, taken, self.notices.append)
        async with anyio.create_task_group() as group:
            group.start_soon(made.run)
            try:
                yield made
            finally:
                made.drain()

    def kinds(self) -> list[str]:
        return [notice.kind for notice in self.notices]

    async def stop(self) -> None:
        await anyio.to_thread.run_sync(self.server.stop)

    async def start(self) -> None:
        await anyio.to_thread.run_sync(self.server.start)

    async def told(self, run_id: str) -> list[tuple[str, Any]]:
        with anyio.fail_after(LIMIT_S):
            return [(event.type, event.data) async for event in attach(self.registry, run_id)]


@asynccontextmanager
async def site(lease_s: float) -> AsyncIterator[Site]:
    with Server.running() as server:
        registry = RunRegistry.from_url(server.url, settings=LeaseSettings(lease_s=lease_s, heartbeat_s=0.3))
        async with saver_at(server.url) as saver:
            app.gates = {"waits": asyncio.Event(), "go": asyncio.Event()}
            yield Site(registry, saver, server)
        await registry.aclose()


async def begun(here: Site) -> str:
    run_id = await here.registry.submit("t", {"done": []}, target="tests.workers.app:holding")
    with anyio.fail_after(LIMIT_S):
        await app.gates["waits"].wait()
    return run_id


async def test_a_write_waits_for_a_database_that_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    def a_write_failed() -> bool:
        said = [each.getMessage() for each in caplog.records if each.name == "stategraph.workers"]
        return any(not each.startswith("StoreUnavailableError") for each in said)

    # The lease runs out meanwhile; its owner is alive, and does not take the run away from itself.
    async with site(lease_s=1.0) as here, here.worker():
        run_id = await begun(here)
        await here.stop()
        with caplog.at_level(logging.WARNING, "stategraph.workers"):
            app.gates["go"].set()
            await until(a_write_failed)
        await here.start()
        assert [event for event in await here.told(run_id) if event[0] != "custom"] == [
            ("run.attempt", {"attempt": 1, "reason": "first"}),
            ("updates", {"one": {"done": ["one"]}}),
            ("updates", {"held": {"done": ["held"]}}),
            ("updates", {"three": {"done": ["three"]}}),
            ("run.end", {"status": "success", "error": None}),
        ]
    assert here.kinds() == ["claimed", "ended"]


async def test_a_run_whose_database_stays_away_is_left_as_it_is_for_others() -> None:
    async with site(lease_s=60.0) as here:
        async with here.worker(store_grace_s=0.3):
            run_id = await begun(here)
            await here.stop()
            app.gates["go"].set()
            await until(lambda: here.kinds() == ["claimed", "abandoned"])
            await here.start()
        left = await here.registry.get(run_id)
        assert (left.status, left.attempt, left.error) == ("running", 1, None)
        with here.registry.operations.database.transaction() as session:
            session.change("UPDATE sg_run SET lease_until = 0")
        async with here.worker():
            assert (await here.told(run_id))[-1] == ("run.end", {"status": "success", "error": None})
        assert (await here.registry.get(run_id)).attempt == 2


@pytest.mark.parametrize("asked", ["stop", "drain"])
async def test_a_worker_that_is_to_stop_waits_for_no_database(asked: str) -> None:
    patience = {"store_grace_s": 100 * LIMIT_S, "drain_s": 0.1 if asked == "drain" else 100 * LIMIT_S}
    async with site(lease_s=600.0) as here:
        with anyio.fail_after(LIMIT_S):
            async with here.worker(**patience) as worker:
                run_id = await begun(here)
                await here.stop()
                app.gates["go"].set()
                await until(lambda: worker.health().last_error is not None)
                getattr(worker, asked)()
        assert here.kinds() == ["claimed", "abandoned"]
        await here.start()
        left = await here.registry.get(run_id)
        assert (left.status, left.attempt, left.error) == ("running", 1, None)


# Which errors are tried again.


class Flaky:
    """Raises errors one after the other, then returns."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)

    async def __call__(self) -> str:
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def test_an_error_that_repeats_is_news_once_in_a_while() -> None:
    now = [0.0]
    news = News(lambda: now[0])
    assert [news.has(text) for text in ("away", "away", "full", "away")] == [True, False, True, False]
    now[0] = REPEATED_S - 1
    assert not news.has("away")
    now[0] = REPEATED_S
    assert [news.has("away"), news.has("away"), news.has("full")] == [True, False, True]


async def test_an_outage_does_not_fill_the_log_of_a_worker(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = RunRegistry.from_url("sqlite:///:memory:")
    claims = 0

    async def claim(*_: Any, **__: Any) -> None:
        nonlocal claims
        claims += 1
        raise StoreUnavailableError("The disk is full")

    monkeypatch.setattr(registry, "claim", claim)
    worker = Worker(registry, None, WorkerSettings(allow=["tests.workers"], poll_s=0.001))
    with caplog.at_level(logging.WARNING, "stategraph.workers"):
        async with anyio.create_task_group() as group:
            group.start_soon(worker.run)
            await until(lambda: claims > 10)
            worker.drain()
    await registry.aclose()
    assert [each.getMessage() for each in caplog.records] == ["StoreUnavailableError: The disk is full"]
    assert worker.health().last_error == "StoreUnavailableError: The disk is full"


async def test_a_call_is_tried_again_until_the_database_is_there() -> None:
    noted: list[Exception] = []
    away = [
        StoreUnavailableError("away"),
        caused(RuntimeError("it failed"), sqlite3.OperationalError("database is locked")),
    ]
    assert await persist(Flaky(*away), DATABASE, 60.0, noted.append) == "done"
    assert noted == away


async def test_a_call_is_given_up_when_its_time_is_over() -> None:
    with pytest.raises(StoreUnavailableError, match="away"):
        await persist(Flaky(StoreUnavailableError("away")), DATABASE, 0.0, pytest.fail)


async def test_a_call_in_a_hurry_is_not_tried_again() -> None:
    hurry = anyio.Event()
    noted: list[Exception] = []

    def note(error: Exception) -> None:
        noted.append(error)
        hurry.set()

    away = [StoreUnavailableError(word) for word in ("first", "second")]
    for error in away:  # during the pause after it, and from the beginning
        with anyio.fail_after(LIMIT_S), pytest.raises(StoreUnavailableError) as raised:
            await persist(Flaky(error), DATABASE, 100 * LIMIT_S, note, hurry)
        assert raised.value is error
    assert noted == away[:1]
    assert await persist(Flaky(), DATABASE, 0.0, note, hurry) == "done"


@pytest.mark.parametrize(
    "error", [ValueError("no outage"), LeaseLost("lost"), caused(StoreUnavailableError("away"), LeaseLost("lost"))]
)
async def test_what_is_no_outage_is_raised_at_once(error: Exception) -> None:
    with pytest.raises(type(error)):
        await persist(Flaky(error), DATABASE, 60.0, pytest.fail)


async def test_errors_that_came_from_each_other_are_looked_at_once() -> None:
    first, second = ValueError("no outage"), sqlite3.OperationalError("database is locked")
    caused(first, caused(second, first))
    assert list(flat(first)) == [first, second]
    assert is_outage(ExceptionGroup("several", [ValueError("another"), first]), DATABASE)


async def test_a_table_that_is_not_there_is_no_outage() -> None:
    connection = sqlite3.connect(":memory:")
    with pytest.raises(sqlite3.OperationalError) as raised:
        connection.execute("SELECT * FROM nowhere")
    connection.close()
    assert not is_outage(raised.value, DATABASE)
    assert is_outage(ExceptionGroup("several", [sqlite3.OperationalError("database is locked")]), DATABASE)
