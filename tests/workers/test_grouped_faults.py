"""What fails while operations of the registry are stored together: nobody waits for ever, or is told wrongly."""

from __future__ import annotations

import asyncio
import contextvars
import os
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import anyio
import pytest

from stategraph.savers.sqlite.saver import SqliteSaver
from stategraph.workers.registry.grouped import GroupedSqlite
from stategraph.workers.registry.operations import RegistryOperations
from stategraph.workers.registry.port import StoreUnavailableError
from stategraph.workers.registry.runs import RunRegistry
from stategraph.workers.registry.values import ThreadBusy
from stategraph.workers.wakeups.local import LocalBus
from tests.workers.test_grouped import LIMIT_S, TARGET, opened

pytestmark = pytest.mark.anyio

FENCE = "INSERT INTO sg_thread_fence (thread_id, token) VALUES (?, 0)"


def fences(database: GroupedSqlite) -> list[str]:
    """Return what was stored by the tests' operations."""
    with database.transaction(write=False) as session:
        return [row[0] for row in session.execute("SELECT thread_id FROM sg_thread_fence ORDER BY thread_id")]


async def test_a_connection_that_cannot_be_used_is_told_to_all_who_wait(tmp_path: Path) -> None:
    async with opened(tmp_path) as (registry, _, saver):
        saver.conn.close()
        with anyio.fail_after(LIMIT_S):
            for _ in range(2):
                done = await asyncio.gather(
                    *(registry.submit(f"t{each}", None, target=TARGET) for each in range(3)), return_exceptions=True
                )
                assert [type(each) for each in done] == [sqlite3.ProgrammingError] * 3


async def test_a_file_that_is_damaged_is_told_to_all_who_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(*_: object) -> None:
        raise sqlite3.DatabaseError("database disk image is malformed")

    async with opened(tmp_path) as (registry, _, saver):
        database: Any = saver._database
        database._schema = None  # as where another process has changed the tables
        with monkeypatch.context() as patched, anyio.fail_after(LIMIT_S):
            patched.setattr("stategraph.savers.sqlite.database.prepare", damaged)
            with pytest.raises(sqlite3.DatabaseError, match="malformed"):
                await registry.submit("t", None, target=TARGET)
        await registry.submit("t", None, target=TARGET)


def test_what_an_event_loop_left_behind_holds_up_no_other_loop(tmp_path: Path) -> None:
    path = str(tmp_path / "runs.db")
    database = GroupedSqlite(path, flushes=False)
    registry = RunRegistry(RegistryOperations(database, LocalBus()))
    registry.operations.set_up()

    async def left() -> None:
        submitting = registry.submit("left", None, target=TARGET)
        submitting.send(None)  # it waits for the loop, which ends here
        submitting.close()
        asyncio.get_running_loop().stop()

    async def submitted() -> str:
        return await asyncio.wait_for(registry.submit("next", None, target=TARGET), LIMIT_S)

    with SqliteSaver.from_conn_string(path) as saver:
        saver.setup()
        database.join(saver)
        stopped = asyncio.new_event_loop()
        try:
            stopped.run_until_complete(left())
        finally:
            stopped.close()
        assert asyncio.run(submitted())
        database.leave()
    asyncio.run(registry.aclose())


async def test_a_read_does_not_wait_for_a_lock_that_another_process_has(tmp_path: Path) -> None:
    async with opened(tmp_path) as (registry, database, saver):
        known = await registry.submit("t", None, target=TARGET)
        with closing(sqlite3.connect(database.path, isolation_level=None)) as other, anyio.fail_after(LIMIT_S):
            other.execute("BEGIN IMMEDIATE")
            submitting = asyncio.ensure_future(registry.submit("u", None, target=TARGET))
            await asyncio.to_thread(_until_locked, saver.lock)
            assert (await registry.labelled.get(known)).info.thread_id == "t"
            assert not submitting.done()
            other.execute("COMMIT")
            await submitting


def _until_locked(lock: threading.Lock) -> None:
    while not lock.locked():
        time.sleep(0.001)


async def test_one_that_is_refused_does_not_have_the_loop_wait_for_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as (registry, _, saver):
        await registry.submit("busy", None, target=TARGET)
        database: Any = saver._database
        began, tries = database._began_at_once, []

        def first_time() -> bool:  # then another process is faster
            tries.append(True)
            return len(tries) == 1 and began()

        monkeypatch.setattr(database, "_began_at_once", first_time)
        with anyio.fail_after(LIMIT_S):
            done = await asyncio.gather(
                *(registry.submit(name, None, target=TARGET) for name in ("a", "busy", "b")), return_exceptions=True
            )
        assert len(tries) == 2
        assert [type(each) for each in done] == [str, ThreadBusy, str]
        assert {run.thread_id for run in await registry.list()} == {"busy", "a", "b"}


async def test_a_transaction_that_failed_is_undone_though_its_operation_goes_on(tmp_path: Path) -> None:
    async with opened(tmp_path) as (_, database, _):

        def work() -> str:
            try:
                with database.transaction() as session:
                    session.change(FENCE, ("half",))
                    raise ValueError("no")
            except ValueError:
                with database.transaction() as session:
                    session.change(FENCE, ("whole",))
            return "done"

        assert await database.perform(work, quick=True) == "done"
        assert fences(database) == ["whole"]


async def test_a_signal_that_cannot_go_out_is_no_failure_of_what_was_stored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(tmp_path) as (registry, _, _):

        class Broken(LocalBus):
            def publish(self, signals: Any) -> None:
                raise RuntimeError("can't start new thread")

        registry.operations.bus = Broken()
        ids = await asyncio.gather(*(registry.submit(f"t{each}", None, target=TARGET) for each in range(3)))
        assert {run.run_id for run in await registry.list()} == set(ids)
    assert "A signal about what was stored did not go out" in caplog.text


async def test_a_log_that_cannot_be_moved_is_no_failure_of_what_was_stored(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as (registry, database, _):
        tries = []

        def begin(*_: object) -> None:
            tries.append(True)
            raise RuntimeError("can't start new thread")

        database._mover = Mock(begin=begin)
        for each in range(220):
            await registry.submit(f"t{each}", None, target=TARGET)
        assert tries


async def test_an_operation_sees_the_context_of_its_caller(tmp_path: Path) -> None:
    of_whom: contextvars.ContextVar[str] = contextvars.ContextVar("of_whom")
    async with opened(tmp_path) as (_, database, _):

        async def ask(name: str) -> str:
            of_whom.set(name)
            return await database.perform(of_whom.get, quick=True)

        assert await asyncio.gather(*map(ask, "abc")) == ["a", "b", "c"]


async def test_the_log_is_moved_no_more_when_all_was_closed(tmp_path: Path) -> None:
    async with opened(tmp_path) as (_, database, _):
        pass
    database.move_log()
    assert [database._free.get() for _ in range(database._number)] == [None] * database._number


async def test_the_log_does_not_grow_without_end_where_much_is_stored(tmp_path: Path) -> None:
    async with opened(tmp_path) as (_, database, _):
        text = "x" * 1024 * 1024

        def work() -> None:
            with database.transaction() as session:
                session.change("INSERT INTO texts VALUES (?)", (text,))

        with closing(sqlite3.connect(database.path)) as other:
            other.execute("CREATE TABLE texts (text)")
        for _ in range(64):
            await database.perform(work, quick=True)
            await anyio.to_thread.run_sync(_until_moved, database)
        assert os.stat(database.path + "-wal").st_size < 24 * 1024 * 1024


def _until_moved(database: GroupedSqlite) -> None:
    while database._moves or not database._mover.is_idle:
        time.sleep(0.001)


async def test_a_full_disk_is_told_to_all_and_leaves_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as (registry, _, saver):
        await registry.submit("first", None, target=TARGET)
        ((pages,),) = saver.conn.execute("PRAGMA page_count").fetchall()
        saver.conn.execute(f"PRAGMA max_page_count={pages}").fetchall()
        given = b"x" * 100_000
        done = await asyncio.gather(
            *(registry.submit(name, given, target=TARGET) for name in ("a", "b", "c")), return_exceptions=True
        )
        assert [type(each) for each in done] == [StoreUnavailableError] * 3
        assert [run.thread_id for run in await registry.list()] == ["first"]
        saver.conn.execute("PRAGMA max_page_count=1000000").fetchall()
        await registry.submit("a", given, target=TARGET)
