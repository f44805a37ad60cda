"""The registry on SQLite and on PostgreSQL: who gets which run, and who has lost one."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import pytest

from stategraph.errors import ConfigurationError
from stategraph.workers.holding import hold
from stategraph.workers.ids import new_owner, new_ulid
from stategraph.workers.leases import IllegalRunMove, LeaseLost, LeaseSettings, RunStatus
from stategraph.workers.registry import sqlite
from stategraph.workers.registry.databases import open_database
from stategraph.workers.registry.operations import RegistryOperations
from stategraph.workers.registry.port import StoreUnavailableError
from stategraph.workers.registry.runs import RunRegistry
from stategraph.workers.registry.sqlite import SqliteDatabase
from stategraph.workers.registry.values import (
    HELD,
    Base,
    Claimed,
    Event,
    Lease,
    Submission,
    ThreadBusy,
    UnknownRunError,
)

LEASE_S = 15.0


class Registry(RegistryOperations):
    """The operations, and time travel: what was, becomes so many seconds older."""

    def submit_run(self, thread: str = "t", run_id: str = "", on_conflict: Any = "enqueue", **values: Any) -> str:
        return self.submit(Submission(thread, "app:graph", b"input", run_id, **values), on_conflict)

    def take(self, owner: str = "a", queue: str = "default", **more: Any) -> Claimed:
        found = self.claim(owner, queue, LEASE_S, **more)
        assert found is not None
        return found

    def age(self, seconds: float) -> None:
        with self.database.transaction() as session:
            ph = self._sql.dialect.parameter
            session.change(
                f"UPDATE sg_run SET lease_until = lease_until - {ph}, available_at = available_at - {ph}, "
                f"deadline = deadline - {ph}, created_at = created_at - {ph}",
                (seconds, seconds, seconds, seconds),
            )

    def began(self, lease: Lease, base: str | None) -> None:
        """What a first write of the run notes."""
        with self.database.transaction() as session:
            session.change(self._sql.begin, (base, lease.run_id))

    def status(self, run_id: str) -> str:
        return self.show(run_id).status

    def told(self, run_id: str) -> list[tuple[int, str, Any]]:
        found = self.events(run_id, 0, 1_000)
        return [(seq, kind, None if data is None else json.loads(data)) for seq, _, kind, data in found]


@pytest.fixture
def registry(url: str) -> Iterator[Registry]:
    made = Registry(open_database(url))
    yield made
    made.database.close()


def test_a_run_is_claimed_once_kept_alive_and_finished(registry: Registry) -> None:
    run_id = registry.submit_run(config={"tags": ["x"]}, context=b"who", tenant="acme")
    claimed = registry.take()
    assert claimed.lease == Lease(run_id, "t", 1, "a")
    assert (claimed.input, claimed.context, claimed.config, claimed.tenant) == (
        b"input",
        b"who",
        {"tags": ["x"]},
        "acme",
    )
    assert (claimed.attempt, claimed.began, claimed.rollback) == (1, False, None)
    assert registry.claim("b", "default", LEASE_S) is None
    assert registry.heartbeat("a", [claimed.lease], LEASE_S) == registry.heartbeat("a", [claimed.lease], LEASE_S)
    registry.finish(claimed.lease, RunStatus.SUCCESS)
    shown = registry.show(run_id)
    assert (shown.status, shown.owner, shown.lease_until) == ("success", None, None)
    assert shown.finished_at is not None
    assert shown.finished_at >= shown.created_at
    assert registry.told(run_id) == [
        (1, "run.attempt", {"attempt": 1, "reason": "first"}),
        (2, "run.end", {"status": "success", "error": None}),
    ]


def test_a_run_whose_worker_is_gone_is_taken_over_by_an_ordinary_claim(registry: Registry) -> None:
    registry.submit_run()
    first = registry.take("a")
    assert registry.claim("b", "default", LEASE_S) is None
    registry.age(LEASE_S + 1)
    second = registry.take("b")
    assert (second.lease.run_id, second.lease.token, second.attempt) == (first.lease.run_id, 2, 2)
    assert registry.told(first.lease.run_id)[-1] == (2, "run.attempt", {"attempt": 2, "reason": "lease expired"})


def test_a_claim_takes_none_that_the_claimer_executes_unless_it_knows_nothing_of_it(registry: Registry) -> None:
    registry.submit_run("t")
    held = registry.take("a").lease.run_id
    registry.age(LEASE_S + 1)
    assert registry.claim("a", "default", LEASE_S, held=[held]) is None
    waiting = registry.submit_run("u")
    claimed = registry.claim("a", "default", LEASE_S, held=[held])
    assert claimed is not None
    assert claimed.lease.run_id == waiting
    again = registry.claim("a", "default", LEASE_S, held=[waiting])  # the answer to its claim was lost
    assert again is not None
    assert (again.lease.run_id, again.attempt) == (held, 2)


def test_whoever_lost_a_run_can_do_nothing_with_it(registry: Registry) -> None:
    registry.submit_run()
    old = registry.take("same-name").lease
    registry.age(LEASE_S + 1)
    new = registry.take("same-name").lease
    beat = registry.heartbeat("same-name", [old], LEASE_S)
    assert beat.lost == (old,)
    for act in (
        lambda: registry.finish(old, RunStatus.SUCCESS),
        lambda: registry.release(old),
        lambda: registry.flush(old, 1, [(9, Event("x", None))]),
    ):
        with pytest.raises(LeaseLost):
            act()
    assert registry.status(new.run_id) == "running"
    assert len(registry.told(new.run_id)) == 2
    registry.finish(new, RunStatus.SUCCESS)


def test_an_owner_may_say_again_how_its_run_ended_or_that_it_was_given_back(registry: Registry) -> None:
    run_id = registry.submit_run()
    given_back = registry.take().lease
    for _ in range(2):
        registry.release(given_back, error="no module app")
    assert (registry.show(run_id).status, registry.show(run_id).attempt) == ("pending", 0)
    ended = registry.take().lease
    for kind in ("x", "y"):  # what comes with the second report would be behind the end
        registry.finish(ended, RunStatus.SUCCESS, None, [(9, Event(kind, None))])
    assert [each[1] for each in registry.told(run_id)] == ["run.attempt", "run.attempt", "x", "run.end"]
    with pytest.raises(LeaseLost):
        registry.release(given_back)


def test_a_late_heartbeat_keeps_a_lease_that_nobody_took(registry: Registry) -> None:
    registry.submit_run()
    lease = registry.take("a").lease
    registry.age(LEASE_S + 1)
    assert registry.heartbeat("a", [lease], LEASE_S).lost == ()
    assert registry.claim("b", "default", LEASE_S) is None


def test_runs_of_a_thread_go_one_after_the_other_in_their_order(registry: Registry) -> None:
    first, second = registry.submit_run(), registry.submit_run(priority=9)
    claimed = registry.take()
    assert claimed.lease.run_id == first
    assert registry.claim("b", "default", LEASE_S) is None
    registry.finish(claimed.lease, RunStatus.SUCCESS)
    assert registry.take("b").lease == Lease(second, "t", 3, "b")


def test_a_run_that_was_given_back_for_later_is_not_overtaken_on_its_thread_and_holds_up_no_other(
    registry: Registry,
) -> None:
    first = registry.submit_run("t")
    registry.submit_run("t")
    other = registry.submit_run("u")
    registry.release(registry.take().lease, delay_s=100.0, error="ModuleNotFoundError: no module app")
    assert registry.show(first).error == "ModuleNotFoundError: no module app"
    claimed = registry.take()
    assert claimed.lease.run_id == other
    registry.finish(claimed.lease, RunStatus.SUCCESS)
    assert registry.claim("a", "default", LEASE_S) is None
    registry.age(101)
    again = registry.take()
    assert (again.lease.run_id, again.attempt) == (first, 1)


def test_a_run_that_is_scheduled_is_overtaken_and_then_comes_behind_what_overtook_it(registry: Registry) -> None:
    later = registry.submit_run(delay_s=100.0)
    now, next_one = registry.submit_run(), registry.submit_run()
    lease = registry.take().lease
    assert lease.run_id == now
    registry.age(101)  # its time comes while another one runs
    registry.heartbeat("a", [lease], 1000 * LEASE_S)
    assert registry.claim("b", "default", LEASE_S) is None
    registry.finish(lease, RunStatus.SUCCESS)
    lease = registry.take().lease
    assert lease.run_id == later
    assert [run.run_id for run in registry.newest(None, "t", None, 10)] == [later, next_one, now]
    registry.finish(lease, RunStatus.SUCCESS)
    assert registry.submit_run() != registry.take().lease.run_id == next_one


def test_a_run_between_two_attempts_is_not_overtaken_by_one_whose_time_has_come(registry: Registry) -> None:
    later, now = registry.submit_run(delay_s=100.0), registry.submit_run()
    registry.release(registry.take().lease, delay_s=200.0, counts=True, error="OSError: away")
    registry.age(101)
    assert registry.claim("a", "default", LEASE_S) is None
    assert registry.claim_run("a", later, LEASE_S) is None
    registry.age(100)
    again = registry.take()
    assert (again.lease.run_id, again.attempt) == (now, 2)
    registry.finish(again.lease, RunStatus.SUCCESS)
    assert registry.take().lease.run_id == later


def test_a_scheduled_run_that_rolls_back_is_not_overtaken(registry: Registry) -> None:
    registry.submit_run()
    lease = registry.take().lease
    registry.began(lease, "c-1")
    taker = registry.submit_run(on_conflict="rollback", delay_s=100.0)
    registry.submit_run()
    registry.finish(lease, RunStatus.CANCELLED)
    assert registry.claim("a", "default", LEASE_S) is None
    registry.age(101)
    claimed = registry.take()
    assert (claimed.lease.run_id, claimed.rollback) == (taker, Base("c-1"))


def test_a_scheduled_run_counts_among_those_of_its_thread(registry: Registry) -> None:
    later = registry.submit_run(delay_s=100.0)
    with pytest.raises(ThreadBusy, match=f"busy with run '{later}'"):
        registry.submit_run(on_conflict="reject")
    for strategy in ("interrupt", "rollback"):
        new = registry.submit_run(on_conflict=strategy)
        assert registry.status(later) == "cancelled"
        claimed = registry.take()
        assert (claimed.lease.run_id, claimed.rollback) == (new, None)
        registry.finish(claimed.lease, RunStatus.SUCCESS)
        later = registry.submit_run(delay_s=100.0)


def test_an_answer_goes_to_the_run_that_asked_last_though_it_was_submitted_first(registry: Registry) -> None:
    later = registry.submit_run(delay_s=100.0)
    registry.submit_run()
    lease = registry.take().lease
    registry.began(lease, "checkpoint")
    registry.finish(lease, RunStatus.SUCCESS)
    registry.age(101)
    lease = registry.take().lease
    registry.began(lease, "checkpoint")
    registry.finish(lease, RunStatus.INTERRUPTED)
    answer = registry.resume(later, b"yes", "")
    assert registry.take().lease.run_id == answer


@pytest.mark.parametrize("delay_s", [-1.0, float("nan"), float("inf"), 1e300, 10**400])
def test_a_run_is_not_scheduled_for_a_time_that_makes_no_sense(delay_s: float) -> None:
    with pytest.raises(ValueError, match="delay_s is"):
        Submission("t", "app:graph", delay_s=delay_s)


def test_runs_are_claimed_by_priority_then_by_age_from_their_own_queue(registry: Registry) -> None:
    low, high = registry.submit_run("a"), registry.submit_run("b", priority=5)
    elsewhere = registry.submit_run("c", queue="gpu", priority=9)
    assert [registry.take().lease.run_id for _ in range(2)] == [high, low]
    assert registry.claim("a", "default", LEASE_S) is None
    assert registry.take(queue="gpu").lease.run_id == elsewhere


def test_a_run_that_keeps_losing_its_worker_is_dead_and_the_queue_goes_on(registry: Registry) -> None:
    poison, after = registry.submit_run(max_attempts=2), registry.submit_run()
    for _ in range(2):
        assert registry.take().lease.run_id == poison
        registry.age(LEASE_S + 1)
    claimed = registry.take("b", queue="default")
    assert claimed.lease.run_id == after
    assert registry.show(poison).error == "its worker was lost 2 times"
    assert registry.told(poison)[-1][1:] == ("run.end", {"status": "dead", "error": "its worker was lost 2 times"})
    registry.finish(claimed.lease, RunStatus.SUCCESS)
    assert registry.requeue(poison)
    assert not registry.requeue(after)
    assert registry.take().attempt == 1


def test_what_is_dead_is_buried_by_workers_of_any_queue(registry: Registry) -> None:
    run_id = registry.submit_run(queue="gpu", max_attempts=1)
    registry.take(queue="gpu")
    registry.age(LEASE_S + 1)
    assert registry.claim("b", "default", LEASE_S) is None
    assert registry.status(run_id) == "dead"


def test_a_failed_last_attempt_leaves_a_run_dead(registry: Registry) -> None:
    run_id = registry.submit_run(max_attempts=1)
    registry.release(registry.take().lease, counts=True, error="MemoryError: too much")
    assert (registry.status(run_id), registry.show(run_id).error) == ("dead", "MemoryError: too much")
    # The message of an error may hold what a front end must not see.
    assert registry.told(run_id)[-1][2] == {"status": "dead", "error": "MemoryError"}


def test_cancelling_ends_what_waits_and_tells_the_owner_of_what_runs(registry: Registry) -> None:
    waits = registry.submit_run("t")
    runs = registry.submit_run("u", priority=1)
    lease = registry.take().lease
    assert registry.cancel(waits, "enough")
    assert registry.status(waits) == "cancelled"
    assert registry.cancel(runs, "enough")
    assert registry.heartbeat("a", [lease], LEASE_S).cancelled == {runs: "enough"}
    registry.finish(lease, RunStatus.CANCELLED, "AbortError: enough")
    assert not registry.cancel(runs, "again")


def test_what_was_cancelled_while_its_worker_died_is_not_run_again(registry: Registry) -> None:
    run_id = registry.submit_run()
    registry.take()
    registry.cancel(run_id, "enough")
    registry.age(LEASE_S + 1)
    assert registry.claim("b", "default", LEASE_S) is None
    assert registry.status(run_id) == "cancelled"


def test_a_run_that_comes_too_late_is_not_begun(registry: Registry) -> None:
    run_id = registry.submit_run(deadline_s=10.0)
    registry.age(11)
    assert registry.claim("a", "default", LEASE_S) is None
    assert registry.status(run_id) == "timeout"


def test_a_busy_thread_refuses_runs_by_default_policy(registry: Registry) -> None:
    first = registry.submit_run()
    with pytest.raises(ThreadBusy, match=f"Thread 't' is busy with run '{first}'") as refused:
        registry.submit_run(on_conflict="reject")
    assert refused.value.run_ids == (first,)
    registry.cancel(first, "enough")
    registry.submit_run(on_conflict="reject")


def test_interrupting_stops_what_waits_and_what_runs_and_then_comes_the_new_run(registry: Registry) -> None:
    runs, waits = registry.submit_run(), registry.submit_run()
    lease = registry.take().lease
    new = registry.submit_run(on_conflict="interrupt")
    assert registry.status(waits) == "cancelled"
    assert registry.heartbeat("a", [lease], LEASE_S).cancelled == {runs: f"interrupt by run {new}"}
    assert registry.claim("b", "default", LEASE_S) is None
    registry.finish(lease, RunStatus.CANCELLED)
    claimed = registry.take("b")
    assert (claimed.lease.run_id, claimed.rollback) == (new, None)


@pytest.mark.parametrize("base", ["c-1", None])
def test_rolling_back_begins_where_the_thread_stood(registry: Registry, base: str | None) -> None:
    registry.submit_run()
    lease = registry.take().lease
    registry.began(lease, base)
    registry.submit_run(on_conflict="rollback")
    # The next one takes over what the one before it was to take back.
    last = registry.submit_run(on_conflict="rollback")
    registry.finish(lease, RunStatus.CANCELLED)
    claimed = registry.take()
    assert (claimed.lease.run_id, claimed.rollback) == (last, Base(base))
    registry.began(claimed.lease, base)
    registry.age(LEASE_S + 1)
    again = registry.take()
    assert (again.began, again.rollback) == (True, None)


def test_there_is_nothing_to_roll_back_of_a_run_that_stored_nothing(registry: Registry) -> None:
    registry.submit_run()
    lease = registry.take().lease
    registry.submit_run(on_conflict="rollback")
    registry.finish(lease, RunStatus.CANCELLED)
    assert registry.take().rollback is None


def test_a_submission_may_be_repeated(registry: Registry) -> None:
    run_id = new_ulid()
    assert registry.submit_run(run_id=run_id) == registry.submit_run(run_id=run_id, on_conflict="reject") == run_id
    assert len(registry.newest(None, None, None, 10)) == 1
    with pytest.raises(ValueError, match=f"Run '{run_id}' is there already, on thread 't'"):
        registry.submit_run("u", run_id)


def test_only_workers_of_its_version_claim_a_run(registry: Registry) -> None:
    run_id = registry.submit_run(graph_version="2")
    assert registry.claim("a", "default", LEASE_S) is None
    assert registry.claim("a", "default", LEASE_S, "1") is None
    assert registry.take(version="2").lease.run_id == run_id


def test_resuming_adds_a_run_with_the_answer(registry: Registry) -> None:
    run_id = registry.submit_run(config={"a": 1}, tenant="acme", queue="gpu")
    with pytest.raises(IllegalRunMove, match="is pending: only an interrupted run waits for an answer"):
        registry.resume(run_id, b"yes", "")
    registry.finish(registry.take(queue="gpu").lease, RunStatus.INTERRUPTED)
    new = registry.resume(run_id, b"yes", "")
    claimed = registry.take(queue="gpu")
    assert (claimed.lease.run_id, claimed.lease.thread_id, claimed.input) == (new, "t", b"yes")
    assert (claimed.config, claimed.tenant) == ({"a": 1}, "acme")


def test_an_answer_that_comes_again_is_not_taken_for_that_of_the_next_question(registry: Registry) -> None:
    first = registry.submit_run()
    registry.finish(registry.take().lease, RunStatus.INTERRUPTED)
    second = registry.resume(first, b"yes", "answer")
    lease = registry.take().lease
    registry.began(lease, "checkpoint")
    registry.finish(lease, RunStatus.INTERRUPTED)
    with pytest.raises(IllegalRunMove, match=f"run '{second}' went on with its thread, and waits for one itself"):
        registry.resume(first, b"yes", "")
    assert registry.resume(first, b"yes", "answer") == second  # the same answer, sent again
    third = registry.resume(second, b"no", "")
    lease = registry.take().lease
    registry.began(lease, "checkpoint")
    registry.finish(lease, RunStatus.SUCCESS)
    for run_id in (first, second):
        with pytest.raises(IllegalRunMove, match=f"run '{third}' went on with its thread, and has ended"):
            registry.resume(run_id, b"yes", "")


def test_an_answer_may_be_given_again_when_its_run_failed_or_the_thread_was_only_edited(registry: Registry) -> None:
    asks = registry.submit_run()
    registry.finish(registry.take().lease, RunStatus.INTERRUPTED)
    registry.resume(asks, b"nonsense", "")
    lease = registry.take().lease
    registry.began(lease, "checkpoint")
    registry.finish(lease, RunStatus.ERROR)
    registry.submit(Submission("t", HELD, queue="held"), "enqueue")
    lease = registry.take(queue="held").lease
    registry.began(lease, "checkpoint")
    registry.finish(lease, RunStatus.SUCCESS)
    again = registry.resume(asks, b"yes", "")
    assert registry.take().lease.run_id == again


def test_runs_are_listed_newest_first_and_filtered(registry: Registry) -> None:
    first, second = registry.submit_run("t"), registry.submit_run("u", tenant="acme")
    registry.cancel(first, "enough")
    assert [run.run_id for run in registry.newest(None, None, None, 10)] == [second, first]
    assert [run.run_id for run in registry.newest(RunStatus.CANCELLED, None, None, 10)] == [first]
    assert [run.run_id for run in registry.newest(None, "u", None, 10)] == [second]
    assert [run.run_id for run in registry.newest(None, None, "acme", 10)] == [second]
    assert [run.run_id for run in registry.newest(None, None, None, 1)] == [second]
    with pytest.raises(UnknownRunError, match="has no run 'x'"):
        registry.show("x")
    assert registry.waiting()[0] == 1


def test_many_workers_get_every_run_once(registry: Registry) -> None:
    expected = {registry.submit_run(f"t{number % 7}") for number in range(40)}
    done: list[str] = []
    gate = threading.Barrier(4)

    def work(owner: str) -> None:
        gate.wait(10)
        while len(done) < len(expected):
            if (claimed := registry.claim(owner, "default", LEASE_S)) is not None:
                registry.finish(claimed.lease, RunStatus.SUCCESS)
                done.append(claimed.lease.run_id)

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(work, f"w{number}") for number in range(4)]:
            future.result(60)
    assert sorted(done) == sorted(expected)


def test_of_many_submissions_at_once_a_thread_takes_one(registry: Registry) -> None:
    registry.set_up()
    gate = threading.Barrier(8)

    def submit(_: int) -> str | None:
        gate.wait(10)
        try:
            return registry.submit_run(on_conflict="reject")
        except ThreadBusy:
            return None

    with ThreadPoolExecutor(8) as pool:
        taken = [run_id for run_id in pool.map(submit, range(8)) if run_id is not None]
    assert len(taken) == 1


def test_tables_are_made_once_by_many_processes_and_not_touched_if_newer(url: str) -> None:
    stores = [RegistryOperations(open_database(url)) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(RegistryOperations.set_up, stores))
    with stores[0].database.transaction() as session:
        session.change("UPDATE sg_schema SET version = 99")
    newcomer = RegistryOperations(open_database(url))
    with pytest.raises(StoreUnavailableError, match="have version 99 and this stategraph knows version 1"):
        newcomer.set_up()
    for store in (*stores, newcomer):
        store.database.close()


def test_a_new_file_that_another_process_writes_to_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    writer = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    writer.execute("CREATE TABLE others (id)")
    writer.execute("BEGIN IMMEDIATE")
    ending = threading.Timer(0.1, writer.execute, ["COMMIT"])
    ending.start()
    database = open_database(f"sqlite:///{path}")
    with database.transaction() as session:
        assert session.execute("PRAGMA journal_mode") == [("wal",)]
    ending.join()
    writer.close()
    database.close()


def test_a_lock_that_stays_on_a_new_file_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BUSY_S", 0.1)
    writer = sqlite3.connect(tmp_path / "runs.db", isolation_level=None)
    writer.execute("CREATE TABLE others (id)")
    writer.execute("BEGIN IMMEDIATE")
    database = open_database(f"sqlite:///{tmp_path}/runs.db")
    with pytest.raises(StoreUnavailableError, match="database is locked"), database.transaction():
        raise AssertionError
    writer.close()
    database.close()


def test_owners_are_new_with_every_process_start() -> None:
    owners = {new_owner() for _ in range(100)}
    assert len(owners) == 100
    ids = [new_ulid() for _ in range(100)]
    assert all(len(each) == 26 for each in ids)
    assert min(ids)[:9] == ids[0][:9]


@pytest.mark.anyio
async def test_hosts_submit_values_and_get_them_back(url: str) -> None:
    registry = RunRegistry.from_url(url, settings=LeaseSettings(lease_s=2.0, heartbeat_s=0.5))
    run_id = await registry.submit("t", {"n": (1, 2)}, target="app:graph", context={"user": "ada"})
    claimed = await registry.claim("me")
    assert claimed is not None
    assert registry.load(claimed.input) == {"n": (1, 2)}
    assert registry.load(claimed.context) == {"user": "ada"}
    await registry.finish(claimed.lease, "interrupted")
    resumed = await registry.resume(run_id, {"ok": True})
    again = await registry.claim_run("me", resumed)
    assert again is not None
    assert registry.load(again.input).resume == {"ok": True}
    await registry.release(again.lease)
    assert (await registry.get(resumed)).status == "pending"
    assert [run.run_id for run in await registry.list(thread_id="t", status="interrupted")] == [run_id]
    assert await registry.cancel(resumed)
    await registry.aclose()


@pytest.mark.anyio
async def test_mistakes_are_told_in_a_sentence(tmp_path: Any) -> None:
    registry = RunRegistry.from_url(f"sqlite:///{tmp_path / 'no' / 'folder.db'}")
    with pytest.raises(StoreUnavailableError, match="cannot be used: unable to open database file"):
        await registry.submit("t", 1, target="app:graph")
    for target in ("app", "app:", ":graph", "a:b:c"):
        with pytest.raises(ValueError, match=r"write 'package.module:attribute'"):
            await registry.submit("t", 1, target=target)
    with pytest.raises(ValueError, match=r"on_conflict is 'wait'; expected one of: reject, enqueue"):
        await registry.submit("t", 1, target="app:graph", on_conflict="wait")  # type: ignore[arg-type]
    with pytest.raises(
        TypeError, match=r"The target is a value of type builtin_function_or_method, and workers import"
    ):
        await registry.submit("t", 1, target=len)  # type: ignore[arg-type]
    for thread_id in (None, ""):
        with pytest.raises(ValueError, match=f"The thread_id is {thread_id!r}: name the thread"):
            await registry.submit(thread_id, 1, target="app:graph")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=f"The thread_id is {thread_id!r}: name the thread"):
            async with hold(registry, thread_id):  # type: ignore[arg-type]
                raise AssertionError
    wrong: list[dict[str, Any]] = [
        {"priority": "high"},
        {"queue": 3},
        {"run_id": 3},
        {"delay_s": "1"},
        {"deadline_s": "1"},
    ]
    for argument in wrong:
        (name,) = argument
        with pytest.raises(TypeError, match=f"A run's {name} is {argument[name]!r}, of type"):
            await registry.submit("t", 1, target="app:graph", **argument)
    with pytest.raises(TypeError, match=r"A run's input, context or answer cannot be stored: .* function"):
        await registry.submit("t", {"call": lambda: 1}, target="app:graph")
    with pytest.raises(ValueError, match="'done' is no status of a run; expected one of: pending, running"):
        await registry.list(status="done")
    with pytest.raises(ConfigurationError, match=r"has the scheme 'mysql'"):
        RunRegistry.from_url("mysql://x")
    with pytest.raises(ConfigurationError, match=r"is named 'sqlite:///runs.db'"):
        RunRegistry.from_url("sqlite://runs.db")
    await registry.aclose()


@pytest.mark.anyio
async def test_a_server_that_is_not_there_is_an_error_without_its_password(tmp_path: Any) -> None:
    pytest.importorskip("psycopg_pool")
    registry = RunRegistry.from_url(f"postgresql://me:s3cret@/db?host={tmp_path}&connect_timeout=1")
    with anyio.fail_after(30), pytest.raises(StoreUnavailableError, match="cannot be reached") as refused:
        await registry.set_up()
    assert "s3cret" not in str(refused.value)
    await registry.aclose()


def test_sqlite_is_away_if_its_client_cannot_operate_on_the_file() -> None:
    database = open_database("sqlite:///:memory:")
    assert database.is_away(sqlite3.OperationalError("database is locked"))
    assert not database.is_away(sqlite3.IntegrityError("UNIQUE constraint failed"))
    assert not database.is_away(ConnectionError("a node's own"))


def test_postgres_is_away_if_a_connection_is_lost_or_the_server_stops_or_starts() -> None:
    psycopg, pool = pytest.importorskip("psycopg"), pytest.importorskip("psycopg_pool")
    database = open_database("postgresql://nobody@127.0.0.1:1/none")
    codes = psycopg.errors
    for error in (psycopg.OperationalError("the connection is closed"), pool.PoolTimeout("no connection")):
        assert database.is_away(error)
    for kind in (codes.AdminShutdown, codes.CrashShutdown, codes.CannotConnectNow, codes.ConnectionFailure):
        assert database.is_away(kind("the server says so"))
    for kind in (codes.QueryCanceled, codes.LockNotAvailable, codes.UniqueViolation, codes.UndefinedTable):
        assert not database.is_away(kind("a statement's own"))
    database.close()


def test_a_file_that_is_no_database_is_left_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[sqlite3.Connection] = []

    def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        made.append(sqlite3_connect(*arguments, **options))
        return made[-1]

    sqlite3_connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", connect)
    file = tmp_path / "text"
    file.write_text("no database " * 100)
    database = SqliteDatabase(str(file))
    with pytest.raises(ConfigurationError, match=r"text' is no SQLite database"), database.transaction():
        pass
    database.close()
    (connection,) = made
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")
