"""Workers: runs are executed, taken over, cancelled and given back; readers see every event once."""

from __future__ import annotations

import asyncio
import itertools
import math
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from langgraph.checkpoint.memory import InMemorySaver

from stategraph.errors import AbortError, ConfigurationError
from stategraph.workers.eventlog import LoggedEvent, attach
from stategraph.workers.holding import hold
from stategraph.workers.leases import IllegalRunMove, LeaseLost, LeaseSettings, RunStatus
from stategraph.workers.registry.port import ConflictError, StoreUnavailableError
from stategraph.workers.registry.runs import RunRegistry
from stategraph.workers.registry.values import ThreadBusy
from stategraph.workers.worker import Worker, WorkerSettings
from tests.workers import app
from tests.workers.savers import async_saver
from tests.workers.waiting import until

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 60

pytestmark = pytest.mark.anyio


class Site:
    """A registry with a saver, and workers."""

    def __init__(self, url: str, registry: RunRegistry, saver: Any) -> None:
        self.url = url
        self.registry = registry
        self.saver = saver

    async def submit(self, graph: str, given: Any = None, thread: str = "t", **options: Any) -> str:
        return await self.registry.submit(thread, given or {"done": []}, target=f"tests.workers.app:{graph}", **options)

    @asynccontextmanager
    async def worker(self, **settings: Any) -> AsyncIterator[Worker]:
        made = Worker(
            self.registry, self.saver, WorkerSettings(**{"allow": ["tests.workers"], "poll_s": 0.02, **settings})
        )
        async with anyio.create_task_group() as group:
            group.start_soon(made.run)
            try:
                yield made
            finally:
                made.drain()

    async def events(self, run_id: str, after_seq: int = 0) -> list[LoggedEvent]:
        with anyio.fail_after(LIMIT_S):
            return [event async for event in attach(self.registry, run_id, after_seq)]

    async def ended(self, run_id: str) -> str:
        await self.events(run_id)
        return (await self.registry.get(run_id)).status

    async def values(self, thread: str = "t") -> Any:
        graph = app.steps.copy({"checkpointer": self.saver})
        return (await graph.aget_state({"configurable": {"thread_id": thread}})).values


@pytest.fixture
async def site(url: str) -> AsyncIterator[Site]:
    registry = RunRegistry.from_url(url, settings=LeaseSettings(lease_s=5.0, heartbeat_s=0.1))
    await registry.set_up()
    async with async_saver(url) as saver:
        yield Site(url, registry, saver)
    await registry.aclose()


@pytest.fixture
def gates() -> dict[str, asyncio.Event]:
    app.gates = {"waits": asyncio.Event(), "go": asyncio.Event()}
    return app.gates


async def reached(gate: asyncio.Event) -> None:
    with anyio.fail_after(LIMIT_S):
        await gate.wait()


def told(events: list[LoggedEvent]) -> list[tuple[str, Any]]:
    return [(event.type, event.data) for event in events]


async def test_a_worker_executes_a_run_and_tells_what_it_says(site: Site) -> None:
    run_id = await site.submit("steps")
    async with site.worker() as worker:
        events = await site.events(run_id)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        assert told(events) == [
            ("run.attempt", {"attempt": 1, "reason": "first"}),
            ("custom", {"at": "one"}),
            ("updates", {"one": {"done": ["one"]}}),
            ("updates", {"two": {"done": ["two"]}}),
            ("updates", {"three": {"done": ["three"]}}),
            ("run.end", {"status": "success", "error": None}),
        ]
        assert await site.events(run_id, 4) == events[4:]
        assert await site.events(run_id, 6) == await site.events(run_id, 99) == []
    plain = app.steps.copy({"checkpointer": InMemorySaver()})
    expected = await plain.ainvoke({"done": []}, {"configurable": {"thread_id": "t"}})
    assert await site.values() == expected
    assert (worker.health().finished, worker.health().busy, worker.health().draining) == (1, 0, True)


async def test_a_worker_is_on_the_list_while_it_runs(
    site: Site, gates: dict[str, asyncio.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stategraph.workers.worker.SEEN_EVERY_S", 0.01)
    await site.submit("holding")
    async with site.worker(capacity=3) as worker:
        await reached(gates["waits"])
        (seen,) = await site.registry.workers()
        assert (seen.worker_id, seen.capacity, seen.busy, seen.gone) == (worker.owner, 3, 1, False)
        with anyio.fail_after(LIMIT_S):
            for _ in itertools.count():  # until it was seen again and again
                if (await site.registry.workers())[0].seen_at > seen.seen_at + 0.05:
                    break
                await anyio.sleep(0.01)
        gates["go"].set()
    assert await site.registry.workers() == []


async def test_a_worker_that_cannot_be_put_on_the_list_executes_runs(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ConflictError("DeadlockDetected")

    for change in ("see", "forget", "forget_gone"):
        monkeypatch.setattr(site.registry.roster, change, refuse)
    run_id = await site.submit("steps")
    async with site.worker() as worker:
        await site.events(run_id)
        assert "DeadlockDetected" in str(worker.health().last_error)
    assert (await site.registry.get(run_id)).status == "success"


async def test_a_run_that_asks_is_interrupted_and_goes_on_with_the_answer(site: Site) -> None:
    async with site.worker():
        run_id = await site.submit("asking")
        assert await site.ended(run_id) == "interrupted"
        resumed = await site.registry.resume(run_id, "yes")
        assert await site.ended(resumed) == "success"
    assert await site.values() == {"done": ["one", "answer yes", "three"]}


async def test_an_answer_that_was_taken_by_a_run_that_failed_later_is_not_given_to_the_next_question(
    site: Site,
) -> None:
    app.is_up.clear()
    async with site.worker():
        asks = await site.submit("asking_twice")
        assert await site.ended(asks) == "interrupted"
        failed = await site.registry.resume(asks, "yes")
        assert await site.ended(failed) == "error"
        with pytest.raises(
            IllegalRunMove, match=rf"run '{failed}' went on .* did not end well after it took the answer"
        ):
            await site.registry.resume(asks, "yes")

        app.is_up.set()
        goes_on = await site.registry.submit("t", None, target="tests.workers.app:asking_twice")
        assert await site.ended(goes_on) == "interrupted"
        assert await site.ended(await site.registry.resume(goes_on, "no")) == "success"
    assert await site.values() == {"done": ["answer yes", "up", "second no"]}


async def test_an_answer_that_failed_before_it_was_taken_may_be_given_again(site: Site) -> None:
    async with site.worker():
        asks = await site.submit("asking_strictly")
        assert await site.ended(asks) == "interrupted"
        assert await site.ended(await site.registry.resume(asks, "nonsense")) == "error"
        again = await site.registry.resume(asks, "yes")
        assert await site.ended(again) == "interrupted"
    assert await site.values() == {"done": ["answer yes"]}


async def test_a_run_that_fails_says_so_without_its_secrets(site: Site) -> None:
    async with site.worker():
        run_id = await site.submit("failing")
        events = await site.events(run_id)
    assert told(events)[-1] == ("run.end", {"status": "error", "error": "RuntimeError"})
    assert app.SECRET not in str(events)
    assert (await site.registry.get(run_id)).error == f"RuntimeError: no luck with {app.SECRET}"


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("os:system", "may not import"),
        ("tests.workers.nowhere:graph", "cannot be imported"),
        ("tests.workers.app:not_a_graph", "is a dict; expected a compiled graph"),
    ],
)
async def test_what_a_worker_cannot_import_is_left_for_others_and_holds_up_nothing(
    site: Site, target: str, reason: str
) -> None:
    foreign = await site.registry.submit("u", None, target=target, priority=9)
    run_id = await site.submit("steps")
    async with site.worker() as worker:
        assert await site.ended(run_id) == "success"
    left = await site.registry.get(foreign)
    assert (left.status, left.attempt) == ("pending", 0)
    assert reason in str(left.error)
    assert reason in str(worker.health().last_error)


@pytest.fixture
def slow_import(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    monkeypatch.setattr(app, "imports", [])
    monkeypatch.setattr(app, "may_import", threading.Event())
    sys.modules.pop("tests.workers.slow_graph", None)
    return app.may_import


SLOW = "tests.workers.slow_graph:graph"


async def test_a_module_that_takes_its_time_holds_up_no_other_run(site: Site, slow_import: threading.Event) -> None:
    slow = [await site.registry.submit(thread, {"done": []}, target=SLOW) for thread in ("u", "v")]
    async with site.worker():
        await until(lambda: bool(app.imports))
        assert await site.ended(await site.submit("steps")) == "success"
        assert [(await site.registry.get(each)).status for each in slow] == ["running", "running"]
        slow_import.set()
        assert [await site.ended(each) for each in slow] == ["success", "success"]
    assert len(app.imports) == 1


async def test_a_module_that_hangs_does_not_keep_a_worker_from_its_end(
    site: Site, slow_import: threading.Event
) -> None:
    run_id = await site.registry.submit("u", {"done": []}, target=SLOW)
    async with site.worker() as worker:
        await until(lambda: bool(app.imports))
        worker.stop()
    assert ((await site.registry.get(run_id)).status, slow_import.is_set()) == ("pending", False)
    slow_import.set()


async def test_a_module_that_exits_is_left_to_others(
    site: Site, slow_import: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "import_exits", True)
    slow_import.set()
    run_id = await site.registry.submit("u", {"done": []}, target=SLOW)
    async with site.worker():
        assert await site.ended(await site.submit("steps")) == "success"
    left = await site.registry.get(run_id)
    assert (left.status, left.attempt) == ("pending", 0)
    assert "cannot be imported: SystemExit: not here" in str(left.error)


async def test_what_cannot_be_stored_of_an_event_does_not_stop_a_run(site: Site) -> None:
    async with site.worker():
        events = await site.events(await site.submit("odd"))
    assert [event.type for event in events] == ["run.attempt", "run.unstorable", "updates", "run.end"]


async def test_a_worker_that_lost_a_run_drops_it_and_goes_on(site: Site, gates: dict[str, asyncio.Event]) -> None:
    run_id = await site.submit("holding")
    async with site.worker(capacity=1) as worker:  # so that it does not take its own run over
        await reached(gates["waits"])
        thief = await steal(site, run_id)
        await until(lambda: worker.health().lost == 1)
        gates["go"].set()
        other = await site.submit("steps", thread="u")
        assert await site.ended(other) == "success"
        assert (await site.registry.get(run_id)).owner == "thief"
    assert (await site.values())["done"] == ["one"]
    await site.registry.finish(thief.lease, RunStatus.SUCCESS)
    kinds = [event.type for event in await site.events(run_id)]
    assert kinds == ["run.attempt", "custom", "updates", "run.attempt", "run.end"]


async def test_a_worker_whose_claim_was_late_does_not_take_its_own_run(
    site: Site, gates: dict[str, asyncio.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = site.registry.claim
    late = asyncio.Event()

    async def claim_late(*arguments: Any, **options: Any) -> Any:
        # The claim begins before the lease has run out, and gets to the database after it.
        if gates["waits"].is_set() and not late.is_set():
            await anyio.to_thread.run_sync(expire, site, run_id)  # the run's saver may need the event loop to unlock
            late.set()
        return await claim(*arguments, **options)

    monkeypatch.setattr(site.registry, "claim", claim_late)
    run_id = await site.submit("holding")
    async with site.worker() as worker:
        await reached(gates["waits"])
        await reached(late)
        other = await site.submit("steps", thread="u")
        assert await site.ended(other) == "success"
        gates["go"].set()
        assert await site.ended(run_id) == "success"
    assert ((await site.registry.get(run_id)).attempt, worker.health().lost) == (1, 0)


def start_process(url: str) -> subprocess.Popen[bytes]:
    """Start a worker in a process of its own, with leases that do not run out by themselves."""
    program = [sys.executable, "-m", "tests.workers.process", url, "600"]
    return subprocess.Popen(program, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def expire(site: Site, run_id: str) -> None:
    """Let the lease of a run run out."""
    database = site.registry.operations.database
    with database.transaction() as session:
        ph = database.sql.dialect.parameter
        session.change(f"UPDATE sg_run SET lease_until = 0 WHERE run_id = {ph}", (run_id,))


async def steal(site: Site, run_id: str) -> Any:
    """Let a lease run out and claim its run, before its owner's next heartbeat."""

    def act() -> Any:
        while True:
            expire(site, run_id)
            if (found := site.registry.operations.claim_run("thief", run_id, 60.0)) is not None:
                return found

    return await anyio.to_thread.run_sync(act)


async def test_a_run_is_cancelled_while_it_runs(site: Site, gates: dict[str, asyncio.Event]) -> None:
    run_id = await site.submit("holding")
    async with site.worker():
        await reached(gates["waits"])
        assert await site.registry.cancel(run_id, "enough")
        assert await site.ended(run_id) == "cancelled"
    assert (await site.registry.get(run_id)).error == "AbortError: enough"
    assert (await site.values())["done"] == ["one"]


@pytest.mark.parametrize(("stored", "counted"), [("success", (1, 0)), ("error", (0, 1))])
async def test_a_run_whose_end_was_stored_without_an_answer_is_lost_only_if_another_end_was(
    site: Site, stored: str, counted: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = site.registry.finish
    outages = [StoreUnavailableError("the answer was lost")]

    async def commit_and_lose_the_answer(lease: Any, status: Any, *rest: Any) -> None:
        if not outages:
            return await finish(lease, status, *rest)
        await finish(lease, stored, *rest)
        raise outages.pop()

    monkeypatch.setattr(site.registry, "finish", commit_and_lose_the_answer)
    run_id = await site.submit("steps")
    async with site.worker() as worker:
        assert await site.ended(run_id) == stored
    health = worker.health()
    assert (health.finished, health.lost) == counted
    assert not outages


async def test_a_run_that_was_given_back_without_an_answer_is_no_lost_one(
    site: Site, gates: dict[str, asyncio.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    release = site.registry.release
    outages = [StoreUnavailableError("the answer was lost")]

    async def commit_and_lose_the_answer(lease: Any, **options: Any) -> None:
        await release(lease, **options)
        if outages:
            raise outages.pop()

    monkeypatch.setattr(site.registry, "release", commit_and_lose_the_answer)
    run_id = await site.submit("holding")
    async with site.worker() as worker:
        await reached(gates["waits"])
        worker.stop()
    left = await site.registry.get(run_id)
    assert (left.status, left.attempt, worker.health().lost) == ("pending", 0, 0)
    assert not outages


async def test_a_worker_that_stops_gives_back_what_has_not_ended(site: Site, gates: dict[str, asyncio.Event]) -> None:
    run_id = await site.submit("holding")
    async with site.worker(drain_s=0.05):
        await reached(gates["waits"])
    left = await site.registry.get(run_id)
    assert (left.status, left.attempt) == ("pending", 0)
    gates["go"].set()
    async with site.worker():
        assert await site.ended(run_id) == "success"
    assert (await site.values())["done"] == ["one", "held", "three"]


async def test_a_run_that_is_rolled_back_leaves_no_trace_in_the_state(
    site: Site, gates: dict[str, asyncio.Event]
) -> None:
    async with site.worker():
        await site.ended(await site.submit("steps", {"done": ["a"]}))
        first = await site.submit("holding", {"done": ["b"]})
        await reached(gates["waits"])
        second = await site.submit("steps", {"done": ["c"]}, on_conflict="rollback")
        assert await site.ended(first) == "cancelled"
        assert await site.ended(second) == "success"
    assert (await site.values())["done"] == ["a", "one", "two", "three", "c", "one", "two", "three"]


async def test_a_rolled_back_first_run_leaves_an_empty_thread(site: Site, gates: dict[str, asyncio.Event]) -> None:
    async with site.worker():
        await site.submit("holding", {"done": ["b"]})
        await reached(gates["waits"])
        second = await site.submit("steps", {"done": ["c"]}, on_conflict="rollback")
        assert await site.ended(second) == "success"
    assert (await site.values())["done"] == ["c", "one", "two", "three"]


async def test_an_interrupted_run_keeps_what_it_has_done(site: Site, gates: dict[str, asyncio.Event]) -> None:
    async with site.worker():
        await site.submit("holding", {"done": ["b"]})
        await reached(gates["waits"])
        second = await site.submit("steps", {"done": ["c"]}, on_conflict="interrupt")
        assert await site.ended(second) == "success"
    assert (await site.values())["done"] == ["b", "one", "c", "one", "two", "three"]


async def test_a_killed_worker_is_replaced_and_readers_see_every_event_once(site: Site, tmp_path: Path) -> None:
    run_id = await site.submit("dying", {"folder": str(tmp_path)})
    seen: list[LoggedEvent] = []
    got_one = anyio.Event()

    async def read_all_along() -> None:
        async for event in attach(site.registry, run_id):
            seen.append(event)
            if event.data == {"one": {"done": ["one"]}}:
                got_one.set()

    doomed = start_process(site.url)
    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as group:
            group.start_soon(read_all_along)
            await got_one.wait()
            await until(lambda: "stuck" in (tmp_path / "ran").read_text())
            doomed.kill()
            assert doomed.wait() == -signal.SIGKILL
            middle = seen[-1].seq
            await anyio.to_thread.run_sync(expire, site, run_id)
            async with site.worker():
                resumed = await site.events(run_id, middle)
    doomed.communicate()
    afterwards = await site.events(run_id)
    assert seen == afterwards
    assert seen[:middle] + resumed == seen
    assert [event.seq for event in seen] == list(range(1, len(seen) + 1))
    assert told(seen)[-4:] == [
        ("run.attempt", {"attempt": 2, "reason": "lease expired"}),
        ("updates", {"stuck": {"done": ["stuck"]}}),
        ("updates", {"three": {"done": ["three"]}}),
        ("run.end", {"status": "success", "error": None}),
    ]
    # What was stored did not run again.
    assert (tmp_path / "ran").read_text().split() == ["one", "stuck", "stuck", "three"]


# Threads that a process holds by itself.


async def test_a_thread_that_is_held_is_written_by_nobody_else(site: Site) -> None:
    config: Any = {"configurable": {"thread_id": "t"}}
    async with hold(site.registry, "t") as held:
        with pytest.raises(ThreadBusy):
            async with hold(site.registry, "t"):
                pass
        graph = app.steps.copy({"checkpointer": held.fence(site.saver)})
        await graph.ainvoke({"done": []}, config)
    with pytest.raises(LeaseLost):
        await graph.ainvoke({"done": []}, config)
    assert (await site.registry.get(held.run_id)).status == "success"
    assert (await site.values())["done"] == ["one", "two", "three"]


async def test_whoever_waits_for_a_held_thread_gets_it_next(site: Site) -> None:
    order: list[str] = []
    inside, leave = anyio.Event(), anyio.Event()

    async def first() -> None:
        async with hold(site.registry, "t"):
            inside.set()
            await leave.wait()
            order.append("first")

    async def second() -> None:
        async with hold(site.registry, "t", on_conflict="enqueue"):
            order.append("second")

    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as group:
            group.start_soon(first)
            await inside.wait()
            group.start_soon(second)
            await until(lambda: site.registry.operations.waiting()[0] == 1)
            leave.set()
    assert order == ["first", "second"]


async def test_a_later_block_stops_the_one_that_holds_the_thread(site: Site) -> None:
    inside = anyio.Event()
    stopped: list[str] = []

    async def first() -> None:
        with pytest.raises(AbortError, match="interrupt by run"):
            async with hold(site.registry, "t"):
                inside.set()
                await anyio.sleep_forever()
        stopped.append("first")

    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as group:
            group.start_soon(first)
            await inside.wait()
            async with hold(site.registry, "t", on_conflict="interrupt"):
                pass
    assert stopped == ["first"]


async def test_a_thread_that_does_not_become_free_is_given_up(site: Site) -> None:
    async with hold(site.registry, "t"):
        with pytest.raises(ThreadBusy, match=r"was not free within 0\.2 s"):
            async with hold(site.registry, "t", on_conflict="enqueue", wait_s=0.2):
                pass
    assert [run.status for run in await site.registry.list(thread_id="t")] == ["cancelled", "success"]


async def test_an_error_in_a_block_is_the_blocks(site: Site) -> None:
    with pytest.raises(KeyError, match="x"):
        async with hold(site.registry, "t"):
            raise KeyError("x")
    assert [run.status for run in await site.registry.list(thread_id="t")] == ["error"]


async def test_settings_that_a_worker_cannot_work_with_are_refused(site: Site) -> None:
    for allow in ([], "my_app"):
        with pytest.raises(ConfigurationError, match="is told which modules it may import"):
            WorkerSettings(allow=allow)
    with pytest.raises(ConfigurationError, match="capacity is 0"):
        WorkerSettings(allow=["a"], capacity=0)
    for name, least in (("poll_s", "above 0"), ("drain_s", "0 seconds"), ("store_grace_s", "0 seconds")):
        for seconds in (-1.0, math.nan):
            with pytest.raises(ConfigurationError, match=f"{name} is {seconds}; it needs .*{least}"):
                WorkerSettings(**{"allow": ["a"], name: seconds})
    with pytest.raises(ConfigurationError, match="poll_s is 0"):
        WorkerSettings(allow=["a"], poll_s=0)


async def test_a_worker_whose_saver_is_dead_claims_nothing_and_says_so(postgres: str) -> None:
    registry = RunRegistry.from_url(postgres)
    run_id = await registry.submit("t", None, target="tests.workers.app:steps")
    async with async_saver(postgres) as saver:
        await saver.conn.close()
        with anyio.fail_after(LIMIT_S), pytest.raises(StoreUnavailableError, match="give it a saver on a pool"):
            await Worker(registry, saver, WorkerSettings(allow=["tests.workers"])).run()
    assert (await registry.get(run_id)).status == "pending"
    await registry.aclose()
