"""Savers on PostgreSQL: the tables of langgraph-checkpoint-postgres, concurrency, cancellation, lost connections."""

from __future__ import annotations

import asyncio
import math
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

psycopg = pytest.importorskip("psycopg")

from langchain_core.messages import AIMessage, HumanMessage  # noqa: E402
from langgraph.checkpoint.postgres import PostgresSaver as TheirSaver  # noqa: E402
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer  # noqa: E402
from psycopg_pool import ConnectionPool  # noqa: E402

from stategraph.savers.postgres.saver import AsyncPostgresSaver, PostgresSaver  # noqa: E402
from tests.savers.drivers import at, checkpoint, opened, put  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
WAIT_S = 30.0


@pytest.fixture(params=["sync-plain", "async-plain", "sync-compact", "async-compact"])
def saver(request: pytest.FixtureRequest, postgres: str) -> Iterator[Any]:
    """A saver on a pool, in both forms."""
    kind, _, mode = request.param.partition("-")
    with opened(
        kind,
        lambda: PostgresSaver.from_conn_string(postgres, mode=mode),
        lambda: AsyncPostgresSaver.from_conn_string(postgres, mode=mode),
    ) as found:
        yield found


VALUES = {
    "text": "plain",
    "nul": "a\x00b",
    "nan": math.inf,
    "number": 2**60,
    "nothing": None,
    "truth": True,
    "messages": [HumanMessage("hi"), AIMessage("there")],
    "pair": (1, 2),
    "raw": b"\x00\xff",
}


def test_values_come_back_as_they_were_also_those_that_json_lacks(saver: Any) -> None:
    stored = put(saver, "t", **VALUES)
    found = saver.get_tuple(at("t"))
    assert found.config == at("t", stored)
    assert found.checkpoint["channel_values"] == VALUES
    assert [type(value) for value in found.checkpoint["channel_values"].values()].count(tuple) == 1


def test_text_that_is_no_unicode_does_not_fail_a_save(saver: Any) -> None:
    put(saver, "t", half="\ud800")
    assert isinstance(saver.get_tuple(at("t")).checkpoint["channel_values"]["half"], str)


def rows(address: str) -> dict[str, list[Any]]:
    with psycopg.connect(address) as connection:
        tables = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
        return {name: sorted(map(str, connection.execute(f"SELECT * FROM {name}").fetchall())) for name in tables}


def a_history(seed: int) -> list[tuple[str, tuple[Any, ...]]]:
    """Saves of one thread, some of them repeated and replaced."""
    chance = random.Random(seed)
    saves: list[tuple[str, tuple[Any, ...]]] = []
    parent = None
    for step in range(8):
        made = checkpoint(messages=[f"m{number}" for number in range(step)], count=step, pair={"a": (step,)})
        for task in range(chance.randrange(3)):
            writes = [("messages", [step]), ("count", task)] if chance.random() < 0.6 else [("__interrupt__", [step])]
            if parent is not None:
                saves.append(("put_writes", (at("t", parent), writes, f"task{task}", f"path{task}")))
        for _ in range(chance.choice([1, 1, 2])):
            saves.append(
                ("put", (at("t", parent), made, {"step": step, "n": chance.random()}, made["channel_versions"]))
            )
        parent = made["id"]
    if parent is not None:
        mixed = [("__error__", "first"), ("count", 1)]
        saves += [
            ("put_writes", (at("t", parent), mixed, "task0")),
            ("put_writes", (at("t", parent), mixed[:1], "task0")),
        ]
    return saves


def test_a_sync_saver_says_to_async_callers_which_one_they_need(postgres: str) -> None:
    with PostgresSaver.from_conn_string(postgres) as saver:
        saver.setup()
        with pytest.raises(NotImplementedError, match="open an AsyncPostgresSaver"):
            asyncio.run(saver.aget_tuple(at("t")))


@pytest.mark.parametrize("seed", range(6))
def test_saves_one_by_one_or_together_leave_the_rows_of_their_saver(server: str, postgres: str, seed: int) -> None:
    """Saves are the rows that langgraph-checkpoint-postgres would store, byte for byte, in one statement or in many."""
    history = a_history(seed)
    serde = JsonPlusSerializer()
    left = []
    for way in ("theirs", "ours", "together"):
        with psycopg.connect(postgres, autocommit=True) as connection:
            connection.execute("DROP TABLE IF EXISTS checkpoints, checkpoint_blobs, checkpoint_writes")
            connection.execute("DROP TABLE IF EXISTS checkpoint_migrations")
        cls: Any = TheirSaver if way == "theirs" else PostgresSaver
        options = {} if way == "theirs" else {"mode": "plain"}
        with cls.from_conn_string(postgres, **options) as saver:
            saver.serde = serde
            saver.setup()
            if way == "together":
                assert saver.put_together(history) == len(history)
            else:
                for name, arguments in history:
                    getattr(saver, name)(*arguments)
        left.append(rows(postgres))
    assert left[0]["checkpoint_writes"]
    assert left[1] == left[0]
    assert left[2] == left[0]


def test_of_saves_together_those_before_one_that_fails_are_stored(saver: Any) -> None:
    """A save that cannot be stored fails alone, whether its value has no stored form or the server refuses it."""

    def save(thread: str, **values: Any) -> Any:
        made = checkpoint(**values)
        return "put", (at(thread), made, {}, made["channel_versions"])

    good, other, bad = save("t", n=[1]), save("t", n=[2]), save("t", n=object())
    assert saver.put_together([good, bad, other]) == 1
    assert [each.checkpoint["id"] for each in saver.all(at("t"))] == [good[1][1]["id"]]
    with pytest.raises(TypeError):
        saver.put_together([bad, other])
    refused = ("put_writes", (at("t", good[1][1]["id"]), [("n", 1)], "task\x00"))
    assert saver.put_together([other, refused, good]) == 1
    with pytest.raises(psycopg.DatabaseError):
        saver.put_together([refused, good])
    assert len(saver.all(at("t"))) == 2


def test_a_save_does_not_wait_for_that_of_another_thread(saver: Any, postgres: str) -> None:
    """Nothing stands around the pool: what one call waits for in the server, another one does not."""
    stored = put(saver, "slow", messages=["a"])
    with psycopg.connect(postgres) as holder, ThreadPoolExecutor(1) as others:
        holder.execute("SELECT 1 FROM checkpoints WHERE checkpoint_id = %s FOR UPDATE", (stored,))
        again = {**checkpoint(messages=["b"]), "id": stored}
        waiting = others.submit(saver.put, at("slow"), again, {}, again["channel_versions"])
        put(saver, "quick", messages=["c"])
        assert saver.get_tuple(at("quick")) is not None
        assert not waiting.done()
        holder.rollback()
        waiting.result(WAIT_S)
    assert saver.get_tuple(at("slow")).checkpoint["channel_versions"] == again["channel_versions"]


def end_connections(address: str) -> None:
    """Have the server end all connections but one's own, as a restart does."""
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )


@pytest.mark.parametrize("call", ["put", "put_writes", "get_tuple", "list", "history", "delete_thread"])
def test_a_call_whose_connection_was_lost_finds_another(saver: Any, postgres: str, call: str) -> None:
    with ThreadPoolExecutor(4) as others:  # several connections, all of which will be lost
        stored = list(others.map(lambda number: put(saver, f"t{number % 2}", n=[number]), range(8)))
    end_connections(postgres)
    match call:
        case "put":
            assert saver.get_tuple(at("new", put(saver, "new", n=[1])))
        case "put_writes":
            saver.put_writes(at("t0", stored[0]), [("n", 5)], "task")
            assert saver.get_tuple(at("t0", stored[0])).pending_writes == [("task", "n", 5)]
        case "get_tuple":
            assert saver.get_tuple(at("t0", stored[0])).checkpoint["channel_values"] == {"n": [0]}
        case "list":
            assert len(saver.all(at("t0"))) >= 1
        case "history":
            assert saver.get_delta_channel_history(config=at("t0", stored[0]), channels=["n"]) == {"n": {"writes": []}}
        case "delete_thread":
            saver.delete_thread("t0")
            assert saver.get_tuple(at("t0")) is None


def test_a_cancelled_save_leaves_the_pool_whole(postgres: str) -> None:
    async def scenario() -> None:
        async with AsyncPostgresSaver.from_conn_string(postgres) as saver:
            await saver.setup()
            made = checkpoint(n=[1])
            await saver.aput(at("t"), made, {}, made["channel_versions"])
            holder = await psycopg.AsyncConnection.connect(postgres)
            await holder.execute("SELECT 1 FROM checkpoints FOR UPDATE")
            for _ in range(2 * saver.conn.max_size):
                waiting = asyncio.ensure_future(saver.aput(at("t"), made, {"step": 2}, made["channel_versions"]))
                blocked = "SELECT 1 FROM pg_locks WHERE NOT granted"
                async with await psycopg.AsyncConnection.connect(postgres, autocommit=True) as watcher:
                    async with asyncio.timeout(WAIT_S):
                        while not await (await watcher.execute(blocked)).fetchone():  # noqa: ASYNC110
                            await asyncio.sleep(0)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
            await holder.close()
            await saver.aput(at("t"), made, {"step": 3}, made["channel_versions"])
            found = await saver.aget_tuple(at("t"))
            assert found is not None
            assert found.metadata["step"] == 3

    asyncio.run(scenario())


def test_a_sync_call_in_the_event_loop_is_refused(postgres: str) -> None:
    async def scenario() -> None:
        async with AsyncPostgresSaver.from_conn_string(postgres) as saver:
            await saver.setup()
            made = checkpoint(n=[1])
            with pytest.raises(asyncio.InvalidStateError, match="await 'aput'"):
                saver.put(at("t"), made, {}, made["channel_versions"])
            await asyncio.to_thread(saver.put, at("t"), made, {}, made["channel_versions"])
            assert await saver.aget_tuple(at("t")) is not None

    asyncio.run(scenario())


PROCESS = """
import sys
from tests.savers.drivers import at, put
from stategraph.savers.postgres.saver import PostgresSaver
address, name = sys.argv[1:]
with PostgresSaver.from_conn_string(address) as saver:
    for number in range(40):
        stored = put(saver, "shared", who=[name, number])
        saver.put_writes(at("shared", stored), [("who", name)], "task")
"""


def test_several_processes_share_a_thread(saver: Any, postgres: str) -> None:
    programs = [
        subprocess.Popen([sys.executable, "-c", PROCESS, postgres, name], cwd=ROOT, stderr=subprocess.PIPE, text=True)
        for name in ("a", "b", "c")
    ]
    for program in programs:
        _, said = program.communicate(timeout=60)
        assert program.returncode == 0, said
    found = saver.all(at("shared"))
    assert sorted(tuple(each.checkpoint["channel_values"]["who"]) for each in found) == [
        (name, number) for name in ("a", "b", "c") for number in range(40)
    ]
    assert all(each.pending_writes == [("task", "who", each.checkpoint["channel_values"]["who"][0])] for each in found)


@pytest.mark.parametrize("pipeline", [False, True])
def test_one_connection_serves_several_threads_in_turn(postgres: str, pipeline: bool) -> None:
    with PostgresSaver.from_conn_string(postgres) as first:
        first.setup()
    with TheirSaver.from_conn_string(postgres, pipeline=pipeline) as theirs:
        saver = PostgresSaver(theirs.conn, theirs.pipe)
        barrier = threading.Barrier(4)

        def use(name: str) -> Any:
            barrier.wait(WAIT_S)
            for number in range(10):
                put(saver, name, n=[number])
            return saver.get_tuple(at(name)).checkpoint["channel_values"]["n"]

        with ThreadPoolExecutor(4) as others:
            assert list(others.map(use, "abcd")) == [[9]] * 4


def test_a_pool_without_autocommit_commits_each_save(postgres: str) -> None:
    with ConnectionPool(postgres, min_size=1, max_size=2, open=True) as pool:
        with PostgresSaver.from_conn_string(postgres, mode="plain") as first:
            first.setup()
        put(PostgresSaver(pool, mode="plain"), "t", n=[1])
        with TheirSaver.from_conn_string(postgres) as theirs:
            assert theirs.get_tuple(at("t")).checkpoint["channel_values"] == {"n": [1]}  # type: ignore[union-attr]
