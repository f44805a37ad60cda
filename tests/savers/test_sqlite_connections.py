"""Connections of savers on SQLite: shared, set by programs, left open, carried over a fork, beside other savers."""

from __future__ import annotations

import asyncio
import gc
import os
import sqlite3
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.sqlite import SqliteSaver as TheirSaver

from stategraph.errors import ConfigurationError
from stategraph.savers import AsyncSqliteSaver, SqliteSaver
from stategraph.savers.sqlite.connections import taken
from stategraph.savers.sqlite.database import Read
from stategraph.savers.urls import saver_at
from tests.savers.drivers import at, checkpoint, put
from tests.savers.test_upkeep import chain
from tests.sqlite import connection


def in_threads(*calls: Callable[[], object]) -> list[BaseException]:
    """Call functions at once, each in a thread; returns what they raised."""
    raised: list[BaseException] = []
    begin = threading.Barrier(len(calls))

    def work(call: Callable[[], object]) -> None:
        try:
            begin.wait(30)
            call()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=work, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return raised


@pytest.mark.parametrize("modes", [("compact", "compact"), ("compact", "plain")])
def test_savers_of_one_connection_wait_for_each_other(modes: tuple[Any, Any]) -> None:
    conn = connection()
    savers = [SqliteSaver(conn, mode=mode) for mode in modes]
    assert savers[0].lock is savers[1].lock
    for saver in savers:
        saver.setup()
    calls = [lambda s=saver, n=number: chain(s, f"{n}", 12) for number, saver in enumerate(savers * 2)]
    assert in_threads(*calls) == []
    for saver in savers:
        assert [len(list(saver.list(at(f"{number}")))) for number in range(4)] == [12] * 4


def test_savers_of_other_connections_do_not_wait_for_each_other() -> None:
    assert SqliteSaver(connection()).lock is not SqliteSaver(connection()).lock


def test_one_file_serves_this_saver_theirs_and_the_one_of_an_address_at_once(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"

    async def at_address() -> None:
        async with saver_at(f"sqlite:///{path}") as saver:
            for _ in range(10):
                made = checkpoint(text="by address " * 40)
                await saver.aput(at("address"), made, {}, made["channel_versions"])

    with TheirSaver.from_conn_string(str(path)) as theirs, SqliteSaver.from_conn_string(str(path)) as ours:
        theirs.setup()
        calls = (
            lambda: [put(ours, "ours", text="ours " * 40) for _ in range(10)],
            lambda: [put(theirs, "theirs", text="theirs " * 40) for _ in range(10)],
            lambda: asyncio.run(at_address()),
        )
        assert in_threads(*calls) == []
        for name in ("ours", "theirs", "address"):
            read = [[each.checkpoint for each in saver.list(at(name))] for saver in (ours, theirs)]
            assert read[0] == read[1]
            assert len(read[0]) == 10


@pytest.mark.parametrize("options", [{"isolation_level": None}, {"autocommit": True}, {"autocommit": False}])
def test_what_was_stored_is_there_however_transactions_of_the_connection_begin(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    if "autocommit" in options and sys.version_info < (3, 12):
        pytest.skip("the module sqlite3 has no such setting before Python 3.12")
    conn = sqlite3.connect(tmp_path / "runs.db", check_same_thread=False, **options)
    saver = SqliteSaver(conn)
    (id_,) = chain(saver, "t", 1)
    with SqliteSaver.from_conn_string(str(tmp_path / "runs.db")) as other:
        assert [each.checkpoint["id"] for each in other.list(at("t"))] == [id_]
    conn.close()


def test_rows_that_are_sequences_are_as_good_as_tuples() -> None:
    conn = connection()
    conn.row_factory = sqlite3.Row
    saver = SqliteSaver(conn)
    chain(saver, "t", 4)
    saver.prune(["t"], keep_last=2)
    saver.convert("plain")
    assert len(list(saver.list(at("t")))) == 2
    assert saver.size().threads[0].checkpoints == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (
            "row_factory",
            lambda cursor, row: {each[0]: part for each, part in zip(cursor.description, row, strict=True)},
        ),
        ("row_factory", lambda cursor, row: row[0]),
        ("text_factory", bytes),
    ],
)
def test_rows_of_another_kind_are_refused_when_the_saver_is_made(name: str, value: Any) -> None:
    conn = connection()
    setattr(conn, name, value)
    with pytest.raises(ConfigurationError, match=r"row_factory or text_factory.*a connection of its own"):
        taken(conn)


@pytest.mark.anyio
async def test_the_event_loop_is_free_while_a_saver_is_closed(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    was_free = threading.Event()

    def wait_for_loop(_: object) -> None:
        loop.call_soon_threadsafe(was_free.set)
        assert was_free.wait(30), "the loop waits for the saver"

    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "runs.db")) as saver:
        await saver.setup()
        waiting = Read(wait_for_loop)
        saver._database._waiting.append(waiting)  # of a caller that was cancelled
    waiting.outcome()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        saver.conn.execute("SELECT 1")


@pytest.mark.anyio
async def test_closing_that_is_cancelled_ends_all_the_same(tmp_path: Path) -> None:
    saver = await AsyncSqliteSaver.from_conn_string(str(tmp_path / "runs.db")).__aenter__()
    await saver.setup()
    with saver.lock:
        closing = asyncio.create_task(saver.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.sleep(0)
        assert not closing.done()
    with pytest.raises(asyncio.CancelledError):
        await closing
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        saver.conn.execute("SELECT 1")


def test_a_saver_that_was_left_open_warns_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    saver: Any = SqliteSaver.from_conn_string(str(path)).__enter__()  # nobody keeps the context
    put(saver, "t", n=1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del saver
        gc.collect()
    (warning,) = caught
    assert warning.category is ResourceWarning
    assert f"A saver on '{path}' was not closed: open it in a 'with' or 'async with'" in str(warning.message)
    with SqliteSaver.from_conn_string(str(path)) as other:
        assert other.get_tuple(at("t")) is not None


def test_a_connection_of_the_program_is_left_open_without_a_warning() -> None:
    conn = connection()
    saver: Any = SqliteSaver(conn)
    put(saver, "t", n=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del saver
        gc.collect()
    assert conn.execute("SELECT COUNT(*) FROM checkpoints").fetchone() == (1,)


_FORKED = """
import asyncio, os, sqlite3, sys
from stategraph.savers import SqliteSaver
from tests.savers.drivers import at, put

with SqliteSaver.from_conn_string(sys.argv[1]) as saver:
    parent = put(saver, "t", n=1)
    saver.lock.acquire()  # as another thread of the parent may have it
    child = os.fork()
    if child == 0:
        calls = [saver.setup, lambda: saver.get_tuple(at("t")), lambda: put(saver, "t", n=9), lambda: saver.size(),
                 lambda: asyncio.run(saver.aget_tuple(at("t")))]
        for call in calls:
            try:
                call()
            except sqlite3.ProgrammingError as error:
                assert "was forked from it" in str(error) and "Open a saver in each process" in str(error), error
            else:
                os._exit(3)
        saver.close()
        with SqliteSaver.from_conn_string(sys.argv[1]) as own:
            put(own, "t", parent, n=2)
        os._exit(0)
    saver.lock.release()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, status
    put(saver, "t", parent, n=3)
    found = sorted(each.checkpoint["channel_values"]["n"] for each in saver.list(at("t")))
    assert found == [1, 2, 3], found
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_process_that_was_forked_has_to_open_a_saver_of_its_own(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _FORKED, str(tmp_path / "runs.db")]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
