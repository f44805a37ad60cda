"""Failures that other systems had with leases, each shown first on a naive lease and then not to happen here.

The numbers are those of the public issues: ibbybuilds/aegra, dbos-inc/dbos-transact-py, tensorzero/durable.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
from langgraph.checkpoint.base import empty_checkpoint

from stategraph.workers.fencing.guard import Guard
from stategraph.workers.fencing.saver import FencedSaver
from stategraph.workers.leases import LeaseLost, RunStatus
from stategraph.workers.ledger.effects import EffectLedger, effect
from stategraph.workers.registry.databases import open_database
from stategraph.workers.registry.operations import RegistryOperations
from stategraph.workers.registry.port import StoreUnavailableError
from stategraph.workers.registry.runs import RunRegistry
from stategraph.workers.registry.values import Claimed, Event, Submission, ThreadBusy
from tests.workers.restarting import Server
from tests.workers.savers import OWN, sync_saver

LEASE_S = 15.0


class System(Protocol):
    """What the traps need of a system with leases. What an attempt may not do is refused with an error, or ignored."""

    def submit(self, run: str, thread: str = "t") -> None: ...
    def claim(self, worker: str) -> Any: ...
    def start(self, worker: str) -> list[Any]:
        """Begin a process that has this name; return the runs that it takes on by that."""

    def begin_locally(self, run: str, thread: str) -> Any:
        """Execute a run in the caller's own process."""

    def heartbeat(self, attempt: Any) -> None: ...
    def write(self, attempt: Any, value: str) -> None: ...
    def finish(self, attempt: Any) -> None: ...
    def wait_out_the_lease(self) -> None: ...
    def written(self, thread: str = "t") -> list[str]: ...
    def owner_is(self, attempt: Any) -> bool: ...
    def is_busy(self, thread: str) -> bool: ...
    def has_ended(self, run: str) -> bool: ...


class NaiveLease:
    """A lease as it is written at first: a name, a time, and trust."""

    def __init__(self) -> None:
        self.now = 0.0
        self.runs: dict[str, dict[str, Any]] = {}
        self.values: dict[str, list[str]] = {}

    def submit(self, run: str, thread: str = "t") -> None:
        self.runs[run] = {"id": run, "thread": thread, "status": "pending", "owner": None, "until": 0.0}

    def _take(self, row: dict[str, Any], worker: str) -> dict[str, Any]:
        row.update(status="running", owner=worker, until=self.now + LEASE_S)
        return {"id": row["id"], "worker": worker}

    def claim(self, worker: str) -> Any:
        busy = {row["thread"] for row in self.runs.values() if row["status"] == "running"}
        for row in self.runs.values():
            if row["status"] == "pending" and row["thread"] not in busy:
                return self._take(row, worker)
        for row in self.runs.values():
            if row["status"] == "running" and row["until"] < self.now and row["owner"] != "draining":
                return self._take(row, worker)
        return None

    def start(self, worker: str) -> list[Any]:
        mine = [row for row in self.runs.values() if row["status"] == "running" and row["owner"] == worker]
        return [self._take(row, worker) for row in mine]

    def begin_locally(self, run: str, thread: str) -> Any:
        self.submit(run, thread)
        self.runs[run].update(status="running", owner="local", until=float("inf"))
        return {"id": run, "worker": "local"}

    def heartbeat(self, attempt: Any) -> None:
        row = self.runs[attempt["id"]]
        if row["owner"] == attempt["worker"]:
            row["until"] = self.now + LEASE_S

    def write(self, attempt: Any, value: str) -> None:
        self.values.setdefault(self.runs[attempt["id"]]["thread"], []).append(value)

    def finish(self, attempt: Any) -> None:
        row = self.runs[attempt["id"]]
        if row["owner"] == attempt["worker"]:
            row["status"] = "success"

    def wait_out_the_lease(self) -> None:
        self.now += LEASE_S + 1

    def written(self, thread: str = "t") -> list[str]:
        return self.values.get(thread, [])

    def owner_is(self, attempt: Any) -> bool:
        return bool(self.runs[attempt["id"]]["status"] == "running")

    def is_busy(self, thread: str) -> bool:
        return any(row["thread"] == thread and row["status"] == "running" for row in self.runs.values())

    def has_ended(self, run: str) -> bool:
        return self.runs[run]["status"] not in ("pending", "running")


class Ours:
    """The registry and fenced savers; workers have one name on purpose, which is not how `new_owner` names them."""

    def __init__(self, url: str, saver: Any) -> None:
        self.store = RegistryOperations(open_database(url))
        self.store.set_up()
        self.saver = saver

    def submit(self, run: str, thread: str = "t") -> None:
        self.store.submit(Submission(thread, "app:graph", run_id=run), "enqueue")

    def claim(self, worker: str) -> Claimed | None:
        return self.store.claim(worker, "default", LEASE_S)

    def start(self, worker: str) -> list[Any]:
        return []  # there is nothing to recover at the start

    def begin_locally(self, run: str, thread: str) -> Any:
        run_of_process = Submission(thread, "app:graph", run_id=run, queue=f"held:{run}", max_attempts=1)
        self.store.submit(run_of_process, "enqueue")
        return self.store.claim_run("local", run, LEASE_S)

    def heartbeat(self, attempt: Any) -> None:
        self.store.heartbeat(attempt.lease.owner, [attempt.lease], LEASE_S)

    def write(self, attempt: Any, value: str) -> None:
        config: Any = {
            "configurable": {"thread_id": attempt.lease.thread_id, "checkpoint_ns": "", "checkpoint_id": "c"}
        }
        with contextlib.suppress(LeaseLost):
            FencedSaver(self.saver, Guard(attempt.lease)).put_writes(config, [("x", value)], f"task-{value}")

    def finish(self, attempt: Any) -> None:
        with contextlib.suppress(LeaseLost):
            self.store.finish(attempt.lease, RunStatus.SUCCESS)

    def wait_out_the_lease(self) -> None:
        with self.store.database.transaction() as session:
            session.change("UPDATE sg_run SET lease_until = 0 WHERE status = 'running'")

    def written(self, thread: str = "t") -> list[str]:
        config: Any = {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}
        if self.saver.get_tuple(config) is None:
            self.saver.put(config, {**empty_checkpoint(), "id": "c"}, {}, {})
        found = self.saver.get_tuple(config)
        return sorted(value for _, _, value in found.pending_writes)

    def owner_is(self, attempt: Any) -> bool:
        info = self.store.show(attempt.lease.run_id)
        with self.store.database.transaction() as session:
            rows = session.execute("SELECT run_id, token FROM sg_run WHERE status = 'running'")
        return info.status is RunStatus.RUNNING and (attempt.lease.run_id, attempt.lease.token) in rows

    def is_busy(self, thread: str) -> bool:
        try:
            run = self.store.submit(Submission(thread, "app:graph"), "reject")
        except ThreadBusy:
            return True
        self.store.cancel(run, "only asked")
        return False

    def has_ended(self, run: str) -> bool:
        return self.store.show(run).finished_at is not None


@pytest.fixture(params=["sqlite", "own sqlite", "postgres", "own postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database, which also says whose savers are used on it."""
    own, _, kind = request.param.rpartition(" ")
    if kind == "sqlite":
        return f"sqlite:///{tmp_path / ('own.db' if own else 'runs.db')}"
    return str(request.getfixturevalue("postgres")) + (OWN if own else "")


@pytest.fixture
def ours(url: str) -> Iterator[Ours]:
    with sync_saver(url) as saver:
        made = Ours(url, saver)
        yield made
        made.store.database.close()


# The traps.


def a_stalled_attempt_with_the_same_name_changes_nothing(system: System) -> None:
    """aegra#547: the replacement has the same name, so the stalled one heartbeats, writes and finalizes over it."""
    system.submit("r")
    stalled = system.claim("worker-1")
    system.wait_out_the_lease()
    replacement = system.claim("worker-1")
    assert replacement is not None
    system.wait_out_the_lease()
    system.heartbeat(stalled)
    third = system.claim("worker-1")
    assert third is not None, "the stalled attempt kept the lease of its replacement alive"
    system.write(stalled, "stale")
    system.finish(stalled)
    system.write(third, "right")
    assert system.owner_is(third), "the stalled attempt ended its replacement's run"
    assert system.written() == ["right"]


def a_process_that_executes_by_itself_and_dies_does_not_keep_the_thread(system: System) -> None:
    """aegra#526: runs of local mode have no lease; after a crash the thread is busy for ever."""
    system.begin_locally("r", "t")
    system.wait_out_the_lease()
    system.claim("worker")
    assert system.has_ended("r"), "the run stays running"
    assert not system.is_busy("t"), "the thread stays busy"


def a_list_of_orphans_that_is_out_of_date_executes_nothing(system: System) -> None:
    """dbos#742: a recovery executes from a list that it read before somebody else took the runs on."""
    system.submit("r")
    system.claim("dead")
    first = [*system.start("dead"), *_taken_on(system, "dead")]
    second = [*system.start("dead"), *_taken_on(system, "dead")]
    for attempt in (*first, *second):
        system.write(attempt, f"by {'first' if attempt in first else 'second'}")
    assert len(system.written()) <= 1, "both recoveries executed the run"


def _taken_on(system: System, worker: str) -> list[Any]:
    system.wait_out_the_lease()
    return [attempt for attempt in [system.claim(worker)] if attempt is not None]


def a_draining_process_takes_nothing_on_again(system: System) -> None:
    """dbos#804: a new process with the id of the draining one makes the runs of the draining one its own, or back."""
    system.submit("r")
    draining = system.claim("executor")
    again = system.start("executor")
    system.write(draining, "by the draining one")
    for attempt in again:
        system.write(attempt, "by its namesake")
    assert len(system.written()) <= 1, "the run executes in both"
    assert system.owner_is(draining)
    assert again == [], "a namesake took on what the draining one has"


def what_cannot_be_dispatched_keeps_nothing_else_from_it(dispatch_all: Callable[[Callable[[str], None]], None]) -> None:
    """dbos#546: the dispatch of one row raises, and the rest of its batch is skipped."""
    dispatched: list[str] = []

    def dispatch(run: str) -> None:
        if run == "r1":
            raise ImportError("no module")
        dispatched.append(run)

    with contextlib.suppress(ImportError):
        dispatch_all(dispatch)
    assert dispatched == ["r0", "r2", "r3"], "runs after the broken one were skipped"


def a_run_that_lost_its_worker_between_two_steps_does_not_block_what_follows(system: System) -> None:
    """dbos#805: a row that is pending between two steps of a dead worker blocks a queue that takes one at a time."""
    system.submit("first")
    system.submit("second")
    died = system.claim("draining")
    system.write(died, "step 1")
    system.wait_out_the_lease()
    taken = system.claim("other")
    assert taken is not None, "the orphan blocks the thread"
    system.finish(taken)
    after = system.claim("other")
    assert after is not None, "what came after it is never executed"


SCENARIOS = [
    a_stalled_attempt_with_the_same_name_changes_nothing,
    a_process_that_executes_by_itself_and_dies_does_not_keep_the_thread,
    a_list_of_orphans_that_is_out_of_date_executes_nothing,
    a_draining_process_takes_nothing_on_again,
    a_run_that_lost_its_worker_between_two_steps_does_not_block_what_follows,
]
NAMES = ["aegra-547", "aegra-526", "dbos-742", "dbos-804", "dbos-805"]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=NAMES)
def test_a_naive_lease_falls_into_the_trap(scenario: Callable[[System], None]) -> None:
    with pytest.raises(AssertionError):
        scenario(NaiveLease())


@pytest.mark.parametrize("scenario", SCENARIOS, ids=NAMES)
def test_the_registry_does_not(scenario: Callable[[System], None], ours: Ours) -> None:
    scenario(ours)


# dbos#546


def test_a_naive_batch_is_skipped_after_a_row_that_cannot_be_dispatched() -> None:
    naive = NaiveLease()
    for number in range(4):
        naive.submit(f"r{number}", f"t{number}")

    def dispatch_all(dispatch: Callable[[str], None]) -> None:
        for attempt in [naive.claim("w") for _ in range(4)]:
            dispatch(attempt["id"])

    with pytest.raises(AssertionError, match="were skipped"):
        what_cannot_be_dispatched_keeps_nothing_else_from_it(dispatch_all)


def test_claims_go_on_after_a_row_that_cannot_be_dispatched(ours: Ours) -> None:
    for number in range(4):
        ours.submit(f"r{number}", f"t{number}")

    def dispatch_all(dispatch: Callable[[str], None]) -> None:
        while (claimed := ours.claim("w")) is not None:
            try:
                dispatch(claimed.lease.run_id)
                ours.store.finish(claimed.lease, RunStatus.SUCCESS)
            except ImportError as error:
                ours.store.release(claimed.lease, delay_s=5.0, error=str(error))

    what_cannot_be_dispatched_keeps_nothing_else_from_it(dispatch_all)
    assert ours.store.show("r1").status is RunStatus.PENDING


# durable#68


def test_a_naive_lease_lets_every_checkpoint_of_a_stale_attempt_through() -> None:
    naive = NaiveLease()
    naive.submit("r")
    stale = naive.claim("a")
    naive.wait_out_the_lease()
    naive.claim("b")
    naive.write(stale, "stale")
    assert naive.written() == ["stale"]


def test_everything_a_stale_attempt_stores_is_refused(url: str, ours: Ours) -> None:
    ours.submit("r")
    stale = ours.claim("a")
    assert stale is not None
    ours.wait_out_the_lease()
    ours.claim("b")
    fenced = FencedSaver(ours.saver, Guard(stale.lease))
    place: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": "", "checkpoint_id": "c"}}
    registry = RunRegistry(ours.store)
    ledger = EffectLedger(registry)
    happened: list[str] = []
    act = effect(key="k")(lambda: happened.append("k"))
    with ledger.of_run(stale):
        for store in (
            lambda: fenced.put(place, empty_checkpoint(), {}, {}),
            lambda: fenced.put_writes(place, [("x", 1)], "task"),
            lambda: fenced.delete_thread("t"),
            lambda: ours.store.flush(stale.lease, 1, [(9, Event("x", None))]),
            lambda: ours.store.release(stale.lease),
            lambda: ours.store.finish(stale.lease, RunStatus.SUCCESS),
            act,
        ):
            with pytest.raises(LeaseLost):
                store()
    assert happened == []


# dbos#716

ORPHANS = 250
AT = 100


def recover_once(claim: Callable[[], str | None], restart: Callable[[], None]) -> list[str]:
    """Recover as a process does at its start: in one pass, that ends with the database."""
    recovered: list[str] = []
    with contextlib.suppress(ConnectionError):
        for number in itertools.count():
            if number == AT:
                restart()
            if (run := claim()) is None:
                break
            recovered.append(run)
    return recovered


def test_a_naive_recovery_strands_what_it_had_not_reached_when_the_database_restarted() -> None:
    naive = NaiveLease()
    for number in range(ORPHANS):
        naive.submit(f"r{number}", f"t{number}")
        naive.claim("dead")
    orphans = iter(naive.start("dead"))
    is_up = True

    def claim() -> str | None:
        if not is_up:
            raise ConnectionError
        found = next(orphans, None)
        return None if found is None else str(found["id"])

    def restart() -> None:
        nonlocal is_up
        is_up = False

    assert len(recover_once(claim, restart)) == AT


def test_every_orphan_is_taken_on_although_postgresql_restarts_in_the_middle(tmp_path_factory: Any) -> None:
    with Server.running() as server:
        store = RegistryOperations(open_database(server.url))
        store.set_up()
        with store.database.transaction() as session:
            session.change("INSERT INTO sg_thread_fence SELECT 't' || n, 0 FROM generate_series(1, 250) AS n")
            session.change(
                """INSERT INTO sg_run (run_id, thread_id, queue, priority, status, target, config, attempt,
                    max_attempts, token, owner, lease_until, available_at, tenant, created_at)
                    SELECT 'r' || n, 't' || n, 'default', 0, 'running', 'app:graph', '{}', 1, 3, 0, 'dead', 0, 0, '', 0
                    FROM generate_series(1, 250) AS n"""
            )

        def claim() -> str | None:
            for _ in range(200):  # as a worker's loop does, poll by poll
                try:
                    claimed = store.claim("alive", "default", 600.0)
                except StoreUnavailableError:
                    continue
                return None if claimed is None else claimed.lease.run_id
            raise AssertionError("PostgreSQL did not come back")

        recovered = recover_once(claim, server.restart)
        assert len(recovered) == len(set(recovered))
        # A claim whose answer was lost with the server may have been committed; then its lease runs out as any other.
        assert ORPHANS - len(recovered) <= 1
        with store.database.transaction() as session:
            assert session.execute("SELECT count(*) FROM sg_run WHERE owner = 'dead'") == [(0,)]
        store.database.close()
