"""Connections and servers that go away in the middle of something: nothing is lost, and nothing is there twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from operator import add
from typing import Annotated, Any

import pytest
from typing_extensions import TypedDict

psycopg = pytest.importorskip("psycopg")

from langgraph.checkpoint.memory import InMemorySaver  # noqa: E402

from stategraph import END, START, StateGraph  # noqa: E402
from stategraph.savers.postgres.saver import AsyncPostgresSaver, PostgresSaver  # noqa: E402
from tests.savers.drivers import at, checkpoint, opened, put  # noqa: E402
from tests.workers.restarting import Server  # noqa: E402

WAIT_S = 60.0
LONG = "a value that is stored by itself " * 10


class State(TypedDict):
    done: Annotated[list[str], add]


@pytest.fixture(params=["sync-compact", "async-compact", "sync-plain", "async-plain"])
def saver(request: pytest.FixtureRequest, postgres: str) -> Iterator[Any]:
    kind, _, mode = request.param.partition("-")
    with opened(
        kind,
        lambda: PostgresSaver.from_conn_string(postgres, mode=mode),
        lambda: AsyncPostgresSaver.from_conn_string(postgres, mode=mode),
    ) as found:
        yield found


def count(address: str, table: str) -> int:
    with psycopg.connect(address) as connection:
        ((number,),) = connection.execute(f"SELECT count(*) FROM {table}").fetchall()
        return int(number)


def save(parent: str, *values: str) -> list[Any]:
    """A checkpoint, and what a task has written after it."""
    made = checkpoint(done=[*values])
    writes = "put_writes", (at("t", made["id"]), [("done", [f"{values[-1]} written"]), ("n", 1)], "task")
    return [("put", (at("t", parent), made, {"step": 1}, made["channel_versions"])), writes]


def check(saver: Any, postgres: str, values: list[str]) -> None:
    """Check that a thread of two checkpoints has them, and the writes after the second, once."""
    found = saver.all(at("t"))
    assert [each.checkpoint["channel_values"]["done"] for each in found] == [values, values[:1]]
    assert found[0].pending_writes == [("task", "done", [f"{values[-1]} written"]), ("task", "n", 1)]
    assert (count(postgres, "checkpoints"), count(postgres, "checkpoint_writes")) == (2, 2)


def test_a_connection_that_dies_while_a_save_waits_in_the_server(saver: Any, postgres: str) -> None:
    first = put(saver, "t", done=[LONG])
    saves = save(first, LONG, LONG + "second")
    with psycopg.connect(postgres) as holder, psycopg.connect(postgres, autocommit=True) as watcher:
        holder.execute("LOCK TABLE checkpoint_writes IN EXCLUSIVE MODE")
        with ThreadPoolExecutor(1) as others:
            waiting = others.submit(saver.put_together, saves)
            ended = None
            while ended is None:
                ended = watcher.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()"
                ).fetchone()
            holder.rollback()
            assert waiting.result(WAIT_S) == 2
    check(saver, postgres, [LONG, LONG + "second"])


@contextmanager
def answers_lost(monkeypatch: pytest.MonkeyPatch, saver: Any) -> Iterator[list[str]]:
    """Have the first statement that stores be executed, and its connection lost before the answer is read."""
    lost: list[str] = []

    def meant(statement: Any) -> bool:
        return "INSERT INTO checkpoints" in str(statement) and not lost

    def gone() -> Exception:
        return psycopg.OperationalError("server closed the connection unexpectedly")

    if isinstance(saver.saver, AsyncPostgresSaver):
        aexecute = psycopg.AsyncCursor.execute

        async def lose(cursor: Any, statement: Any, *arguments: Any, **named: Any) -> Any:
            done = await aexecute(cursor, statement, *arguments, **named)
            if meant(statement):
                lost.append(str(statement))
                await cursor.connection.close()
                raise gone()
            return done

        monkeypatch.setattr(psycopg.AsyncCursor, "execute", lose)
    else:
        execute = psycopg.Cursor.execute

        def lose_here(cursor: Any, statement: Any, *arguments: Any, **named: Any) -> Any:
            done = execute(cursor, statement, *arguments, **named)
            if meant(statement):
                lost.append(str(statement))
                cursor.connection.close()
                raise gone()
            return done

        monkeypatch.setattr(psycopg.Cursor, "execute", lose_here)
    yield lost
    monkeypatch.undo()


def test_a_save_whose_answer_was_lost_is_stored_once(
    saver: Any, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = put(saver, "t", done=[LONG])
    saves = save(first, LONG, LONG + "second")
    with answers_lost(monkeypatch, saver) as lost:
        assert saver.put_together(saves) == 2
    assert len(lost) == 1
    check(saver, postgres, [LONG, LONG + "second"])


def graph_of(between: Callable[[], None], saver: Any) -> Any:
    """A graph of three nodes, the second of which does something else."""

    def node(name: str) -> Any:
        def run(state: State) -> dict[str, list[str]]:
            if name == "b":
                between()
            return {"done": [f"{name} {LONG}"]}

        return run

    builder = StateGraph(State)
    for name in "abc":
        builder.add_node(name, node(name))
    builder.add_edge(START, "a").add_edge("a", "b").add_edge("b", "c").add_edge("c", END)
    return builder.compile(checkpointer=saver)


@pytest.fixture(scope="module")
def restarting() -> Iterator[Server]:
    with Server.running() as server:
        yield server


@pytest.mark.parametrize("durability", ["sync", "async"])
@pytest.mark.parametrize("api", ["sync", "async"])
def test_a_server_that_is_restarted_in_the_middle_of_a_run(restarting: Server, api: str, durability: Any) -> None:
    """The history of the thread is that of a run on a server that stayed."""
    thread: Any = {"configurable": {"thread_id": f"{api} {durability}"}}
    expected = graph_of(lambda: None, memory := InMemorySaver())
    expected.invoke({"done": []}, thread)
    wanted = [each.checkpoint["channel_values"].get("done") for each in memory.list(thread)]

    async def arun() -> list[Any]:
        async with AsyncPostgresSaver.from_conn_string(restarting.url) as saver:
            await saver.setup()
            graph = graph_of(restarting.restart, saver)
            await graph.ainvoke({"done": []}, thread, durability=durability)
            return [each async for each in saver.alist(thread)]

    if api == "async":
        found = asyncio.run(arun())
    else:
        with PostgresSaver.from_conn_string(restarting.url) as saver:
            saver.setup()
            graph_of(restarting.restart, saver).invoke({"done": []}, thread, durability=durability)
            found = list(saver.list(thread))
    assert [each.checkpoint["channel_values"].get("done") for each in found] == wanted
    assert [each.metadata["step"] for each in found] == [3, 2, 1, 0, -1]
    # Another process reads the same.
    with PostgresSaver.from_conn_string(restarting.url) as other:
        assert [each.checkpoint["channel_values"].get("done") for each in other.list(thread)] == wanted
