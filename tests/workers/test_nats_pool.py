"""Jobs on nodes over NATS: nodes that are killed or stalled, servers that go away, what is on the server already."""

from __future__ import annotations

import asyncio
import itertools
import random
import shutil
import signal
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.to_thread
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stategraph.errors import AbortError, ConfigurationError, TransferError, WorkerError
from stategraph.workers.cluster import node as nodes
from stategraph.workers.cluster import pool as pools
from stategraph.workers.cluster import queue as queues
from stategraph.workers.cluster.channel import Channel, Frame
from stategraph.workers.cluster.node import NodeSettings
from stategraph.workers.cluster.pool import ClusterSettings, NatsPool
from stategraph.workers.cluster.serving import node_at
from stategraph.workers.nats.address import read_address
from stategraph.workers.nats.connection import NatsUnavailableError, connect
from stategraph.workers.thread import ThreadPool
from stategraph.workers.wire import pack
from tests.workers.contract import Gate, first, job, read
from tests.workers.nats_server import serving
from tests.workers.node_process import ACK_WAIT_S, LIMIT_S, node_process
from tests.workers.waiting import until

pytestmark = pytest.mark.anyio


def host(url: str, workers: int = 0, *, local: Any = "thread", **settings: Any) -> NatsPool:
    """A pool, with workers in threads of this process if it has any."""
    chosen = ClusterSettings(**{"ack_wait_s": ACK_WAIT_S, "local": local, **settings})
    return NatsPool(url, workers, allow=["tests.workers"], settings=chosen, grace_s=1.0)


async def told(handle: Any) -> list[tuple[str, Any]]:
    """All events of a job, whose numbers have no holes."""
    with anyio.fail_after(LIMIT_S):
        events = await read(handle)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    return [(event.event, event.data) for event in events]


async def came(gate: Gate) -> None:
    with anyio.fail_after(LIMIT_S):
        await gate.came.acquire()


async def result(handle: Any) -> Any:
    with anyio.fail_after(LIMIT_S):
        return await handle.result()


async def eventually(ask: Callable[[], Awaitable[Any]]) -> Any:
    """Ask the server until the answer is true."""
    with anyio.fail_after(LIMIT_S):
        for _ in itertools.count():
            if answer := await ask():
                return answer
            await anyio.sleep(0.02)
    raise AssertionError  # not reached


async def size(pool: NatsPool, stream: str) -> tuple[int, int]:
    """The messages and bytes of a stream."""
    state = (await pool.session.jetstream(lambda js: js.stream_info(stream))).state
    return state.messages, state.bytes


async def assert_nothing_is_left(pool: NatsPool) -> None:
    """No job is in the queue any more, and none is dead."""

    async def is_empty() -> bool:
        return (await size(pool, pool.queue._jobs))[0] == 0

    await eventually(is_empty)
    assert await pool.dead_letters() == []


# Nodes.


async def test_a_node_that_is_killed_loses_no_job_and_no_event(nats_url: str) -> None:
    gate = Gate()
    async with host(nats_url) as pool, node_process(nats_url) as doomed:
        handle = await pool.submit(job("waits_for_the_host", "x"), calls=gate.calls)
        reading = asyncio.ensure_future(told(handle))
        await came(gate)
        waiting = await pool.submit(job("double", 4, id="waiting"))

        doomed.signal(signal.SIGKILL)
        async with node_process(nats_url):
            await came(gate)
            gate.opened.set()

            assert await result(handle) == "x"
            assert await result(waiting) == 8
            await assert_nothing_is_left(pool)
        events = await reading
        assert [name for name, _ in events] == ["begun", "run.attempt", "begun", "on_run_end"]
        assert events[1][1]["attempt"] == 2 and "was lost while it held job 'job'" in events[1][1]["reason"]
        assert gate.order == ["x", "x"]
        assert (await pool.health()).restarts == 1


async def test_a_node_that_is_told_to_stop_ends_its_jobs_or_gives_them_back(nats_url: str) -> None:
    gate, long = Gate(), Gate()
    async with host(nats_url) as pool, node_process(nats_url, "--drain", "0.5") as leaving:
        kept = await pool.submit(job("waits_for_the_host", "kept"), calls=gate.calls)
        await came(gate)
        leaving.signal(signal.SIGTERM)
        gate.opened.set()
        assert await result(kept) == "kept"
        assert await leaving.end() == 0
        async with node_process(nats_url, "--drain", "0.2") as next_one:
            given_back = await pool.submit(job("waits_for_the_host", "back", id="back"), calls=long.calls)
            await came(long)
            next_one.signal(signal.SIGTERM)
            assert await next_one.end() == 0
            async with node_process(nats_url):
                await came(long)
                long.opened.set()
                assert await result(given_back) == "back"
                await assert_nothing_is_left(pool)
        assert [name for name, _ in await told(given_back)] == ["begun", "run.attempt", "begun", "on_run_end"]
        assert (await pool.health()).restarts == 0  # it was given back, not lost


async def test_a_node_that_stalls_past_its_time_is_not_heard_and_goes_on_with_other_jobs(nats_url: str) -> None:
    gate = Gate()
    async with host(nats_url) as pool, node_process(nats_url) as stalled:
        handle = await pool.submit(job("waits_for_the_host", "x"), calls=gate.calls)
        await came(gate)
        stalled.signal(signal.SIGSTOP)
        async with node_process(nats_url) as other:
            await came(gate)
            stalled.signal(signal.SIGCONT)
            await until(lambda: len(pool._seen) == 2)
            gate.opened.set()
            assert await result(handle) == "x"
            assert [name for name, _ in await told(handle)] == ["begun", "run.attempt", "begun", "on_run_end"]
            other.signal(signal.SIGTERM)
            await other.end()
        assert await result(await pool.submit(job("double", 3, id="after"))) == 6
        await assert_nothing_is_left(pool)


async def test_a_job_that_kills_its_workers_is_given_up_and_kept_as_a_dead_letter(nats_url: str) -> None:
    async with host(nats_url, 1, local="process", max_attempts=2) as pool:
        deadly = await pool.submit(job("is_killed", None, id="deadly"))
        with pytest.raises(WorkerError, match=r"'deadly' was given up: Worker 'process-\d' .*SIGKILL.*begun 2 times"):
            await result(deadly)

        assert await result(await pool.submit(job("double", 2, id="after"))) == 4
        letters = await eventually(pool.dead_letters)
        assert [(each.job_id, each.queue) for each in letters] == [("deadly", "default")]
        assert "SIGKILL" in letters[0].reason
        assert b"tests.workers.jobs:is_killed" in letters[0].job


async def test_the_job_of_a_host_that_is_gone_becomes_a_dead_letter(
    nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "ASK_S", 0.02)
    gone = host(nats_url)
    async with gone:
        await gone.submit(job("double", 1, id="orphan"))
        gone._jobs.clear()  # as if it were killed: nothing is withdrawn
    workers = ThreadPool(1, allow=["tests.workers"])
    settings = NodeSettings(host_s=0.1)
    async with host(nats_url) as pool, workers, node_at(nats_url, workers, settings, ack_wait_s=ACK_WAIT_S) as node:
        running = asyncio.ensure_future(node.run())
        letters = await eventually(pool.dead_letters)
        assert letters[0].job_id == "orphan" and "its host has not answered for 0.1 s" in letters[0].reason
        assert await result(await pool.submit(job("double", 2, id="after"))) == 4
        node.drain()
        await running


async def test_a_running_job_whose_host_is_gone_is_stopped_and_becomes_a_dead_letter(nats_url: str) -> None:
    workers, gone = ThreadPool(1, allow=["tests.workers"]), host(nats_url)
    settings = NodeSettings(host_s=0.5)
    async with host(nats_url) as pool, workers, node_at(nats_url, workers, settings, ack_wait_s=ACK_WAIT_S) as node:
        running = asyncio.ensure_future(node.run())
        async with gone:
            handle = await gone.submit(job("cleans_up", id="orphan"))
            await first(handle, "begun")
            await gone.session.aclose()  # as if it were killed

            letters = await eventually(pool.dead_letters)
            assert letters[0].job_id == "orphan" and "its host has not answered for 0.5 s" in letters[0].reason
            assert await result(await pool.submit(job("double", 2, id="after"))) == 4
        node.drain()
        await running


async def test_workers_come_and_go_while_jobs_are_done(nats_url: str) -> None:
    gate = Gate()
    async with host(nats_url) as pool:
        handles = [await pool.submit(job("waits_for_the_host", n, id=str(n)), calls=gate.calls) for n in range(4)]
        async with host(nats_url, 1), host(nats_url, 2) as growing:
            await until(lambda: sum(each.workers for each in pool._seen.values()) == 3)
            for _ in range(3):
                await came(gate)
            await growing.resize(3)
            await came(gate)
            health = await pool.health()
            assert health.queued == 0
            await until(lambda: sum(each.busy for each in pool._seen.values()) == 4)
            assert len(pool.statistics().workers) == 4
            await growing.resize(1)
            gate.opened.set()
            assert [await result(each) for each in handles] == [0, 1, 2, 3]
            await assert_nothing_is_left(pool)
        await until(lambda: not pool._seen)


async def test_tenants_and_queues_have_jobs_and_nodes_of_their_own(nats_url: str) -> None:
    async with host(nats_url, tenant="a.>") as pool, host(nats_url, 1, tenant="a") as other:
        handle = await pool.submit(job("double", 1))
        apart = await other.submit(job("double", 2, queue="gpu.*"))
        assert await result(await other.submit(job("double", 3, id="own"))) == 6
        assert not handle.worked and not apart.worked
        async with host(nats_url, 1, tenant="a.>"), host(nats_url, 1, tenant="a", queues=["gpu.*"]):
            assert await result(handle) == 2
            assert await result(apart) == 4


async def test_a_job_that_is_cancelled_while_its_node_is_lost_is_not_begun_again(nats_url: str) -> None:
    gate = Gate()
    async with host(nats_url) as pool, node_process(nats_url) as doomed:
        handle = await pool.submit(job("waits_for_the_host", "x"), calls=gate.calls)
        await came(gate)
        doomed.signal(signal.SIGKILL)
        assert await handle.cancel("enough")
        with pytest.raises(AbortError, match="enough"):
            await result(handle)
        async with host(nats_url, 1):
            assert await result(await pool.submit(job("double", 1, id="after"))) == 2
            await assert_nothing_is_left(pool)
    assert gate.order == ["x"]


# Servers.


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
async def test_a_server_that_goes_away_and_comes_back_loses_nothing_and_repeats_nothing(kill: bool) -> None:
    with serving() as server:
        calls: list[int] = []

        async def double(value: int) -> int:
            calls.append(value)
            if value in (3, 6):
                await anyio.to_thread.run_sync(lambda: server.stop(kill=kill))
                await asyncio.sleep(0.2)
                await anyio.to_thread.run_sync(server.start)
            return 2 * value

        async with host(server.url, 1, local="process", ack_wait_s=5.0) as pool:
            handle = await pool.submit(job("asks", 10), calls={"double": double})
            waiting = [await pool.submit(job("double", n, id=f"waiting {n}")) for n in range(3)]

            assert await result(handle) == [2 * n for n in range(10)]
            assert [await result(each) for each in waiting] == [0, 2, 4]
            assert [data for name, data in await told(handle) if name == "before"] == list(range(10))
            assert calls == list(range(10))
            assert "run.attempt" not in dict(await told(handle))
            await assert_nothing_is_left(pool)


async def test_a_server_that_is_away_for_longer_than_the_nodes_time_begins_no_job_twice() -> None:
    gate = Gate()
    with serving() as server:
        async with host(server.url, 1) as pool, host(server.url, 1) as other:
            handle = await pool.submit(job("waits_for_the_host", "x"), calls=gate.calls)
            await came(gate)
            await anyio.to_thread.run_sync(server.stop)
            await until(lambda: not pool.session.is_up and not other.session.is_up)
            await asyncio.sleep(1.5 * ACK_WAIT_S)
            await anyio.to_thread.run_sync(server.start)
            await until(lambda: pool.session.is_up and other.session.is_up)
            after = await pool.submit(job("double", 2, id="after"))
            assert await result(after) == 4
            gate.opened.set()

            assert await result(handle) == "x"
            assert [name for name, _ in await told(handle)] == ["begun", "on_run_end"]
            assert gate.order == ["x"]
            await assert_nothing_is_left(pool)


async def test_jobs_that_a_server_lost_with_its_disk_are_put_into_the_queue_again() -> None:
    with serving() as server:
        async with host(server.url, ack_wait_s=0.2) as pool:
            handles = [await pool.submit(job("double", n, id=str(n))) for n in range(3)]
            await anyio.to_thread.run_sync(server.stop)
            shutil.rmtree(server.folder / "jetstream")
            await anyio.to_thread.run_sync(server.start)
            await until(lambda: pool.session.is_up)
            async with host(server.url, 2, ack_wait_s=0.2):
                assert [await result(each) for each in handles] == [0, 2, 4]


async def test_jobs_that_a_server_lost_are_missed_although_others_have_their_numbers_now() -> None:
    with serving() as server:
        async with host(server.url, ack_wait_s=0.2) as pool:
            lost = [await pool.submit(job("double", n, id=str(n))) for n in range(2)]
            await anyio.to_thread.run_sync(server.stop)
            shutil.rmtree(server.folder / "jetstream")
            await anyio.to_thread.run_sync(server.start)
            await until(lambda: pool.session.is_up)
            async with host(server.url, ack_wait_s=0.2) as other:
                later = [await other.submit(job("double", n, id=str(n))) for n in range(2, 5)]
                async with host(server.url, 2, ack_wait_s=0.2):
                    assert [await result(each) for each in (*lost, *later)] == [0, 2, 4, 6, 8]


async def test_a_submission_while_the_server_is_away_waits_or_is_refused() -> None:
    with serving() as server:
        async with host(server.url, 1, submit_s=0.1) as pool:
            await anyio.to_thread.run_sync(server.stop)
            await until(lambda: not pool.session.is_up)
            with pytest.raises(NatsUnavailableError, match=r"has been away for 0\.1 s"):
                await pool.submit(job("double", 1))

            await anyio.to_thread.run_sync(server.start)
            await until(lambda: pool.session.is_up)
            assert await result(await pool.submit(job("double", 1))) == 2


async def test_a_pool_whose_server_is_away_can_be_closed() -> None:
    with serving() as server:
        async with host(server.url, 1) as pool:
            handle = await pool.submit(job("cleans_up"))
            await first(handle, "begun")
            await anyio.to_thread.run_sync(server.stop)
        with pytest.raises(AbortError, match="closed"):
            await result(handle)


# Errors.


async def test_a_server_without_jetstream_is_refused_in_a_sentence() -> None:
    said = r"has no JetStream, which keeps the jobs: start it with '-js'"
    with serving(jetstream=False) as server, pytest.raises(ConfigurationError, match=said):
        await host(server.url).open()


async def test_a_server_that_is_away_at_the_start_is_refused_in_a_sentence() -> None:
    with serving() as server:
        await anyio.to_thread.run_sync(server.stop)
        with pytest.raises(NatsUnavailableError, match=r"cannot be reached: Connection refused"):
            await host(server.url).open()
    with pytest.raises(ConfigurationError, match="is on another machine"):
        host("nats://far.example.com")


async def test_what_another_configuration_has_made_is_named_and_not_changed(nats_url: str) -> None:
    from nats.js import api

    address = read_address(nats_url)
    client = await connect(address, "test")
    name = f"{address.namespace}=jobs=="
    await client.jetstream().add_stream(
        name=name, subjects=[f"{address.namespace}.=.jobs.>"], retention=api.RetentionPolicy.LIMITS
    )
    with pytest.raises(ConfigurationError, match=r"has a stream '.*=jobs==' .*retention 'limits', not 'workqueue'"):
        await host(nats_url).open()
    await client.jetstream().delete_stream(name)
    async with host(nats_url):
        pass
    with pytest.raises(ConfigurationError, match=r"has a consumer 'default=high' .*ack_wait 1\.0, not 7\.0"):
        await host(nats_url, ack_wait_s=7.0).open()
    other = f"{address.namespace}=dead=x"
    await client.jetstream().add_stream(name="beside", subjects=[f"{address.namespace}.x.dead.>"])
    with pytest.raises(ConfigurationError, match="refuses this: subjects overlap"):
        await host(nats_url, tenant="x").open()
    assert other not in [each.config.name for each in await client.jetstream().streams_info()]
    await client.close()


async def test_an_id_that_another_host_has_just_submitted_is_refused(nats_url: str) -> None:
    async with host(nats_url) as one, host(nats_url) as two:
        handle = await one.submit(job("double", 1))
        with pytest.raises(WorkerError, match="'job' was not accepted: a job of this id was submitted by another"):
            await two.submit(job("double", 2))
        async with host(nats_url, 1):
            assert await result(handle) == 2
        assert two.statistics().submitted == 1 and two.statistics().failed == 1


async def test_an_object_of_a_job_that_is_refused_is_deleted(nats_url: str) -> None:
    async with host(nats_url) as one, host(nats_url) as two:
        await one.submit(job("double", 1))
        with pytest.raises(WorkerError, match="was not accepted"):
            await two.submit(job("echo", b"x" * 600_000))

        async def is_gone() -> bool:
            return (await size(two, f"OBJ_{two.queue._bucket}"))[1] < 10_000

        await eventually(is_gone)


async def test_a_node_stops_a_job_whose_submission_failed_after_it_had_begun(
    nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    put = queues.JobQueue.put

    async def put_unheard(queue: Any, job_id: str, *arguments: Any, **named: Any) -> int:
        number = await put(queue, job_id, *arguments, **named)
        if job_id == "unheard":
            pool._signal(unheard)
            await came(gate)
            raise NatsUnavailableError("no answer")
        return number

    monkeypatch.setattr(queues.JobQueue, "put", put_unheard)
    async with host(nats_url, 1) as pool:
        unheard = job("waits_for_the_host", "x", id="unheard")
        with pytest.raises(NatsUnavailableError, match="no answer"):
            await pool.submit(unheard, calls=gate.calls)
        assert await result(await pool.submit(job("double", 1, id="after"))) == 2
        await assert_nothing_is_left(pool)


async def test_a_node_imports_what_it_was_told_of_and_not_what_a_host_allows(nats_url: str) -> None:
    workers = ThreadPool(1, allow=["tests.workers.contract"])
    async with (
        host(nats_url) as pool,
        workers,
        node_at(nats_url, workers, NodeSettings(), ack_wait_s=ACK_WAIT_S) as node,
    ):
        running = asyncio.ensure_future(node.run())
        with pytest.raises(TransferError, match=r"module 'tests\.workers\.jobs', which this worker may not import"):
            await result(await pool.submit(job("double", 1)))
        node.drain()
        await running


async def test_values_that_are_too_large_for_anything_are_refused(
    nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "MOST_BYTES", 1_000_000)
    async with host(nats_url, 1) as pool:
        with pytest.raises(TransferError, match=r"Job 'large' has .* bytes; at most 1,000,000"):
            await pool.submit(job("echo", b"x" * 1_000_001, id="large"))
        assert await result(await pool.submit(job("echo", b"x" * 900_000, id="fits"))) == b"x" * 900_000


@pytest.mark.parametrize("local", ["thread", "inline"])
async def test_what_a_job_or_its_host_says_is_refused_if_it_is_too_large(
    nats_url: str, monkeypatch: pytest.MonkeyPatch, local: str
) -> None:
    def double(number: int) -> bytes:
        return b"x" * 1_200_000

    def fail(number: int) -> None:
        raise ValueError("x" * 1_200_000)

    monkeypatch.setattr(queues, "MOST_BYTES", 1_000_000)
    async with host(nats_url, 1, local=local) as pool:
        for target, given, calls, kind in (
            ("grown", 1_200_000, {}, "done"),
            ("tells_much", 1_200_000, {}, "event"),
            ("fails", "x" * 900_000, {}, "failed"),
            ("asks", 1, {"double": double}, "reply"),
            ("asks", 1, {"double": fail}, "reply"),
        ):
            handle = await pool.submit(job(target, given, id=f"{target} {kind} {len(calls)} {id(calls)}"), calls=calls)
            with pytest.raises(TransferError, match=rf"of the kind '{kind}' has [\d,]+ bytes; at most 1,000,000"):
                await result(handle)
        assert await result(await pool.submit(job("double", 2, id="after"))) == 4
        await assert_nothing_is_left(pool)


@pytest.mark.parametrize("broken", ["store", "load"])
async def test_a_server_that_refuses_to_store_what_is_large_ends_the_job_in_a_sentence(
    nats_url: str, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    async def refuse(*_: object) -> str:
        raise ConfigurationError("The NATS server refuses this: no space left")

    async with host(nats_url, 1) as pool:
        monkeypatch.setattr(queues.JobQueue, broken, refuse)
        with pytest.raises((ConfigurationError, WorkerError), match="refuses this: no space left"):
            await result(await pool.submit(job("grown", 600_000)))
        assert await result(await pool.submit(job("double", 2, id="after"))) == 4
        await assert_nothing_is_left(pool)


async def test_links_that_are_closed_leave_nothing_behind_that_waits_for_a_server() -> None:
    with serving() as server:
        before = asyncio.all_tasks()
        async with host(server.url, ack_wait_s=0.2) as pool:
            link = pool.links.link(("job", 1), "elsewhere", lambda message: None, lambda: None)
            await anyio.to_thread.run_sync(server.stop)
            await until(lambda: not pool.session.is_up)
            link.receive(1, 0, pack(("object", "away")))
            link.send(("done", "job", b"x" * 600_000))
            await asyncio.sleep(0)
        assert asyncio.all_tasks() <= before


@asynccontextmanager
async def node_here(url: str) -> AsyncIterator[tuple[nodes.Node, asyncio.Task[None]]]:
    """A node in this process that runs until the block ends, or by itself."""
    workers = ThreadPool(1, allow=["tests.workers"], grace_s=1.0)
    async with workers, node_at(url, workers, NodeSettings(), ack_wait_s=ACK_WAIT_S) as node:
        running = asyncio.ensure_future(node.run())
        try:
            yield node, running
        finally:
            node.stop()
            await asyncio.wait([running])


@pytest.mark.parametrize("sign", ["_tell", "_ask_host"])
async def test_a_node_that_can_give_no_signs_of_life_gives_its_jobs_back_and_ends(
    nats_url: str, monkeypatch: pytest.MonkeyPatch, sign: str
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise ConfigurationError("no signs of life")

    gate = Gate()
    async with host(nats_url) as pool, node_here(nats_url) as (node, running):
        handle = await pool.submit(job("waits_for_the_host", "x"), calls=gate.calls)
        await came(gate)
        with monkeypatch.context() as patched:
            patched.setattr(node, sign, fail)
            with anyio.fail_after(LIMIT_S), pytest.raises(ConfigurationError, match="no signs of life"):
                await running
        gate.opened.set()
        async with host(nats_url, 1):
            assert await result(handle) == "x"
            await assert_nothing_is_left(pool)
        assert (await pool.health()).restarts == 0  # given back, not lost


@pytest.mark.parametrize("fields", [{"id": "odd", "of a later version": 1}, "no fields", 7])
async def test_a_job_that_no_node_can_read_fails_and_becomes_a_dead_letter(
    nats_url: str, monkeypatch: pytest.MonkeyPatch, fields: Any
) -> None:
    monkeypatch.setattr(pools, "fields_of", lambda job: fields)
    async with host(nats_url, 1) as pool:
        with pytest.raises(WorkerError, match=r"'odd' was given up: node '.*' cannot read it as a job"):
            await result(await pool.submit(job("double", 1, id="odd")))
        letters = await eventually(pool.dead_letters)
        assert letters[0].job_id == "odd" and "cannot read it as a job" in letters[0].reason
        monkeypatch.undo()
        assert await result(await pool.submit(job("double", 2, id="after"))) == 4


@pytest.mark.parametrize("data", [b"x", pack((["list"], "host", "fields", {})), pack(("one",))])
async def test_what_is_no_job_is_buried_and_tried_again_when_that_was_refused(
    nats_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, data: bytes
) -> None:
    bury, refused = queues.JobQueue.bury, []

    async def refuse_once(self: Any, *arguments: Any) -> None:
        if not refused:
            refused.append(arguments)
            raise ConfigurationError("no more dead letters")
        await bury(self, *arguments)

    monkeypatch.setattr(queues.JobQueue, "bury", refuse_once)
    async with host(nats_url, 1) as pool:
        await pool.queue.put("odd", "default", 0, data)
        letters = await eventually(pool.dead_letters)
        assert letters[0].reason == "it is no job" and refused
        assert "stays in the queue: no more dead letters" in caplog.text
        assert await result(await pool.submit(job("double", 2, id="after"))) == 4


async def test_objects_are_deleted_with_their_jobs(nats_url: str) -> None:
    large = b"x" * 600_000
    async with host(nats_url) as pool:
        cancelled = await pool.submit(job("echo", large, id="cancelled"))
        await cancelled.cancel()
        handle = await pool.submit(job("echo", large))
        async with host(nats_url, 1):
            assert await result(handle) == large

        async def are_gone() -> bool:
            return (await size(pool, f"OBJ_{pool.queue._bucket}"))[1] < 10_000

        await eventually(are_gone)


def test_settings_that_make_no_sense_are_refused() -> None:
    for settings, why in (
        ({"max_attempts": 0}, "'max_attempts' is 0"),
        ({"ack_wait_s": 0.0}, "ack_wait_s is 0.0"),
        ({"local": "ray"}, "local is 'ray'; expected one of: inline, process, thread"),
    ):
        with pytest.raises(ConfigurationError, match=why):
            ClusterSettings(**settings)
    with pytest.raises(ConfigurationError, match="told which queues"):
        NodeSettings(queues="default")


def test_secrets_are_not_shown() -> None:
    pool = NatsPool("nats://s3cret@far.example.com")

    assert "s3cret" not in repr(vars(pool.session)) + repr(pool.session.address)


# The channel.


@given(st.integers(), st.integers(0, 40))
def test_a_channel_delivers_everything_in_order_whatever_the_connection_does(seed: int, count: int) -> None:
    chance = random.Random(seed)
    sender, receiver = Channel(), Channel()
    to_send = deque(bytes([number]) for number in range(count))
    wire: list[Frame] = []
    acks: list[int] = []
    got: list[bytes] = []
    for step in itertools.count():
        if not to_send and sender.is_settled:
            break
        assert step < 50_000
        act = chance.randrange(6)
        if act == 0 and to_send:
            wire.append(sender.send(to_send.popleft()))
        elif act == 1:
            wire += sender.unacknowledged()
        elif act == 2 and wire:
            chance.shuffle(wire)
            frame = wire[0] if chance.random() < 0.3 else wire.pop()  # some come twice
            if receiver.receive(frame):
                got.append(frame.body)
        elif act == 3 and wire:
            wire.pop()  # lost
        elif act == 4 and receiver.owes_ack:
            acks.append(receiver.acknowledge())
        elif act == 5 and acks:
            ack = acks.pop(chance.randrange(len(acks)))
            if chance.random() < 0.7:
                sender.acknowledged(ack)
        if len(wire) > 200:
            del wire[:100]

    assert got == [bytes([number]) for number in range(count)]


def test_a_channel_asks_for_an_acknowledgement_when_much_was_taken() -> None:
    sender, receiver = Channel(), Channel()
    for _ in range(31):
        assert receiver.receive(sender.send(b""))
        assert not receiver.ack_is_urgent
    receiver.receive(sender.send(b""))
    assert receiver.ack_is_urgent
    assert sender.acknowledged(receiver.acknowledge()) and sender.is_settled
    assert not sender.acknowledged(31)
