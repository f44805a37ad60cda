"""Operations of the registry that are stored together with each other, and with a saver's saves."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from stategraph.savers.sqlite.saver import AsyncSqliteSaver
from stategraph.workers.leases import RunStatus
from stategraph.workers.registry.grouped import GroupedSqlite
from stategraph.workers.registry.operations import RegistryOperations
from stategraph.workers.registry.port import ConflictError, Session, StoreUnavailableError
from stategraph.workers.registry.runs import RunRegistry
from stategraph.workers.registry.values import ThreadBusy
from stategraph.workers.wakeups.local import LocalBus
from stategraph.workers.wakeups.signals import SignalKind

LIMIT_S = 60.0
TARGET = "app.graphs:graph"

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[tuple[RunRegistry, GroupedSqlite, AsyncSqliteSaver]]:
    """Open a registry whose operations are stored with a saver's saves."""
    path = str(folder / "runs.db")
    database = GroupedSqlite(path, flushes=False)
    registry = RunRegistry(RegistryOperations(database, LocalBus()))
    try:
        await registry.set_up()
        async with AsyncSqliteSaver.from_conn_string(path) as saver:
            await saver.setup()
            database.join(saver)
            try:
                yield registry, database, saver
            finally:
                database.leave()
    finally:
        await registry.aclose()


def watched(saver: AsyncSqliteSaver) -> list[tuple[str, int]]:
    """Note each statement of a saver's connection with the thread that executes it."""
    told: list[tuple[str, int]] = []
    saver.conn.set_trace_callback(lambda statement: told.append((statement, threading.get_ident())))
    return told


async def test_operations_that_wait_together_are_one_transaction_in_the_event_loop(tmp_path: Path) -> None:
    async with opened(tmp_path) as (registry, _, saver):
        told = watched(saver)
        ids = await asyncio.gather(*(registry.submit(f"t{each}", None, target=TARGET) for each in range(20)))
        began = [thread for statement, thread in told if statement.startswith("BEGIN")]
        assert began == [threading.get_ident()]
        assert len(set(ids)) == 20
        assert len(await registry.list()) == 20


async def test_one_that_is_refused_takes_none_along(tmp_path: Path) -> None:
    async with opened(tmp_path) as (registry, _, _):
        await registry.submit("busy", None, target=TARGET)
        done = await asyncio.gather(
            *(registry.submit(name, None, target=TARGET) for name in ("a", "busy", "b")), return_exceptions=True
        )
        assert [type(each) for each in done] == [str, ThreadBusy, str]
        assert {run.thread_id for run in await registry.list()} == {"busy", "a", "b"}


async def test_one_that_conflicts_is_done_by_itself_until_it_can_be(tmp_path: Path) -> None:
    async with opened(tmp_path) as (_, database, _):
        tries: list[bool] = []

        def work() -> str:
            for _ in range(5):
                try:
                    with database.transaction() as session:
                        session.change("INSERT INTO sg_thread_fence (thread_id, token) VALUES ('t', ?)", (len(tries),))
                        tries.append(True)
                        if len(tries) < 4:
                            raise ConflictError("another one was faster")
                    return "done"
                except ConflictError:
                    continue
            return "never"

        assert await database.perform(work, quick=True) == "done"
        with database.transaction(write=False) as session:
            assert session.execute("SELECT token FROM sg_thread_fence") == [(3,)]


async def test_signals_go_out_when_what_they_tell_of_can_be_read(tmp_path: Path) -> None:
    async with opened(tmp_path) as (registry, database, _):
        seen: list[int] = []

        class Looking(LocalBus):
            def publish(self, signals: Any) -> None:
                with closing(sqlite3.connect(database.path)) as other:
                    seen.append(other.execute("SELECT count(*) FROM sg_run WHERE status = 'pending'").fetchone()[0])
                super().publish(signals)

        registry.operations.bus = Looking()
        await registry.submit("t", None, target=TARGET)
        assert seen == [1]


async def test_what_fails_at_its_commit_is_told_to_nobody(tmp_path: Path) -> None:
    async with opened(tmp_path) as (registry, database, saver):
        heard: list[str] = []

        def work() -> None:
            with database.transaction() as session:
                session.change("CREATE TABLE one (id PRIMARY KEY)")
                session.change("CREATE TABLE other (id REFERENCES one (id) DEFERRABLE INITIALLY DEFERRED)")
                session.change("INSERT INTO other VALUES (7)")  # refused by the commit
            database.once_stored(lambda: heard.append("stored"))

        saver.conn.execute("PRAGMA foreign_keys=ON").close()
        with pytest.raises((sqlite3.IntegrityError, ConflictError, StoreUnavailableError)):
            await database.perform(work, quick=True)
        assert heard == []
        await registry.submit("t", None, target=TARGET)  # the connection can be used


async def test_the_event_loop_does_not_wait_for_another_process(tmp_path: Path) -> None:
    async with opened(tmp_path) as (registry, database, _):
        with closing(sqlite3.connect(database.path, isolation_level=None)) as other, anyio.fail_after(LIMIT_S):
            other.execute("BEGIN IMMEDIATE")
            submitting = asyncio.ensure_future(registry.submit("t", None, target=TARGET))
            for _ in range(20):  # the loop goes on
                await asyncio.sleep(0.001)
            assert not submitting.done()
            other.execute("COMMIT")
            run_id = await submitting
        assert (await registry.get(run_id)).status is RunStatus.PENDING


async def test_what_a_cancelled_caller_has_claimed_is_not_lost(tmp_path: Path) -> None:
    async with opened(tmp_path) as (registry, _, _):
        await registry.submit("t", None, target=TARGET)
        claimed = []
        with anyio.CancelScope() as scope:
            scope.cancel()
            claimed.append(await registry.claim("me"))
        assert claimed[0] is not None


async def test_operations_go_on_when_the_saver_is_closed(tmp_path: Path) -> None:
    async with opened(tmp_path) as (registry, database, _):
        database.leave()
        run_id = await registry.submit("t", None, target=TARGET)
        assert (await registry.labelled.get(run_id)).info.run_id == run_id


async def test_the_log_is_moved_into_the_file_by_another_thread(tmp_path: Path) -> None:
    async with opened(tmp_path) as (registry, database, _):
        moved = threading.Event()
        threads: list[int] = []
        move: Callable[[], None] = database.move_log

        def noted() -> None:
            move()
            threads.append(threading.get_ident())
            moved.set()

        database.move_log = noted  # type: ignore[method-assign]
        for each in range(250):
            await registry.submit(f"t{each}", None, target=TARGET)
        assert await anyio.to_thread.run_sync(moved.wait, LIMIT_S)
        assert threading.get_ident() not in threads


async def test_readers_are_woken_by_an_operation_of_the_event_loop(tmp_path: Path) -> None:
    async with opened(tmp_path) as (registry, _, _):
        with registry.bus.watch([(SignalKind.WORK, "default")]) as wakes, anyio.fail_after(LIMIT_S):
            await registry.submit("t", None, target=TARGET)
            assert await wakes.wait(LIMIT_S)


def test_a_thread_has_a_transaction_of_its_own(tmp_path: Path) -> None:
    async def work() -> None:
        async with opened(tmp_path) as (_, database, _):

            def count(session: Session) -> int:
                number: int = session.execute("SELECT count(*) FROM sg_run")[0][0]
                return number

            def in_thread() -> int:
                with database.transaction(write=False) as session:
                    return count(session)

            assert await asyncio.to_thread(in_thread) == 0

    asyncio.run(work())
