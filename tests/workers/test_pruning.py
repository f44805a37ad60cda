"""Runs that ended long ago are deleted, and nothing else is, beside workers and readers."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from stategraph.cli import main
from stategraph.workers import eventlog
from stategraph.workers.eventlog import attach
from stategraph.workers.leases import IllegalRunMove, LeaseLost, RunStatus
from stategraph.workers.ledger.book import EffectBook
from stategraph.workers.ledger.machine import Claimant, Dispatch, Settle
from stategraph.workers.registry import pruning
from stategraph.workers.registry.pruning import Pruned, Pruning
from stategraph.workers.registry.runs import RunRegistry
from stategraph.workers.registry.values import Base, Event, Lease, UnknownRunError

DAY_S = 86_400.0
LIMIT_S = 60

pytestmark = pytest.mark.anyio


class Site:
    """A registry, and time travel: what has ended, ended so many seconds before."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.registry = RunRegistry.from_url(url, bus="polling")

    async def begin(self, thread: str, **options: Any) -> Lease:
        run_id = await self.registry.submit(
            thread, "input", target="app:graph", **{"on_conflict": "enqueue", **options}
        )
        return await self.claim(run_id)

    async def claim(self, run_id: str) -> Lease:
        claimed = await self.registry.claim_run("me", run_id)
        assert claimed is not None
        return claimed.lease

    async def ended(self, thread: str, status: str = "success", events: int = 0, **options: Any) -> str:
        """A run that ended, and had stored something."""
        lease = await self.begin(thread, **options)
        self._change(self.registry.operations.database.sql.begin, None, lease.run_id)
        told = [(number + 2, Event("custom", b"null\0")) for number in range(events)]
        if status == "dead":
            for _ in range(3):
                await self.registry.release(lease, counts=True, error="MemoryError: too much")
                if (await self.registry.get(lease.run_id)).status == "pending":
                    lease = await self.claim(lease.run_id)
        else:
            await self.registry.finish(lease, status, None, told)
        return lease.run_id

    def age(self, seconds: float) -> None:
        ph = self.registry.operations.database.sql.dialect.parameter
        self._change(f"UPDATE sg_run SET finished_at = finished_at - {ph}", seconds)

    def _change(self, statement: str, *parameters: object) -> None:
        with self.registry.operations.database.transaction() as session:
            session.change(statement, parameters)

    async def left(self) -> set[str]:
        return {run.run_id for run in await self.registry.list(limit=10_000)}

    def count(self, table: str) -> int:
        with self.registry.operations.database.transaction(write=False) as session:
            number: int = session.execute(f"SELECT count(*) FROM {table}")[0][0]
        return number


@pytest.fixture
async def site(url: str) -> AsyncIterator[Site]:
    made = Site(url)
    await made.registry.set_up()
    yield made
    await made.registry.aclose()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Transactions so small that a few runs need several."""
    monkeypatch.setattr(pruning, "MOST_RUNS", 2)
    monkeypatch.setattr(pruning, "MOST_EVENTS", 3)
    yield


async def test_what_ended_before_an_age_is_deleted_with_its_events_and_nothing_else_is(site: Site, small: None) -> None:
    old = [
        await site.ended(f"old {status}", status, events=5)
        for status in ("success", "error", "timeout", "cancelled", "dead")
    ]
    site.age(31 * DAY_S)
    young = await site.ended("young", events=1)
    running = await site.begin("running")
    waiting = await site.registry.submit("waiting", "input", target="app:graph")
    events = site.count("sg_event")
    kept = len(await site.registry.events_after(young, 0, 100)) + 1  # and the beginning of the one that runs
    seen: list[Pruned] = []

    counted = await site.registry.prune(30 * DAY_S, dry_run=True)
    assert site.count("sg_event") == events
    pruned = await site.registry.prune(30 * DAY_S, observer=seen.append)

    assert pruned == counted == Pruned(runs=len(old), events=events - kept)
    assert seen[-1] == pruned and len(seen) > 5
    assert await site.left() == {young, running.run_id, waiting}
    assert site.count("sg_event") == kept
    assert await site.registry.prune(30 * DAY_S) == Pruned()
    for run_id in old:
        with pytest.raises(UnknownRunError, match=f"has no run '{run_id}': there was none, or it was pruned"):
            await site.registry.get(run_id)
    # No token is used twice, though nothing is left of the run that had the last one.
    assert (await site.begin("old success")).token > 1


async def test_only_runs_in_some_statuses_are_deleted(site: Site) -> None:
    failed, done = await site.ended("a", "error"), await site.ended("b")
    site.age(1.0)

    assert (await site.registry.prune(0.5, statuses=["success", RunStatus.CANCELLED])).runs == 1

    assert await site.left() == {failed}
    assert done not in await site.left()
    for status in ("pending", "running"):
        with pytest.raises(ValueError, match=f"Runs that are {status} have not ended, and cannot be pruned"):
            await site.registry.prune(0.5, statuses=["success", status])
    with pytest.raises(ValueError, match="'odd' is no status of a run; expected one of: pending, running, interrupted"):
        await site.registry.prune(0.5, statuses=["odd"])
    for text in ("success", RunStatus.SUCCESS):
        with pytest.raises(ValueError, match=r"statuses is 'success', a text; expected a list .* \['success'\]"):
            await site.registry.prune(0.5, statuses=text)
    for age_s in (-1.0, float("nan"), float("inf"), "30d", True, 10**16, 10**5000):
        with pytest.raises(ValueError, match=r"expected a number of seconds from 0 to 1e\+15"):
            await site.registry.prune(age_s)


async def test_a_run_that_waits_for_an_answer_stays_until_it_has_one_or_is_asked_for(site: Site) -> None:
    asks = await site.ended("t", "interrupted")
    other = await site.ended("u", "interrupted")
    await site.registry.submit("t", "input", target="app:graph", run_id="cancelled")
    await site.registry.cancel("cancelled")  # no answer
    site.age(DAY_S)
    assert (await site.registry.prune(1.0)).runs == 1
    assert await site.left() == {asks, other}

    answer = await site.registry.resume(asks, "yes")
    assert (await site.registry.prune(1.0)).runs == 0
    await site.registry.finish(await site.claim(answer), "success")
    site._change(site.registry.operations.database.sql.begin, None, answer)

    assert (await site.registry.prune(1.0)).runs == 1
    assert await site.left() == {other, answer}
    assert (await site.registry.prune(1.0, statuses=["interrupted"])).runs == 1
    with pytest.raises(UnknownRunError):
        await site.registry.resume(other, "too late")


async def test_a_run_that_another_one_is_to_take_back_stays_until_that_has_begun(site: Site) -> None:
    first = await site.begin("t")
    begin = site.registry.operations.database.sql.begin
    site._change(begin, "checkpoint", first.run_id)
    second = await site.registry.submit("t", "input", target="app:graph", on_conflict="rollback")
    await site.registry.finish(first, "cancelled")
    site.age(DAY_S)
    assert (await site.registry.prune(1.0)).runs == 0

    claimed = await site.registry.claim_run("me", second)
    assert claimed is not None and claimed.rollback == Base("checkpoint")
    assert (await site.registry.prune(1.0)).runs == 0
    site._change(begin, "checkpoint", second)

    assert (await site.registry.prune(1.0)).runs == 1
    assert await site.left() == {second}


async def test_a_database_that_is_older_than_the_index_for_that_gets_it(site: Site) -> None:
    sql = site.registry.operations.database.sql
    site._change("DROP INDEX sg_rollback")
    later = RunRegistry.from_url(site.url, bus="polling")
    await later.set_up()

    with site.registry.operations.database.transaction(write=False) as session:
        assert session.execute(sql.exists, ("sg_rollback",))
        if sql.dialect.name == "postgres":
            session.change("SET LOCAL enable_seqscan = off")  # the table is empty
        explain = "EXPLAIN QUERY PLAN " if sql.dialect.name == "sqlite" else "EXPLAIN "
        plan = str(session.execute(explain + sql.prunable, (0, 1.0, "[]", 0, 100)))
    assert "sg_rollback" in plan  # else each run would be compared with all others of its thread
    await later.aclose()


async def test_a_dead_run_that_gets_new_attempts_meanwhile_stays(site: Site) -> None:
    dead, other = await site.ended("t", "dead"), await site.ended("u", "dead")
    site.age(DAY_S)
    looking = Pruning(site.registry.operations, 1.0)
    looking.step()  # both were found
    assert await site.registry.requeue(dead)

    while not looking.is_done:
        looking.step()

    assert looking.pruned.runs == 1
    assert await site.left() == {dead}
    assert (await site.registry.get(dead)).status == "pending"
    assert other not in await site.left()


async def test_what_was_left_halfway_is_deleted_by_the_next_time(site: Site, small: None) -> None:
    run_id = await site.ended("t", events=10)
    site.age(DAY_S)
    stopped = Pruning(site.registry.operations, 1.0)
    for _ in range(3):
        stopped.step()
    assert stopped.pruned == Pruned(runs=0, events=6)
    assert [row[0] for row in await site.registry.events_after(run_id, 0, 100)] == list(range(7, 13))

    assert await site.registry.prune(1.0) == Pruned(runs=1, events=6)
    assert site.count("sg_event") == 0


@pytest.mark.parametrize("steps", [2, 10])
async def test_a_reader_of_a_run_that_is_deleted_is_told_so(
    site: Site, small: None, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eventlog, "PAGE", 2)
    monkeypatch.setattr(eventlog, "FEW_EVENTS", 2)
    run_id = await site.ended("t", events=10)
    site.age(DAY_S)
    looking = Pruning(site.registry.operations, 1.0)
    read: list[int] = []

    with pytest.raises(UnknownRunError, match=r"pruned") as caught:
        async for event in attach(site.registry, run_id):
            read.append(event.seq)
            if read == [1]:
                for _ in range(steps):
                    await anyio.to_thread.run_sync(looking.step)

    assert read == [1, 2]
    assert run_id in str(caught.value)


async def test_a_reader_that_has_all_events_ends_as_ever(site: Site) -> None:
    run_id = await site.ended("t", events=2)
    site.age(DAY_S)
    read = []
    async for event in attach(site.registry, run_id):
        read.append(event.seq)
        if event.type == "run.end":
            await site.registry.prune(1.0)
    assert read == [1, 2, 3, 4]


async def test_an_owner_that_repeats_its_report_of_a_run_that_is_gone_has_lost_it(site: Site) -> None:
    lease = await site.begin("t")
    await site.registry.finish(lease, "success")
    site.age(1.0)
    await site.registry.prune(0.0)

    with pytest.raises(LeaseLost, match=f"Run '{lease.run_id}' was pruned"):
        await site.registry.finish(lease, "success")
    assert (await site.registry.heartbeat("me", [lease])).lost == (lease,)


async def test_effects_outlive_their_runs(site: Site) -> None:
    book = EffectBook(site.registry.operations)
    lease = await site.begin("t")
    claimant = Claimant(lease.run_id, lease.token)
    decision = await anyio.to_thread.run_sync(book.claim, "", "charge:1", "hash", claimant, lease)
    assert decision.order == Dispatch()
    book.tell("", "charge:1", Settle(claimant, b"receipt"))
    book.claim("", "charge:2", "hash", claimant, lease)
    await site.registry.finish(lease, "success")
    site.age(DAY_S)
    assert (await site.registry.prune(1.0)).runs == 1

    again = EffectBook(site.registry.operations)
    later = await site.begin("t")
    known = again.claim("", "charge:1", "hash", Claimant(later.run_id, later.token), later)
    assert known.row is not None and known.row.result == b"receipt"
    doubt = again.claim("", "charge:2", "hash", Claimant(later.run_id, later.token), later)
    assert doubt.row is not None and doubt.row.state == "in_doubt"


async def test_workers_claim_and_finish_while_runs_are_deleted(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "MOST_RUNS", 3)
    for number in range(30):
        await site.ended(f"t{number}", events=3)
    site.age(DAY_S)
    begun = threading.Event()

    async def work() -> None:
        await anyio.to_thread.run_sync(begun.wait)
        for number in range(30):
            await site.registry.finish(await site.begin(f"t{number}"), "success")

    with anyio.fail_after(LIMIT_S):
        async with anyio.create_task_group() as group:
            group.start_soon(work)
            pruned = await site.registry.prune(DAY_S / 2, observer=lambda _: begun.set())

    assert pruned == Pruned(runs=30, events=150)
    assert [run.status for run in await site.registry.list()] == ["success"] * 30


@pytest.mark.parametrize("url", ["postgres"], indirect=True)
async def test_a_run_that_is_locked_is_passed_over(site: Site) -> None:
    locked, free = await site.ended("t"), await site.ended("u")
    site.age(DAY_S)
    database = site.registry.operations.database
    with database.transaction() as session:
        session.execute(database.sql.life, (locked,))
        with anyio.fail_after(LIMIT_S):
            assert (await site.registry.prune(1.0)).runs == 1
        assert free not in await site.left()
    assert (await site.registry.prune(1.0)).runs == 1


async def test_a_run_that_is_deleted_while_it_is_answered_is_a_sentence(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = await site.ended("t", "interrupted")
    shown = site.registry.operations.show(run_id)
    site.age(DAY_S)
    await site.registry.prune(1.0, statuses=["interrupted"])
    monkeypatch.setattr(site.registry.operations, "show", lambda _: shown)

    with pytest.raises(UnknownRunError, match="it was pruned"):
        await site.registry.resume(run_id, "yes")
    monkeypatch.undo()
    with pytest.raises((UnknownRunError, IllegalRunMove)):
        await site.registry.requeue(run_id)


# The command.


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    monkeypatch.setenv("STATEGRAPH_STORE", url)

    async def fill() -> None:
        site = Site(url)
        for number in range(3):
            await site.ended(f"t{number}", events=2)
        await site.ended("t3", "error")
        site.age(3 * DAY_S)
        await site.ended("young")
        await site.registry.aclose()

    anyio.run(fill)

    def run(*arguments: str, code: int = 0) -> str:
        assert main(["runs", "prune", *arguments]) == code
        return capsys.readouterr().out

    return run


def test_the_command_says_what_it_would_delete_and_then_deletes_it(command: Any) -> None:
    assert command("--older-than", "2d", "--dry-run") == "4 runs with 14 events would be deleted.\n"
    assert json.loads(command("--older-than", "72h", "--dry-run", "--json")) == {
        "runs": 4,
        "events": 14,
        "dry_run": True,
    }
    assert command("--older-than", "2d", "--status", "error") == "1 run with 2 events deleted.\n"
    assert json.loads(command("--older-than", "2d", "--json")) == {"runs": 3, "events": 12, "dry_run": False}
    assert command("--older-than", "2d") == "0 runs with 0 events deleted.\n"
    assert command("--older-than", "0s") == "1 run with 2 events deleted.\n"


def test_the_command_tells_how_far_it_is(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stategraph.cli.progress.TELL_S", 0.0)
    monkeypatch.setattr(pruning, "MOST_RUNS", 2)

    lines = [json.loads(line) for line in command("--older-than", "1d", "--json").splitlines()]

    assert {line.get("event") for line in lines[:-1]} == {"pruning"}
    assert [line["runs"] for line in lines if line["runs"]] == [2, 2, 4, 4]


@pytest.mark.parametrize("age", ["", "30", "d", "-1d", "1y", "1e3d", "30 d ays"])
def test_an_age_that_is_none_is_refused(age: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["runs", "prune", f"--older-than={age}"])
    assert "is no age: write a number and a unit" in capsys.readouterr().err


@pytest.mark.parametrize("age", ["99999999999d", "52179w", "9" * 400 + "s"])
def test_an_age_that_is_longer_than_anything_is_old_is_refused(age: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["runs", "prune", f"--older-than={age}"])
    assert "is longer than 1,000 years: write a shorter age" in capsys.readouterr().err


def test_what_has_not_ended_cannot_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["runs", "prune", "--older-than", "1d", "--status", "running"])
    assert "invalid choice" in capsys.readouterr().err
