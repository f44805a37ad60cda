"""Connections of `aiosqlite` that programs written for LangGraph's saver hand to this one."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import threading
import warnings
from pathlib import Path
from typing import Any

import anyio
import pytest

from stategraph import START, MessagesState, StateGraph
from stategraph.errors import ConfigurationError
from stategraph.savers import AsyncSqliteSaver, SqliteSaver
from tests.savers.drivers import at, checkpoint
from tests.sqlite import connection

aiosqlite = pytest.importorskip("aiosqlite")
pytestmark = pytest.mark.anyio

THREAD: Any = {"configurable": {"thread_id": "t"}}


def graph_on(saver: Any) -> Any:
    builder = StateGraph(MessagesState).add_node("one", lambda _: {"messages": [("ai", "hello")]})
    return builder.add_edge(START, "one").compile(checkpointer=saver)


async def until_closed(conn: sqlite3.Connection) -> None:
    """Wait for the end of a connection; a thread that was the last to have its saver may be closing it."""
    with anyio.fail_after(10), pytest.raises(sqlite3.ProgrammingError, match="closed"):
        while True:
            conn.execute("SELECT 1")
            await anyio.sleep(0.001)


async def test_a_graph_runs_on_the_file_of_the_connection(tmp_path: Path) -> None:
    async with aiosqlite.connect(tmp_path / "runs.db", timeout=7) as conn:
        saver = AsyncSqliteSaver(conn)
        graph = graph_on(saver)
        await asyncio.gather(
            *(graph.ainvoke({"messages": [("user", "hi")]}, {"configurable": {"thread_id": f"{n}"}}) for n in range(5))
        )
        ((rows,),) = await conn.execute_fetchall("SELECT COUNT(DISTINCT thread_id) FROM checkpoints")
        assert rows == 5
        assert saver.conn.execute("PRAGMA busy_timeout").fetchone() == (7_000,)
        assert saver.get_tuple(at("3")) is not None  # the sync methods follow
        await saver.aclose()
    with SqliteSaver.from_conn_string(str(tmp_path / "runs.db")) as other:
        assert len(graph_on(other).get_state({"configurable": {"thread_id": "4"}}).values["messages"]) == 2


async def test_a_connection_that_is_not_open_yet_is_opened(tmp_path: Path) -> None:
    conn = aiosqlite.connect(tmp_path / "runs.db")
    saver = AsyncSqliteSaver(conn)
    await saver.setup()
    assert await saver.aget_tuple(at("t")) is None
    await conn.close()
    await saver.aclose()


async def test_a_connection_that_only_reads_is_taken_for_one(tmp_path: Path) -> None:
    with SqliteSaver.from_conn_string(str(tmp_path / "runs.db")) as saver:
        made = checkpoint(n=1)
        saver.put(at("t"), made, {}, made["channel_versions"])
    (tmp_path / "empty.db").touch()
    async with aiosqlite.connect(f"file:{tmp_path}/empty.db?mode=ro", uri=True) as conn:
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            await AsyncSqliteSaver(conn).setup()
    async with aiosqlite.connect(f"file:{tmp_path}/runs.db?mode=ro", uri=True) as conn:
        reading = AsyncSqliteSaver(conn)
        assert await reading.aget_tuple(at("t")) is not None
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            await reading.aput(at("t"), made, {}, made["channel_versions"])
        await reading.aclose()


async def test_nobody_is_waited_for_where_another_process_writes(tmp_path: Path) -> None:
    with SqliteSaver.from_conn_string(str(tmp_path / "runs.db")) as saver:
        saver.setup()
    writer = connection(tmp_path / "runs.db")
    writer.execute("BEGIN IMMEDIATE")
    async with aiosqlite.connect(tmp_path / "runs.db", timeout=600) as conn:
        opened = AsyncSqliteSaver(conn)
        async with asyncio.timeout(60):
            await opened.setup()
            assert await opened.aget_tuple(at("t")) is None
        await opened.aclose()
    writer.rollback()


async def test_a_transaction_of_the_program_is_left_open(tmp_path: Path) -> None:
    with SqliteSaver.from_conn_string(str(tmp_path / "runs.db")) as made:
        made.setup()
    async with aiosqlite.connect(tmp_path / "runs.db") as conn:
        await conn.execute("CREATE TABLE mine (n)")
        await conn.commit()
        await conn.execute("INSERT INTO mine VALUES (1)")
        saver = AsyncSqliteSaver(conn)
        assert await saver.aget_tuple(at("t")) is None
        assert conn.in_transaction
        await conn.rollback()
        assert await conn.execute_fetchall("SELECT * FROM mine") == []
        await saver.aclose()


async def test_a_database_in_memory_and_a_sync_call_are_refused_with_a_way_out() -> None:
    async with aiosqlite.connect(":memory:") as conn:
        saver = AsyncSqliteSaver(conn)
        with pytest.raises(ConfigurationError, match=r"await its setup\(\), or another async method, before"):
            saver.get_tuple(at("t"))
        with pytest.raises(ConfigurationError, match=r"from_conn_string\(':memory:'\), or name a file"):
            await saver.setup()


async def test_what_the_saver_opened_is_closed_with_it(tmp_path: Path) -> None:
    async with aiosqlite.connect(tmp_path / "runs.db") as conn:
        saver: Any = AsyncSqliteSaver(conn)
        await saver.setup()
        own = saver.conn
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            del saver
            gc.collect()
            await until_closed(own)


async def test_savers_of_the_connection_that_was_opened_share_its_lock_and_no_others_do(tmp_path: Path) -> None:
    async with aiosqlite.connect(tmp_path / "runs.db") as conn:
        saver = AsyncSqliteSaver(conn)
        before = saver.lock
        await saver.setup()
        assert SqliteSaver(saver.conn).lock is saver.lock
        others = [SqliteSaver(connection()) for _ in range(20)]  # one of them where the unopened connection was
        assert not {before, saver.lock} & {other.lock for other in others}
        await saver.aclose()


async def test_a_saver_that_is_collected_does_not_wait_for_another_that_has_its_connection(tmp_path: Path) -> None:
    async with aiosqlite.connect(tmp_path / "runs.db") as conn:
        saver: Any = AsyncSqliteSaver(conn)
        await saver.setup()
        other = SqliteSaver(saver.conn)
        taken = other.lock.acquire(timeout=10)  # the thread that did the setup may still have it

        def collect() -> None:
            nonlocal saver
            del saver
            gc.collect()

        collecting = threading.Thread(target=collect, daemon=True)
        collecting.start()
        collecting.join(10)
        other.lock.release()
        collecting.join(10)
        assert taken
        assert other.conn.execute("SELECT 1").fetchone() == (1,)  # it was left to the other one
        other.close()
