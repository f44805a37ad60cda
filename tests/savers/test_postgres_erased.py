"""A thread that is erased while a graph with delta channels runs on it, on PostgreSQL: the run fails; nothing half."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

psycopg = pytest.importorskip("psycopg")

from langchain_core.messages import AIMessage, HumanMessage  # noqa: E402

from stategraph import START, MessagesState, StateGraph  # noqa: E402
from stategraph.savers import AsyncPostgresSaver, PostgresSaver  # noqa: E402
from stategraph.savers.chains import links_of  # noqa: E402
from tests.savers.drivers import at, checkpoint  # noqa: E402
from tests.savers.test_upkeep import chain  # noqa: E402

THREAD: Any = {"configurable": {"thread_id": "t"}}
BROKEN = r"'t' was erased .* of 'messages' only .*begin the run anew"
HI: Any = {"messages": [HumanMessage("hi", id="hi")]}


def erase_once_stored(postgres: str) -> None:
    """Erase the thread as another process would, after the first of its checkpoints has reached the database."""
    with PostgresSaver.from_conn_string(postgres) as elsewhere:
        deadline = time.monotonic() + 60
        while not list(elsewhere.list(at("t"))):
            assert time.monotonic() < deadline, "no checkpoint was stored"
            time.sleep(0.002)
        elsewhere.delete_thread("t")


def graph_on(saver: Any, erase: Any) -> Any:
    """A graph of delta channels with three nodes, of which the second has its thread erased."""

    def node(name: str) -> Any:
        def run(_: Any) -> Any:
            if name == "two":
                erase()
            return {"messages": [AIMessage(f"{name} " * 40, id=name)]}

        return run

    builder = StateGraph(MessagesState)
    for before, name in zip((START, "one", "two"), ("one", "two", "three"), strict=True):
        builder.add_node(name, node(name)).add_edge(before, name)
    return builder.compile(checkpointer=saver, delta_messages=True)


@pytest.mark.parametrize("mode", ["compact", "plain"])
@pytest.mark.parametrize("durability", ["sync", "async"])
def test_a_run_fails_and_leaves_nothing(postgres: str, mode: Any, durability: Any) -> None:
    with PostgresSaver.from_conn_string(postgres, mode=mode) as saver:
        saver.setup()
        chain(saver, "other", 2)

        graph = graph_on(saver, lambda: erase_once_stored(postgres))
        with pytest.raises(psycopg.IntegrityError, match=BROKEN):
            graph.invoke(HI, THREAD, durability=durability)
        assert list(saver.list(at("t"))) == []
        assert len(list(saver.list(at("other")))) == 2


@pytest.mark.parametrize("mode", ["compact", "plain"])
def test_an_async_run_fails_and_leaves_nothing(postgres: str, mode: Any) -> None:
    async def run() -> None:
        async with AsyncPostgresSaver.from_conn_string(postgres, mode=mode) as saver:
            await saver.setup()

            graph = graph_on(saver, lambda: erase_once_stored(postgres))
            with pytest.raises(psycopg.IntegrityError, match=BROKEN):
                await graph.ainvoke(HI, THREAD, durability="sync")

    asyncio.run(run())


def delta(number: int) -> tuple[Any, Any]:
    """A checkpoint of which the one before it holds the messages, and its metadata."""
    return checkpoint(n=number), {"counters_since_delta_snapshot": {"messages": (number, number)}}


@pytest.mark.parametrize("mode", ["compact", "plain"])
@pytest.mark.parametrize("before", [[("SELECT pg_advisory_lock(1)", ())], [("CREATE TABLE mine (n int)", ())]])
def test_saves_beside_other_statements_are_refused_with_them(postgres: str, mode: Any, before: Any) -> None:
    with PostgresSaver.from_conn_string(postgres, mode=mode) as saver:
        saver.setup()
        made, metadata = delta(1)
        gone = at("t", checkpoint(n=0)["id"])
        with pytest.raises(psycopg.IntegrityError, match=BROKEN):
            saver.put_within([("put", (gone, made, metadata, made["channel_versions"]))], before)
        assert list(saver.list(at("t"))) == []
        with psycopg.connect(postgres) as connection:
            assert connection.execute("SELECT to_regclass('mine')").fetchone() == (None,)


@pytest.mark.parametrize("mode", ["compact", "plain"])
def test_checkpoints_that_are_stored_together_are_a_chain(postgres: str, mode: Any) -> None:
    with PostgresSaver.from_conn_string(postgres, mode=mode) as saver:
        saver.setup()
        first = checkpoint(n=0)
        saves: list[Any] = [("put", (at("t"), first, {}, first["channel_versions"]))]
        for number in (1, 2):
            made, metadata = delta(number)
            saves.append(("put", (at("t", saves[-1][1][1]["id"]), made, metadata, made["channel_versions"])))
        assert links_of(saves) == []
        assert saver.put_together(saves) == 3
        made, metadata = delta(3)
        saver.put_within([("put", (at("t", saves[-1][1][1]["id"]), made, metadata, made["channel_versions"]))], [])
        assert len(list(saver.list(at("t")))) == 4
        saver.delete_thread("t")
        with pytest.raises(psycopg.IntegrityError, match=BROKEN):
            saver.put_together(saves[1:])  # not the first of them alone, either
        assert list(saver.list(at("t"))) == []


def test_a_save_of_a_connection_in_pipeline_mode_fails_as_well(postgres: str) -> None:
    with PostgresSaver.from_conn_string(postgres) as saver:
        saver.setup()
    with PostgresSaver.from_conn_string(postgres, pipeline=True) as saver:
        made, metadata = delta(1)
        with pytest.raises(psycopg.IntegrityError, match=BROKEN):
            saver.put(at("t", checkpoint(n=0)["id"]), made, metadata, made["channel_versions"])
        assert saver.get_tuple(at("t")) is None
