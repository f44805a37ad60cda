"""Fenced savers: the contract of savers, and that nobody writes who has lost the thread."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from operator import add
from pathlib import Path
from typing import Annotated, Any, TypedDict

import anyio
import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver, empty_checkpoint
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import START, StateGraph
from stategraph.errors import ConfigurationError
from stategraph.workers.fencing.guard import Guard
from stategraph.workers.fencing.saver import FencedSaver
from stategraph.workers.holding import hold
from stategraph.workers.leases import LeaseLost
from stategraph.workers.registry.databases import open_database
from stategraph.workers.registry.operations import RegistryOperations
from stategraph.workers.registry.runs import RunRegistry
from stategraph.workers.registry.values import Claimed, Event, Lease, Submission
from tests.workers.savers import OWN, async_saver, sync_saver

LEASE_S = 15.0


class State(TypedDict):
    done: Annotated[list[str], add]


@pytest.fixture(params=["sqlite", "own", "postgres", "own postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database, and by its name also whose savers are used on it."""
    if request.param.endswith("postgres"):
        address: str = request.getfixturevalue("postgres")
        return address + OWN if request.param.startswith("own") else address
    return f"sqlite:///{tmp_path / ('own.db' if request.param == 'own' else 'runs.db')}"


@contextmanager
def store_of(url: str) -> Iterator[RegistryOperations]:
    store = RegistryOperations(open_database(url))
    store.set_up()
    try:
        yield store
    finally:
        store.database.close()


def claim(store: RegistryOperations, thread: str = "t") -> Claimed:
    store.submit(Submission(thread, "app:graph"), "enqueue")
    found = store.claim("a", "default", LEASE_S)
    assert found is not None
    return found


def take_over(store: RegistryOperations) -> Claimed:
    """Let the lease run out, and claim the run as another worker."""
    with store.database.transaction() as session:
        session.change("UPDATE sg_run SET lease_until = 0")
    found = store.claim("b", "default", LEASE_S)
    assert found is not None
    return found


def place(thread: str = "t", checkpoint_id: str | None = None) -> Any:
    return {"configurable": {"thread_id": thread, "checkpoint_ns": "", "checkpoint_id": checkpoint_id}}


def wrap(saver: Any, claimed: Claimed, **options: Any) -> FencedSaver:
    return FencedSaver(saver, Guard(claimed.lease, attempt=claimed.attempt, began=claimed.began, **options))


# The contract of savers.


class OnAnyThread(Guard):
    """A guard for tests that write to threads of their own: it leases every thread that comes along."""

    def __init__(self, store: RegistryOperations) -> None:
        super().__init__(Lease("r", "", 1, "a"), began=True)
        self._store = store
        self._leases: dict[str, Lease] = {}

    def lease_of(self, thread_id: str) -> Lease:
        if thread_id not in self._leases:
            self._store.submit(Submission(thread_id, "app:graph"), "enqueue")
            found = self._store.claim("a", "default", LEASE_S)
            assert found is not None
            self._leases[thread_id] = found.lease
        return self._leases[thread_id]


class InThreads(FencedSaver):
    """The sync methods of a fenced saver, called as the suite calls savers."""

    async def aget_tuple(self, config: Any) -> Any:
        return await anyio.to_thread.run_sync(self.get_tuple, config)

    async def alist(self, *args: Any, **options: Any) -> AsyncIterator[Any]:
        for found in await anyio.to_thread.run_sync(lambda: list(self.list(*args, **options))):
            yield found

    async def aput(self, *args: Any) -> Any:
        return await anyio.to_thread.run_sync(self.put, *args)

    async def aput_writes(self, *args: Any, **options: Any) -> None:
        await anyio.to_thread.run_sync(lambda: self.put_writes(*args, **options))

    async def adelete_thread(self, thread_id: str) -> None:
        await anyio.to_thread.run_sync(self.delete_thread, thread_id)


@asynccontextmanager
async def opened(kind: str, url: str) -> AsyncIterator[tuple[BaseCheckpointSaver[Any], type[FencedSaver]]]:
    if kind == "memory":
        yield InMemorySaver(), FencedSaver
    elif kind == "sync":
        with sync_saver(url) as saver:
            yield saver, InThreads
    else:
        async with async_saver(url, pool=kind == "pool") as saver:
            yield saver, FencedSaver


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["memory", "sync", "async", "pool"])
async def test_a_fenced_saver_keeps_the_contract_of_savers(url: str, kind: str) -> None:
    with store_of(url) as store:

        @checkpointer_test(name=kind)
        async def fenced() -> AsyncIterator[FencedSaver]:
            async with opened(kind, url) as (saver, wrapper):
                yield wrapper(saver, OnAnyThread(store), store.database)

        report = await validate(fenced)
    failed = {name: found.failures for name, found in report.results.items() if found.failures}
    assert failed == {}
    assert report.passed_all_base()
    # Every base capability was looked at.
    assert sum(found.tests_passed for found in report.results.values()) >= 58


# Who has lost the thread.


def test_whoever_lost_the_thread_writes_nothing(url: str) -> None:
    with store_of(url) as store, sync_saver(url) as saver:
        old = claim(store)
        stale = wrap(saver, old)
        first = empty_checkpoint()
        stale.put(place(), first, {}, {})
        fresh = wrap(saver, take_over(store))
        with pytest.raises(LeaseLost, match=r"another worker claimed it after token 1\. Nothing was written"):
            stale.put(place(checkpoint_id=first["id"]), empty_checkpoint(), {}, {})
        with pytest.raises(LeaseLost):
            stale.put_writes(place(checkpoint_id=first["id"]), [("done", ["stale"])], "task")
        with pytest.raises(LeaseLost):
            stale.delete_thread("t")
        fresh.put_writes(place(checkpoint_id=first["id"]), [("done", ["fresh"])], "task")
        found = saver.get_tuple(place())
        assert found.checkpoint["id"] == first["id"]
        assert [value for _, _, value in found.pending_writes] == [["fresh"]]
        assert len(list(saver.list(place()))) == 1


@pytest.mark.anyio
@pytest.mark.parametrize("pool", [False, True])
async def test_whoever_lost_the_thread_writes_nothing_in_a_loop_either(url: str, pool: bool) -> None:
    with store_of(url) as store:
        async with async_saver(url, pool=pool) as saver:
            stale = wrap(saver, claim(store))
            first = empty_checkpoint()
            await stale.aput(place(), first, {}, {})
            fresh = wrap(saver, take_over(store))
            with pytest.raises(LeaseLost):
                await stale.aput(place(checkpoint_id=first["id"]), empty_checkpoint(), {}, {})
            with pytest.raises(LeaseLost):
                await stale.aput_writes(place(checkpoint_id=first["id"]), [("done", ["stale"])], "task")
            with pytest.raises(LeaseLost):
                await stale.adelete_thread("t")
            await fresh.aput_writes(place(checkpoint_id=first["id"]), [("done", ["fresh"])], "task")
            found = await saver.aget_tuple(place())
            assert found.checkpoint["id"] == first["id"]
            assert [value for _, _, value in found.pending_writes] == [["fresh"]]
            # From a thread, as sync nodes read their graphs' state.
            assert (await anyio.to_thread.run_sync(fresh.get_tuple, place())).checkpoint["id"] == first["id"]
            await anyio.to_thread.run_sync(fresh.put, place(checkpoint_id=first["id"]), empty_checkpoint(), {}, {})


def test_another_run_of_the_thread_fences_the_one_before_it(url: str) -> None:
    with store_of(url) as store, sync_saver(url) as saver:
        old = claim(store)
        stale = wrap(saver, old)
        store.finish(old.lease, "success")  # type: ignore[arg-type]
        wrap(saver, claim(store)).put(place(), empty_checkpoint(), {}, {})
        with pytest.raises(LeaseLost):
            stale.put(place(), empty_checkpoint(), {}, {})


def test_a_claim_and_writes_that_race_never_leave_a_write_after_the_claim(url: str) -> None:
    """The stale attempt writes as fast as it can while another worker claims and then looks at what is there."""
    with store_of(url) as store, sync_saver(url) as saver, sync_saver(url) as other:
        stale, refused = wrap(saver, claim(store)), threading.Event()
        written: list[str] = []
        started = threading.Event()

        def write() -> None:
            try:
                while True:
                    checkpoint = empty_checkpoint()
                    stale.put(place(), checkpoint, {}, {})
                    written.append(checkpoint["id"])
                    started.set()
            except LeaseLost:
                refused.set()

        writer = threading.Thread(target=write)
        writer.start()
        assert started.wait(30)
        with store.database.transaction() as session:
            session.change("UPDATE sg_run SET lease_until = 0")
        found = None
        while found is None:  # a claim passes over a thread that is being written
            found = store.claim("b", "default", LEASE_S)
        seen = {each.checkpoint["id"] for each in other.list(place())}
        assert refused.wait(30)
        writer.join(30)
        assert {each.checkpoint["id"] for each in other.list(place())} == seen
        assert seen == set(written)


def test_the_first_write_notes_where_the_thread_stood(url: str) -> None:
    with store_of(url) as store, sync_saver(url) as saver:
        fenced = wrap(saver, claim(store))
        first, second = empty_checkpoint(), empty_checkpoint()
        fenced.put(place(checkpoint_id="before"), first, {}, {})
        fenced.put(place(checkpoint_id=first["id"]), second, {}, {})
        taken = take_over(store)
        assert taken.began
        with store.database.transaction() as session:
            assert session.execute("SELECT base_checkpoint FROM sg_run") == [("before",)]


def test_a_write_that_fails_leaves_nothing_behind_and_the_saver_usable(url: str) -> None:
    with store_of(url) as store, sync_saver(url) as saver:
        claimed = claim(store)
        outbox = Box()
        fenced = wrap(saver, claimed, outbox=outbox)
        outbox.events = [(2, Event("told", b"1"))]
        with pytest.raises(TypeError):
            fenced.put_writes(place(checkpoint_id="x"), [("done", 1), ("done", threading.Lock())], "task")
        assert len(store.events(claimed.lease.run_id, 0, 10)) == 1
        assert not take_over(store).began
        with pytest.raises(LeaseLost):
            fenced.put(place(), empty_checkpoint(), {}, {})
        assert list(saver.list(place())) == []


@pytest.mark.anyio
@pytest.mark.parametrize("pool", [False, True])
async def test_a_write_that_fails_in_a_loop_leaves_nothing_behind_either(url: str, pool: bool) -> None:
    with store_of(url) as store:
        async with async_saver(url, pool=pool) as saver:
            claimed, outbox = claim(store), Box()
            fenced = wrap(saver, claimed, outbox=outbox)
            outbox.events = [(2, Event("told", b"1"))]
            broken = {**empty_checkpoint(), "channel_values": {"done": [threading.Lock()]}}
            for _ in range(2):
                with pytest.raises(TypeError):
                    await fenced.aput_writes(place(checkpoint_id="x"), [("a", 1), ("b", threading.Lock())], "task")
                with pytest.raises(TypeError):
                    await fenced.aput(place(), broken, {}, {"done": "1"})  # type: ignore[arg-type]
            assert len(store.events(claimed.lease.run_id, 0, 10)) == 1
            assert [found async for found in saver.alist(place())] == []
            await fenced.aput(place(), empty_checkpoint(), {}, {})
            assert len(store.events(claimed.lease.run_id, 0, 10)) == 2
            assert take_over(store).began


class Box:
    def __init__(self) -> None:
        self.events: list[tuple[int, Event]] = []

    def waiting(self) -> list[tuple[int, Event]]:
        return self.events

    def stored(self, seq: int) -> None:
        self.events = [each for each in self.events if each[0] > seq]


def test_events_are_stored_with_the_write_that_follows_them(url: str) -> None:
    with store_of(url) as store, sync_saver(url) as saver:
        claimed, outbox = claim(store), Box()
        fenced = wrap(saver, claimed, outbox=outbox)
        outbox.events = [(2, Event("told", b"1")), (3, Event("told", b"2"))]
        fenced.put(place(), empty_checkpoint(), {}, {})
        assert outbox.events == []
        outbox.events = [(3, Event("told", b"2")), (4, Event("told", b"3"))]
        fenced.put(place(), empty_checkpoint(), {}, {})
        found = store.events(claimed.lease.run_id, 1, 10)
        assert [(seq, bytes(data or b"")) for seq, _, _, data in found] == [(2, b"1"), (3, b"2"), (4, b"3")]


# Graphs.


def graph_of(saver: Any, nodes: int = 3) -> Any:
    builder = StateGraph(State)
    previous = START
    for number in range(nodes):
        name = f"n{number}"
        builder.add_node(name, lambda state, name=name: {"done": [name]})
        builder.add_edge(previous, name)
        previous = name
    return builder.compile(checkpointer=saver)


def test_a_graph_runs_on_a_fenced_saver_unchanged(url: str) -> None:
    with store_of(url) as store, sync_saver(url) as saver:
        graph = graph_of(saver)
        fenced = graph.copy({"checkpointer": wrap(saver, claim(store))})
        for durability in ("sync", "async", "exit"):
            fenced.invoke({"done": [durability]}, place(), durability=durability)
        plain = graph_of(InMemorySaver())
        for durability in ("sync", "async", "exit"):
            plain.invoke({"done": [durability]}, place(), durability=durability)
        assert fenced.get_state(place()).values == plain.get_state(place()).values


@pytest.mark.anyio
async def test_a_run_that_loses_its_thread_ends_with_the_loss(url: str) -> None:
    with store_of(url) as store:
        async with async_saver(url) as saver:

            async def lose(state: State) -> Any:
                await anyio.to_thread.run_sync(take_over, store)
                return {"done": ["lost"]}

            builder = StateGraph(State)
            builder.add_node("lose", lose)
            builder.add_node("after", lambda state: {"done": ["after"]})
            builder.add_edge(START, "lose")
            builder.add_edge("lose", "after")
            graph = builder.compile(checkpointer=wrap(saver, claim(store)))
            with pytest.raises(LeaseLost):
                await graph.ainvoke({"done": []}, place(), durability="sync")
            state = await graph.aget_state(place())
            assert state.values == {"done": []}
            assert state.next == ("lose",)


def test_a_connection_that_is_a_pipeline_all_along_is_fenced_too(postgres: str) -> None:
    from langgraph.checkpoint.postgres import PostgresSaver

    with sync_saver(postgres):
        pass  # makes the tables, which a pipeline cannot
    with store_of(postgres) as store, PostgresSaver.from_conn_string(postgres, pipeline=True) as saver:
        stale = wrap(saver, claim(store))
        graph_of(stale).invoke({"done": []}, place())
        take_over(store)
        before = len(list(saver.list(place())))
        with pytest.raises(LeaseLost):
            stale.put(place(), empty_checkpoint(), {}, {})
        assert len(list(saver.list(place()))) == before == 5


def test_a_pool_is_fenced_too(postgres: str) -> None:
    with store_of(postgres) as store, sync_saver(postgres, pool=True) as saver:
        stale = wrap(saver, claim(store))
        assert graph_of(stale).invoke({"done": []}, place()) == {"done": ["n0", "n1", "n2"]}
        take_over(store)
        with pytest.raises(LeaseLost):
            stale.put(place(), empty_checkpoint(), {}, {})


def _is_free(store: RegistryOperations, thread_id: str, pid: int) -> bool:
    """Tell whether a server's process is there and has not locked the fence of a thread."""
    with store.database.transaction() as session:
        there = session.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", (pid,))
        fence = "SELECT 1 FROM sg_thread_fence WHERE thread_id = %s FOR UPDATE SKIP LOCKED"
        return bool(there and session.execute(fence, (thread_id,)))


def lose(store: RegistryOperations, claimed: Claimed) -> None:
    with store.database.transaction() as session:
        session.change("UPDATE sg_thread_fence SET token = token + 1 WHERE thread_id = %s", (claimed.lease.thread_id,))


@pytest.mark.parametrize("kind", ["connection", "pool", "pipeline"])
def test_statements_that_a_lost_lease_kept_from_being_prepared_are_prepared_later(postgres: str, kind: str) -> None:
    """psycopg takes the statement that it prepares at its sixth use for prepared, also if the server skipped it."""
    from langgraph.checkpoint.postgres import PostgresSaver
    from psycopg import Connection
    from psycopg.rows import dict_row
    from psycopg_pool import ConnectionPool

    with store_of(postgres) as store, sync_saver(postgres):
        for writes in (0, 4, 5, 6):
            with contextlib.ExitStack() as contexts:
                options: Any = {"autocommit": True, "row_factory": dict_row}
                pipe, connection = None, None
                if kind == "pool":
                    connection = contexts.enter_context(
                        ConnectionPool(postgres, min_size=1, max_size=1, kwargs=options)
                    )
                else:
                    connection = contexts.enter_context(Connection.connect(postgres, **options))
                if kind == "pipeline":
                    pipe = contexts.enter_context(connection.pipeline())
                saver = PostgresSaver(connection, pipe=pipe)
                claimed, further = claim(store, f"t{writes}"), claim(store, f"further{writes}")
                for _ in range(writes):
                    wrap(saver, claimed).put(place(f"t{writes}"), empty_checkpoint(), {}, {})
                lose(store, claimed)
                for _ in range(2):
                    with pytest.raises(LeaseLost):
                        wrap(saver, claimed).put(place(f"t{writes}"), empty_checkpoint(), {}, {})
                for _ in range(8):
                    wrap(saver, further).put(place(f"further{writes}"), empty_checkpoint(), {}, {})


@pytest.mark.anyio
async def test_statements_that_a_lost_lease_kept_from_being_prepared_are_prepared_later_in_a_loop(
    postgres: str,
) -> None:
    from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
    from psycopg import AsyncConnection
    from psycopg.rows import dict_row

    with store_of(postgres) as store, sync_saver(postgres):
        for writes in (0, 4, 5, 6):
            options: Any = {"autocommit": True, "row_factory": dict_row}
            async with await AsyncConnection.connect(postgres, **options) as connection:
                saver = AsyncPostgresSaver(connection)
                claimed, further = claim(store, f"t{writes}"), claim(store, f"further{writes}")
                for _ in range(writes):
                    await wrap(saver, claimed).aput(place(f"t{writes}"), empty_checkpoint(), {}, {})
                lose(store, claimed)
                for _ in range(2):
                    with pytest.raises(LeaseLost):
                        await wrap(saver, claimed).aput(place(f"t{writes}"), empty_checkpoint(), {}, {})
                for _ in range(8):
                    await wrap(saver, further).aput(place(f"further{writes}"), empty_checkpoint(), {}, {})


def test_a_client_that_stalls_in_a_write_is_cut_off_and_the_thread_can_be_claimed(postgres: str) -> None:
    import psycopg

    from stategraph.workers.registry import sql

    with store_of(postgres) as store, sync_saver(postgres) as saver:
        if saver.conn.info.server_version < 170000:
            pytest.skip("this PostgreSQL has no transaction_timeout")
        with store.database.transaction() as session:
            session.change(
                sql._CHECK_LEASE.replace("CREATE", "CREATE OR REPLACE").replace(f"'{sql.STALL_MS}'", "'200'")
            )
        claimed = claim(store)
        with store.database.transaction() as session:
            session.change("UPDATE sg_run SET lease_until = 0")
        with pytest.raises(psycopg.OperationalError), saver.conn.pipeline():
            saver.conn.execute("SELECT sg_check_lease(%s, %s)", (claimed.lease.thread_id, claimed.lease.token))
            while _is_free(store, claimed.lease.thread_id, saver.conn.info.backend_pid):  # the check is on its way
                pass
            taken = store.claim("b", "default", LEASE_S)
            while taken is None:  # until the server loses its patience
                taken = store.claim("b", "default", LEASE_S)
            saver.conn.execute("SELECT 1")
        assert taken.lease.token == 2


# Mistakes.


def test_what_cannot_be_fenced_is_refused_with_the_reason(tmp_path: Any) -> None:
    class Elsewhere(InMemorySaver):
        conn = None

    lease = Lease("r", "t", 1, "a")
    with pytest.raises(ConfigurationError, match=r"FencedSaver\(saver, guard, database\)"):
        FencedSaver(InMemorySaver(), Guard(lease))
    with pytest.raises(ConfigurationError, match="BaseCheckpointSaver cannot be fenced: a write and the check"):
        FencedSaver(BaseCheckpointSaver(), Guard(lease))
    connection = sqlite3.connect(tmp_path / "other.db", check_same_thread=False)
    from langgraph.checkpoint.sqlite import SqliteSaver

    fenced = FencedSaver(SqliteSaver(connection), Guard(lease))
    with pytest.raises(sqlite3.OperationalError) as failed:
        fenced.put(place(), empty_checkpoint(), {}, {})
    assert failed.value.__notes__ == ["The saver's database has no registry: open both on the same one"]
    with pytest.raises(ConfigurationError, match="has the lease of thread 't' and writes to thread 'u'"):
        fenced.put(place("u"), empty_checkpoint(), {}, {})
    connection.close()


@pytest.mark.anyio
async def test_a_saver_that_is_known_to_be_on_another_database_is_refused_at_once(tmp_path: Any) -> None:
    path = f"sqlite:///{tmp_path / 'runs.db'}"
    registry, in_memory = RunRegistry.from_url(path), RunRegistry.from_url("sqlite:///:memory:")

    async def refusal(registry: RunRegistry, saver: Any) -> str:
        async with hold(registry, "t") as held:
            try:
                held.fence(saver)
            except ConfigurationError as error:
                return str(error)
            return "none"

    with sync_saver(path) as same, sync_saver(f"sqlite:///{tmp_path / 'other.db'}") as other:
        assert await refusal(registry, same) == "none"
        said = await refusal(registry, other)
        assert "on another database than the registry: the saver's file is" in said and "other.db'" in said
        assert "the registry is in memory" in await refusal(in_memory, same)
    with sync_saver("sqlite:///:memory:") as other:
        assert "the saver's file is ':memory:'" in await refusal(registry, other)
    assert await refusal(registry, InMemorySaver()) == "none"
    await registry.aclose()
    await in_memory.aclose()


@pytest.mark.anyio
async def test_a_saver_of_another_kind_than_the_registry_is_refused_at_once(tmp_path: Any, postgres: str) -> None:
    registry = RunRegistry.from_url(f"sqlite:///{tmp_path / 'runs.db'}")
    async with async_saver(postgres) as saver, hold(registry, "t") as held:
        with pytest.raises(
            ConfigurationError, match="the saver is an object of AsyncPostgresSaver, the registry in sqlite"
        ):
            held.fence(saver)
    await registry.aclose()


def test_a_saver_without_async_methods_says_so_as_it_does_itself(tmp_path: Any) -> None:
    with sync_saver(f"sqlite:///{tmp_path / 'x.db'}") as saver:
        fenced = FencedSaver(saver, Guard(Lease("r", "t", 1, "a")))
        with pytest.raises(NotImplementedError, match="does not support async methods"):
            asyncio.run(fenced.aput(place(), empty_checkpoint(), {}, {}))
