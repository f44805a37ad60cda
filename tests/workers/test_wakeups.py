"""Signals: they wake those who wait, and nothing depends on them."""

from __future__ import annotations

import asyncio
import itertools
import random
import re
import threading
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stategraph.errors import AbortError, ConfigurationError
from stategraph.workers import eventlog
from stategraph.workers.holding import hold
from stategraph.workers.leases import LeaseSettings
from stategraph.workers.naming import LONGEST_TOKEN, token
from stategraph.workers.nats.address import read_address
from stategraph.workers.nats.connection import NatsUnavailableError
from stategraph.workers.registry.runs import RunRegistry
from stategraph.workers.wakeups import bus as buses
from stategraph.workers.wakeups import nats as nats_bus
from stategraph.workers.wakeups import postgres as postgres_bus
from stategraph.workers.wakeups.bus import ConnectedBus, Polling
from stategraph.workers.wakeups.buses import open_bus
from stategraph.workers.wakeups.signals import Signal, SignalKind, Topic
from stategraph.workers.wakeups.sqlite import SqliteBus
from stategraph.workers.worker import Worker, WorkerSettings
from tests.workers import app, nats_server
from tests.workers.savers import async_saver
from tests.workers.waiting import until

LIMIT_S = 60

#: So long that nothing in these tests happens by looking alone.
NEVER_S = 10_000.0

NEVER = LeaseSettings(lease_s=3 * NEVER_S, heartbeat_s=NEVER_S)

pytestmark = pytest.mark.anyio


class Site:
    """A registry on whose bus everything depends, and a worker that looks for nothing by itself."""

    def __init__(self, url: str, address: str | None) -> None:
        self.url = url
        self.address = address
        self.registry = self.another()

    def another(self) -> RunRegistry:
        """The registry of another process."""
        return RunRegistry.from_url(self.url, settings=NEVER, bus=self.address)

    async def submit(self, graph: str, thread: str = "t", **options: Any) -> str:
        return await self.registry.submit(thread, {"done": []}, target=f"tests.workers.app:{graph}", **options)

    async def told(self, run_id: str, registry: RunRegistry | None = None) -> list[str]:
        with anyio.fail_after(LIMIT_S):
            return [event.type async for event in eventlog.attach(registry or self.registry, run_id)]


@pytest.fixture(params=["postgres", "postgres and nats", "sqlite and nats"])
async def site(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    monkeypatch.setattr(eventlog, "LIVE_LOOK_S", NEVER_S)
    database, _, other = request.param.partition(" and ")
    url = request.getfixturevalue("postgres") if database == "postgres" else f"sqlite:///{tmp_path}/runs.db"
    made = Site(url, request.getfixturevalue("nats_url") if other else None)
    app.gates = {"waits": asyncio.Event(), "go": asyncio.Event()}
    await made.registry.set_up()
    yield made
    await made.registry.aclose()


@pytest.fixture
async def worker(site: Site) -> AsyncIterator[Worker]:
    """A worker that has looked once, in vain, and hears signals."""
    registry = site.another()
    async with async_saver(site.url) as saver, anyio.create_task_group() as group:
        made = Worker(registry, saver, WorkerSettings(allow=["tests.workers"], poll_s=NEVER_S, capacity=1))
        group.start_soon(made.run)
        await until(lambda: registry.bus.is_live)
        yield made
        made.drain()
        app.gates["go"].set()
    await registry.aclose()


async def test_a_submission_wakes_a_worker_and_its_events_a_reader(site: Site, worker: Worker) -> None:
    for number in range(3):
        run_id = await site.submit("steps", f"t{number}")

        told = await site.told(run_id)
        assert told[0] == "run.attempt" and told[-1] == "run.end" and told.count("updates") == 3


async def test_a_cancel_reaches_a_running_run_at_once(site: Site, worker: Worker) -> None:
    run_id = await site.submit("holding")
    await until(app.gates["waits"].is_set)

    assert await site.registry.cancel(run_id, "enough")

    assert (await site.told(run_id))[-1] == "run.end"
    assert (await site.registry.get(run_id)).status == "cancelled"


async def test_a_cancel_reaches_a_process_that_holds_a_thread_at_once(site: Site) -> None:
    held = anyio.Event()

    async def block() -> None:
        with pytest.raises(AbortError, match="enough"):
            async with hold(site.registry, "t"):
                held.set()
                await anyio.sleep(NEVER_S)

    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as group:
            group.start_soon(block)
            await held.wait()
            (run,) = await site.registry.list(thread_id="t")
            await until(lambda: site.registry.bus.is_live)
            await site.registry.cancel(run.run_id, "enough")


async def test_an_answer_and_new_attempts_wake_a_worker(site: Site, worker: Worker) -> None:
    first = await site.submit("asking")
    await site.told(first)

    second = await site.registry.resume(first, "yes")

    assert (await site.told(second))[-1] == "run.end"
    assert (await site.registry.get(second)).status == "success"


async def test_a_server_that_allows_no_signals_is_noted_as_the_last_error(tmp_path: Path) -> None:
    (tmp_path / "server.conf").write_text(
        'authorization { users = [ { user: me, password: x, permissions: { subscribe: "_INBOX.>" } } ] }\n'
    )
    with nats_server.serving("-c", str(tmp_path / "server.conf")) as server:
        bus = open_bus(server.url.replace("//", "//me:x@"), "sqlite:///x")
        try:
            with bus.watch([(SignalKind.WORK, "default")]):
                await until(lambda: bus.health().last_error is not None)
                assert re.search(r"does not allow this process .*permissions violation", bus.health().last_error or "")
                await until(lambda: not bus.is_live)
        finally:
            await anyio.to_thread.run_sync(bus.close)


async def test_a_worker_that_is_full_passes_the_signal_on(site: Site, worker: Worker) -> None:
    await site.submit("holding", "a")
    await until(app.gates["waits"].is_set)

    waiting = await site.submit("steps", "b")
    async with async_saver(site.url) as saver, anyio.create_task_group() as group:
        registry = site.another()
        other = Worker(registry, saver, WorkerSettings(allow=["tests.workers"], poll_s=NEVER_S))
        group.start_soon(other.run)
        assert (await site.told(waiting))[-1] == "run.end"
        third = await site.submit("steps", "c")
        assert (await site.told(third))[-1] == "run.end"
        other.drain()
    await registry.aclose()


async def test_submissions_of_one_moment_wake_as_many_workers(site: Site) -> None:
    registries = [site.another() for _ in range(4)]
    async with async_saver(site.url) as saver, anyio.create_task_group() as group:
        workers = [
            Worker(each, saver, WorkerSettings(allow=["tests.workers"], poll_s=NEVER_S, capacity=1))
            for each in registries
        ]
        for each in workers:
            group.start_soon(each.run)
        await until(lambda: all(each.bus.is_live for each in registries))
        await anyio.sleep(0.2)  # until they wait
        await asyncio.gather(*(site.submit("holding", str(number)) for number in range(4)))
        await until(lambda: all(each.health().busy for each in workers))
        app.gates["go"].set()
        for each in workers:
            each.drain()
    for each in registries:
        await each.aclose()


@pytest.mark.parametrize("site", ["postgres"], indirect=True)
async def test_a_connection_that_is_lost_is_made_again_and_who_waits_looks(
    site: Site, worker: Worker, postgres: str
) -> None:
    registry = site.another()
    run_id = await site.submit("holding")
    await until(app.gates["waits"].is_set)
    reader: list[str] = []

    async def read() -> None:
        reader.extend(await site.told(run_id, registry))

    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as group:
            group.start_soon(read)
            await until(lambda: registry.bus.is_live)
            await anyio.to_thread.run_sync(cut_off, postgres)
            await until(lambda: registry.bus.health().last_error is not None)
            app.gates["go"].set()
    assert reader[-1] == "run.end"
    await until(lambda: worker.health().bus.is_live)
    assert (await site.told(await site.submit("steps", "after")))[-1] == "run.end"
    await registry.aclose()


async def test_while_the_nats_server_is_away_runs_are_found_by_looking(tmp_path: Path) -> None:
    app.gates = {"waits": asyncio.Event(), "go": asyncio.Event()}
    with nats_server.serving() as server:
        registry = RunRegistry.from_url(
            f"sqlite:///{tmp_path}/runs.db", bus=server.url, settings=LeaseSettings(lease_s=5.0, heartbeat_s=0.05)
        )
        async with async_saver(f"sqlite:///{tmp_path}/runs.db") as saver, anyio.create_task_group() as group:
            made = Worker(registry, saver, WorkerSettings(allow=["tests.workers"], poll_s=0.05))
            group.start_soon(made.run)
            await until(lambda: registry.bus.is_live)
            await anyio.to_thread.run_sync(server.stop)
            await until(lambda: not registry.bus.is_live)
            run_id = await registry.submit("t", {"done": []}, target="tests.workers.app:holding")
            await until(app.gates["waits"].is_set)
            await registry.cancel(run_id, "enough")
            with anyio.fail_after(LIMIT_S):
                told = [event.type async for event in eventlog.attach(registry, run_id)]
            assert told[-1] == "run.end"
            assert "was lost" in str(made.health().bus.last_error) or "refused" in str(made.health().bus.last_error)

            await anyio.to_thread.run_sync(server.start)
            await until(lambda: registry.bus.is_live)
            made.drain()
        await registry.aclose()


async def test_a_signal_over_nats_wakes_one_of_those_who_wait_for_work(nats_url: str) -> None:
    one, two, teller = (open_bus(nats_url, "sqlite:///x") for _ in range(3))
    work, run = (SignalKind.WORK, "a queue.>*"), (SignalKind.EVENTS, "run")
    with one.watch([work]) as first, two.watch([work]) as second, one.watch([run]) as left, two.watch([run]) as right:
        everyone = (first, second, left, right)
        for each in everyone:  # of the connection, and of the subscription
            await each.wait(LIMIT_S)
            await each.wait(1.0)
        teller.publish([Signal(*work, tenant="a.b>*"), Signal(*run)])
        await until(lambda: left.is_due and right.is_due and (first.is_due or second.is_due))
        await anyio.sleep(0.05)
        assert first.is_due is not second.is_due
        for each in everyone:
            await each.wait(0.0)
    for bus in (one, two, teller):
        await anyio.to_thread.run_sync(bus.close)


@pytest.mark.parametrize("act", ["listen", "send"])
async def test_a_nats_connection_that_closes_while_it_is_used_was_lost(nats_url: str, act: str) -> None:
    connection = nats_bus.NatsConnection(read_address(nats_url), print)
    await connection.open()
    assert connection._client is not None
    await connection._client.close()

    with pytest.raises(NatsUnavailableError, match=r"The connection to the NATS server at nats://\S+ was lost"):
        await (connection.listen([events("a").topic]) if act == "listen" else connection.send([events("a")]))


def cut_off(address: str) -> None:
    import psycopg

    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'stategraph bus' AND datname = current_database()"
        )


async def test_a_bus_that_hears_nothing_is_not_live_and_says_why(
    postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As behind a pooler that gives every transaction another connection.
    channels = itertools.count()
    monkeypatch.setattr(postgres_bus, "_ANSWER_S", 0.05)
    monkeypatch.setattr(postgres_bus, "_own_channel", lambda own: f"stategraph_{next(channels)}")
    registry = RunRegistry.from_url(postgres)
    await registry.submit("t", None, target="tests.workers.app:steps")
    await until(lambda: registry.bus.health().last_error is not None)

    assert not registry.bus.is_live
    assert "a pooler such as PgBouncer" in str(registry.bus.health().last_error)
    await registry.aclose()


async def test_without_a_bus_everything_is_found_by_looking(tmp_path: Any) -> None:
    registry = RunRegistry.from_url(f"sqlite:///{tmp_path}/runs.db")

    assert registry.bus.health() == buses.BusHealth("polling", is_live=False, last_error=None)
    assert isinstance(open_bus("polling", "postgresql://host/database"), Polling)


def test_the_address_of_a_bus_is_checked_and_not_shown() -> None:
    with pytest.raises(ConfigurationError, match=r"scheme 'redis'; expected 'nats://...', 'polling'") as caught:
        open_bus("redis://:secret@host", "sqlite:///runs.db")
    assert "secret" not in str(caught.value)


# The front, on a connection without a server.


class Server:
    """Carries signals between the buses of a test; may be away."""

    def __init__(self) -> None:
        self.connections: list[Connected] = []
        self.sent: list[list[Signal]] = []
        self.is_away = False
        self.refused = 0
        self.tries = 0

    def bus(self) -> ConnectedBus:
        return ConnectedBus("test", lambda heard: Connected(self, heard))

    def lose(self) -> None:
        for each in list(self.connections):
            each.loop.call_soon_threadsafe(each.gone.set)


class Connected:
    def __init__(self, server: Server, heard: Callable[[Topic], None]) -> None:
        self.server = server
        self.heard = heard
        self.topics: Collection[Topic] = ()
        self.loop = asyncio.get_running_loop()
        self.gone = asyncio.Event()

    async def open(self) -> None:
        self.server.tries += 1
        if self.server.is_away:
            raise ConnectionError("nobody there")
        self.server.connections.append(self)

    async def listen(self, topics: Collection[Topic]) -> None:
        if self.server.refused:
            self.server.refused -= 1
            raise ConnectionError("gone meanwhile")
        self.topics = topics

    async def send(self, signals: Sequence[Signal]) -> None:
        if self.server.is_away:
            raise ConnectionError("nobody there")
        self.server.sent.append(list(signals))
        for each in self.server.connections:
            for signal in signals:
                if signal.topic in each.topics:
                    each.heard(signal.topic)

    async def lost(self) -> None:
        await self.gone.wait()
        raise ConnectionError("gone")

    async def close(self) -> None:
        if self in self.server.connections:
            self.server.connections.remove(self)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buses, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(buses, "LONGEST_PAUSE_S", 0.01)


def events(run_id: str) -> Signal:
    return Signal(SignalKind.EVENTS, run_id)


async def woken(wakes: buses.Wakes) -> None:
    with anyio.fail_after(LIMIT_S):
        await wakes.wait(NEVER_S)


async def test_nothing_is_opened_before_it_is_used_and_nothing_stays_open() -> None:
    server = Server()
    bus = server.bus()
    assert server.tries == 0 and not bus.is_live

    bus.publish([events("a")])
    bus.close()

    assert server.sent == [[events("a")]]
    assert server.connections == []
    assert not any("test bus" in thread.name for thread in threading.enumerate())
    bus.publish([events("b")])  # after its end: dropped


async def test_signals_that_come_together_are_sent_together_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buses, "PAUSE_S", 0.2)
    server = Server()
    bus = server.bus()
    bus.publish([events("first")])
    await until(lambda: bool(server.sent))
    for _ in range(500):
        bus.publish([events("a"), events("b")])
    bus.close()

    assert server.sent == [[events("first")], [events("a"), events("b")]]


async def test_only_watchers_of_a_topic_hear_it() -> None:
    server = Server()
    one, two = server.bus(), server.bus()
    with one.watch([events("a").topic]) as heard, one.watch([events("b").topic]) as other:
        await woken(heard)  # of the connection
        await woken(other)
        await until(lambda: bool(server.connections and server.connections[0].topics))
        await heard.wait(0.05)  # of the subscription
        await other.wait(0.05)
        two.publish([events("a")])

        await woken(heard)
        assert not other.is_due
    await anyio.to_thread.run_sync(one.close)
    await anyio.to_thread.run_sync(two.close)


async def test_waiters_are_woken_when_the_connection_is_lost_and_when_it_is_back(quick: None) -> None:
    server = Server()
    bus = server.bus()
    with bus.watch([events("a").topic]) as wakes:
        await until(lambda: bus.is_live)
        server.is_away = True
        server.lose()
        await until(lambda: not bus.is_live)
        await woken(wakes)
        assert bus.health().last_error in ("ConnectionError: gone", "ConnectionError: nobody there")
        await until(lambda: server.tries >= 3)

        server.is_away = False
        await until(lambda: bus.is_live)
        await woken(wakes)
    await anyio.to_thread.run_sync(bus.close)


async def test_signals_wait_for_a_connection_within_a_limit(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buses, "MOST_PENDING", 3)
    server = Server()
    server.is_away = True
    bus = server.bus()
    bus.publish(events(str(number)) for number in range(5))
    await until(lambda: server.tries >= 2)
    server.is_away = False
    await until(lambda: bool(server.sent))

    assert server.sent == [[events("0"), events("1"), events("2")]]
    await anyio.to_thread.run_sync(bus.close)


async def test_signals_are_kept_when_the_connection_is_lost_before_it_hears(quick: None) -> None:
    server = Server()
    server.is_away, server.refused = True, 1
    bus = server.bus()
    with bus.watch([events("a").topic]):
        bus.publish([events("b")])
        server.is_away = False
        await until(lambda: bool(server.sent))

    assert server.refused == 0
    assert server.sent == [[events("b")]]
    await anyio.to_thread.run_sync(bus.close)


async def test_a_bus_whose_server_never_answers_can_be_closed(quick: None) -> None:
    server = Server()
    server.is_away = True
    bus = server.bus()
    bus.publish([events("a")])
    await until(lambda: server.tries >= 1)

    await anyio.to_thread.run_sync(bus.close)

    assert not any("test bus" in thread.name for thread in threading.enumerate())


@pytest.mark.parametrize("kind", SignalKind)
async def test_work_that_was_signalled_to_a_waiter_that_left_is_signalled_again(kind: SignalKind) -> None:
    server = Server()
    bus, teller = server.bus(), server.bus()
    for has_looked in (True, False):
        with bus.watch([(kind, "name")]) as wakes:
            await until(lambda: any(each.topics for each in server.connections))
            await wakes.wait(0.05)  # of the connection, and of the subscription: nobody was told in another's place
            await wakes.wait(0.05)
            teller.publish([Signal(kind, "name")])
            await until(lambda: wakes.is_due)
            if has_looked:
                await woken(wakes)
    await anyio.to_thread.run_sync(bus.close)
    await anyio.to_thread.run_sync(teller.close)

    again = [Signal(SignalKind.WORK, "name")] if kind is SignalKind.WORK else []
    assert [each for batch in server.sent for each in batch] == [Signal(kind, "name")] * 2 + again


@given(st.text(), st.text())
def test_names_are_written_safely_and_stay_different(one: str, two: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_=-]+", token(one)) and len(token(one)) <= LONGEST_TOKEN
    assert (token(one) == token(two)) == (one == two)


def test_long_names_stay_different() -> None:
    assert len({token("x" * 500), token("x" * 501), token("é" * 300), token("é" * 301)}) == 4


def test_a_bus_that_tries_to_connect_leaves_the_programs_random_numbers_alone() -> None:
    tried = threading.Semaphore(0)

    class Refusing:
        async def open(self) -> None:
            tried.release()
            raise ConnectionError("refused")

        async def close(self) -> None:
            pass

    before = random.getstate()
    bus = ConnectedBus("test", lambda heard: Refusing())  # type: ignore[arg-type,return-value]
    bus.publish([Signal(SignalKind.WORK, "default")])
    for _ in range(2):
        assert tried.acquire(timeout=30)
    assert random.getstate() == before
    bus.close()


async def test_a_file_tells_what_other_connections_do(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    other = RunRegistry.from_url(url)
    await other.set_up()
    bus = SqliteBus(str(tmp_path / "runs.db"))
    try:
        with bus.watch([(SignalKind.WORK, "default")]) as work, bus.watch([(SignalKind.STOP, "owner")]) as stop:
            with anyio.fail_after(LIMIT_S):
                await work.wait(NEVER_S)  # the bus has begun to look
                run_id = await other.submit("t", {}, target="a:b")
                await work.wait(NEVER_S)
                with bus.watch([(SignalKind.EVENTS, run_id)]) as events:
                    claimed = await other.claim("owner")
                    assert claimed is not None
                    await events.wait(NEVER_S)
                    stop.owes_look = False
                    await other.cancel(run_id)
                    await stop.wait(NEVER_S)
                    await other.finish(claimed.lease, "success")
                    await other.erase_thread("t")  # numbers of rows are given again
                    await events.wait(NEVER_S)
            assert bus.is_live
    finally:
        bus.close()
        await other.aclose()
