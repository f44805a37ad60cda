"""What must hold of a run's life whatever happens to it, and in which order."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stategraph.errors import ConfigurationError
from stategraph.workers import leases
from stategraph.workers.leases import (
    ENDED,
    TRANSITIONS,
    BeginAttempt,
    Claim,
    Decision,
    End,
    Fence,
    Finish,
    Heartbeat,
    IllegalRunMove,
    LeaseLost,
    LeaseSettings,
    Release,
    RequestCancel,
    Requeue,
    RunRow,
    RunStatus,
    TellOwner,
)

LEASE_S = 15.0


def new(**columns: object) -> RunRow:
    return replace(RunRow("r", "t"), **columns)  # type: ignore[arg-type]


def claimed(row: RunRow | None = None, now: float = 100.0, owner: str = "a") -> RunRow:
    row = row or new()
    return leases.decide(row, now, Claim(owner, row.token + 1, LEASE_S)).row


statuses = st.sampled_from(list(RunStatus))
tokens = st.integers(0, 6)
moments = st.floats(0, 200, allow_nan=False)
any_rows = st.builds(
    RunRow,
    run_id=st.just("r"),
    thread_id=st.just("t"),
    status=statuses,
    attempt=st.integers(0, 4),
    max_attempts=st.integers(1, 3),
    token=tokens,
    owner=st.just("a"),
    lease_until=moments,
    available_at=moments,
    deadline=st.none() | moments,
    cancel_requested=st.none() | st.just("enough"),
    error=st.none() | st.just("broken"),
)
rows = any_rows.map(lambda row: row if row.status is RunStatus.RUNNING else replace(row, owner=None, lease_until=None))
events = st.one_of(
    st.builds(Claim, st.just("b"), tokens, st.just(LEASE_S)),
    st.builds(Heartbeat, tokens, st.just(LEASE_S)),
    st.builds(Finish, tokens, statuses, st.none() | st.just("broken")),
    st.builds(Release, tokens, st.sampled_from([0.0, 5.0]), st.booleans()),
    st.builds(RequestCancel, st.just("enough")),
    st.just(Requeue()),
)


def decided(row: RunRow, now: float, event: leases.Event) -> Decision | None:
    try:
        return leases.decide(row, now, event)
    except (LeaseLost, IllegalRunMove):
        return None


@given(rows, moments, events)
def test_every_move_is_in_the_table_and_every_other_is_refused(row: RunRow, now: float, event: leases.Event) -> None:
    if decided(row, now, event) not in (None, Decision(row)):
        assert (row.status, type(event)) in TRANSITIONS


@given(rows, moments, events)
def test_an_owner_may_repeat_what_it_said_without_a_second_effect(row: RunRow, now: float, event: leases.Event) -> None:
    if isinstance(event, Finish | Release) and (done := decided(row, now, event)) is not None:
        assert leases.decide(done.row, now + 1, event) == Decision(done.row)


@given(rows, moments, events)
def test_no_move_takes_a_token_back(row: RunRow, now: float, event: leases.Event) -> None:
    if (done := decided(row, now, event)) is not None:
        assert done.row.token >= row.token


@given(rows, moments, events)
def test_only_the_owner_with_the_present_token_moves_a_running_run(
    row: RunRow, now: float, event: leases.Event
) -> None:
    if isinstance(event, Heartbeat | Finish | Release) and event.token != row.token:
        with pytest.raises(LeaseLost):
            leases.decide(row, now, event)


@given(rows, moments, events)
def test_a_run_that_has_ended_is_moved_by_nothing_but_a_person(row: RunRow, now: float, event: leases.Event) -> None:
    if row.status in ENDED and not isinstance(event, Requeue):
        assert decided(row, now, event) in (None, Decision(row))


@given(rows, moments, events)
def test_a_run_is_owned_exactly_while_it_runs(row: RunRow, now: float, event: leases.Event) -> None:
    done = decided(row, now, event)
    if done is not None and done.row.status != row.status:
        assert (done.row.owner is not None) == (done.row.status is RunStatus.RUNNING)
        assert (done.row.lease_until is not None) == (done.row.status is RunStatus.RUNNING)


@given(rows, moments, events)
def test_readers_hear_of_every_end_once_and_of_nothing_else(row: RunRow, now: float, event: leases.Event) -> None:
    if (done := decided(row, now, event)) is not None:
        ends = [effect for effect in done.effects if isinstance(effect, End)]
        assert len(ends) == (done.row.status in ENDED and done.row != row)
        assert all(end.status is done.row.status for end in ends)


@given(rows, moments, events)
def test_whoever_has_no_run_any_more_has_no_token_that_counts(row: RunRow, now: float, event: leases.Event) -> None:
    if (done := decided(row, now, event)) is not None:
        fences = [effect.token for effect in done.effects if isinstance(effect, Fence)]
        if isinstance(event, Claim):
            assert fences == [event.token] == [done.row.token]
        elif row.status is RunStatus.RUNNING and done.row.status is not RunStatus.RUNNING:
            assert fences == [row.token + 1]
        else:
            assert fences == []


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["claim", "beat", "finish", "die"])), max_size=40))
def test_of_workers_that_stall_and_wake_only_the_last_to_claim_ever_ends_a_run(
    history: list[tuple[str, str]],
) -> None:
    """Each worker keeps the token that it was given, however long it was away."""
    row, now, held = new(max_attempts=100), 0.0, dict[str, int]()
    for worker, act in history:
        now += 1.0
        before = row
        if act == "die":
            now += LEASE_S + 1
        elif act == "claim":
            if (done := decided(row, now, Claim(worker, row.token + 1, LEASE_S))) is not None:
                row = done.row
                held[worker] = row.token
        else:
            event = (
                Heartbeat(held.get(worker, 0), LEASE_S)
                if act == "beat"
                else Finish(held.get(worker, 0), RunStatus.SUCCESS)
            )
            if (done := decided(row, now, event)) not in (None, Decision(row)):
                assert done is not None
                assert before.owner == worker
                row = done.row
    assert len(set(held.values())) == len(held)


def test_a_run_is_claimed_begun_and_finished() -> None:
    first = leases.decide(new(), 100.0, Claim("a", 1, LEASE_S))
    assert (first.row.status, first.row.owner, first.row.attempt, first.row.lease_until) == ("running", "a", 1, 115.0)
    assert first.effects == (Fence("t", 1), BeginAttempt(1, "first"))
    ended = leases.decide(first.row, 101.0, Finish(1, RunStatus.SUCCESS))
    assert (ended.row.status, ended.effects) == ("success", (Fence("t", 2), End(RunStatus.SUCCESS)))


def test_a_lease_is_taken_over_when_it_is_past_and_not_before() -> None:
    row = claimed(now=100.0)
    with pytest.raises(IllegalRunMove, match="its lease has not run out"):
        leases.decide(row, 115.0, Claim("b", 2, LEASE_S))
    taken = leases.decide(row, 115.1, Claim("b", 2, LEASE_S))
    assert (taken.row.owner, taken.row.attempt) == ("b", 2)
    assert taken.effects == (Fence("t", 2), BeginAttempt(2, "lease expired"))


def test_an_owner_that_is_late_keeps_a_lease_that_nobody_took() -> None:
    row = leases.decide(claimed(now=100.0), 500.0, Heartbeat(1, LEASE_S)).row
    assert (row.owner, row.lease_until) == ("a", 515.0)


def test_an_owner_whose_run_was_taken_over_has_lost_it_even_under_the_same_name() -> None:
    taken = claimed(claimed(now=100.0, owner="worker-1"), now=200.0, owner="worker-1")
    for event in (Heartbeat(1, LEASE_S), Finish(1, RunStatus.SUCCESS), Release(1)):
        with pytest.raises(LeaseLost, match="belongs to another worker now: its token is 2, this one has 1"):
            leases.decide(taken, 201.0, event)


def test_an_owner_that_changes_its_report_is_refused() -> None:
    ended = leases.decide(claimed(), 101.0, Finish(1, RunStatus.SUCCESS)).row
    given_back = leases.decide(claimed(), 101.0, Release(1)).row
    for row, event in (
        (ended, Finish(1, RunStatus.ERROR)),
        (ended, Release(1)),
        (given_back, Finish(1, RunStatus.SUCCESS)),
        (given_back, Heartbeat(1, LEASE_S)),
        (claimed(given_back, 200.0), Release(1)),
    ):
        with pytest.raises(LeaseLost):
            leases.decide(row, 201.0, event)


def test_a_run_that_loses_its_workers_is_dead_after_its_attempts_and_can_be_requeued() -> None:
    row, now = new(max_attempts=2), 0.0
    for _ in range(2):
        row, now = claimed(row, now), now + 100
    dead = leases.decide(row, now, Claim("c", 3, LEASE_S))
    assert (dead.row.status, dead.row.error) == ("dead", "its worker was lost 2 times")
    again = leases.decide(dead.row, now, Requeue()).row
    assert (again.status, again.attempt, again.token) == ("pending", 0, 3)


def test_a_run_that_was_not_begun_is_given_back_without_costing_an_attempt() -> None:
    row = leases.decide(claimed(), 100.0, Release(1, delay_s=5.0, error="no module my_app")).row
    assert (row.status, row.attempt, row.available_at, row.error) == ("pending", 0, 105.0, "no module my_app")
    assert not row.is_claimable(104.9)
    assert row.is_claimable(105.0)


def test_a_run_that_fails_its_last_attempt_is_dead_with_the_reason() -> None:
    row = leases.decide(claimed(new(max_attempts=1)), 100.0, Release(1, counts=True, error="out of memory")).row
    assert (row.status, row.error) == ("dead", "out of memory")


def test_cancelling_ends_a_waiting_run_and_asks_the_owner_of_a_running_one() -> None:
    assert leases.decide(new(), 0.0, RequestCancel("stop")).row.status == "cancelled"
    asked = leases.decide(claimed(), 101.0, RequestCancel("stop"))
    assert (asked.row.status, asked.effects) == ("running", (TellOwner("stop"),))
    assert leases.decide(asked.row, 102.0, RequestCancel("again")).row.cancel_requested == "stop"
    assert leases.decide(asked.row, 103.0, Heartbeat(1, LEASE_S)).effects == (TellOwner("stop"),)


def test_nobody_runs_what_was_cancelled_or_is_overdue_when_its_worker_is_gone() -> None:
    asked = leases.decide(claimed(), 101.0, RequestCancel("stop")).row
    assert leases.decide(asked, 200.0, Claim("b", 2, LEASE_S)).row.status == "cancelled"
    overdue = leases.decide(claimed(new(deadline=150.0)), 200.0, Claim("b", 2, LEASE_S))
    assert (overdue.row.status, overdue.effects) == ("timeout", (Fence("t", 2), End(RunStatus.TIMEOUT)))


def test_a_heartbeat_that_cannot_keep_the_lease_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"every 7.5 s does not keep a lease of 15 s.*less than half"):
        LeaseSettings(lease_s=15.0, heartbeat_s=7.5)


def test_waiting_doubles_up_to_a_minute() -> None:
    assert [leases.backoff_s(attempt) for attempt in (1, 2, 3, 7, 1000)] == [1.0, 2.0, 4.0, 60.0, 60.0]
