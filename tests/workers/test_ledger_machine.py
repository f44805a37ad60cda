"""What must hold of an effect, whatever happens to the attempts that want it."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stategraph.workers.ledger import machine
from stategraph.workers.ledger.machine import (
    Ask,
    Claim,
    Claimant,
    Decision,
    Dispatch,
    Doubt,
    EffectKeyReused,
    EffectRow,
    EffectState,
    Fail,
    IllegalEffectMove,
    Note,
    RaiseAgain,
    Replay,
    Resolve,
    Settle,
    Wait,
)

FIRST, SECOND = Claimant("r", 1), Claimant("r", 2)

claimants = st.sampled_from([FIRST, SECOND])
rows = st.none() | st.builds(
    EffectRow,
    scope=st.just(""),
    key=st.just("k"),
    args_hash=st.sampled_from(["h", "other"]),
    state=st.sampled_from(list(EffectState)),
    claimant=claimants,
    result=st.none() | st.just(b"result"),
    error=st.none() | st.just("refused"),
    retryable=st.booleans(),
)
events = st.one_of(
    st.builds(Claim, st.just(""), st.just("k"), st.just("h"), claimants, st.booleans()),
    st.builds(Settle, claimants, st.just(b"new")),
    st.builds(Fail, claimants, st.just("refused"), st.booleans()),
    st.builds(Doubt, claimants),
    st.builds(Note, claimants, st.just("pi_1")),
    st.builds(Resolve, st.booleans(), st.just(b"found")),
)


def claim(claimant: Claimant = FIRST, *, args: str = "h", lives: bool = False) -> Claim:
    return Claim("", "k", args, claimant, lives)


def after(*history: machine.Event) -> Decision:
    done = Decision(None)
    for event in history:
        done = machine.decide(done.row, event)
    return done


@given(rows, events)
def test_a_call_is_ordered_only_where_none_can_have_happened(row: EffectRow | None, event: machine.Event) -> None:
    try:
        done = machine.decide(row, event)
    except (EffectKeyReused, IllegalEffectMove):
        return
    if done.order == Dispatch():
        assert row is None or (row.state is EffectState.FAILED and row.retryable)
        assert done.row is not None
        assert done.row.state is EffectState.CLAIMED


@given(rows, events)
def test_what_is_committed_stays_so(row: EffectRow | None, event: machine.Event) -> None:
    if row is None or row.state is not EffectState.COMMITTED:
        return
    try:
        done = machine.decide(row, event)
    except (EffectKeyReused, IllegalEffectMove):
        return
    assert done.row == row
    assert done.order == Replay(row.result or b"")


@given(rows, events)
def test_other_arguments_are_refused_in_every_state(row: EffectRow | None, event: machine.Event) -> None:
    if isinstance(event, Claim) and row is not None and row.args_hash != event.args_hash:
        with pytest.raises(EffectKeyReused, match="with other arguments"):
            machine.decide(row, event)


@given(rows, events)
def test_only_an_answer_from_outside_makes_a_row_vanish(row: EffectRow | None, event: machine.Event) -> None:
    if row is None:
        return
    try:
        done = machine.decide(row, event)
    except (EffectKeyReused, IllegalEffectMove):
        return
    if done.row is None:
        assert isinstance(event, Resolve)
        assert not event.happened
        assert row.state is EffectState.IN_DOUBT


@dataclass
class World:
    """A destination, and attempts that die at any time; reconciling tells the truth."""

    row: EffectRow | None = None
    happened: int = 0
    attempt: int = 1
    dispatched: bool = field(default=False)

    def step(self, act: str) -> None:
        me = Claimant("r", self.attempt)
        if act == "die":
            self.attempt += 1
            self.dispatched = False
        elif act == "claim":
            holder = self.row is not None and self.row.claimant == me
            done = machine.decide(self.row, Claim("", "k", "h", me, holder))
            self.row = done.row
            self.dispatched = done.order == Dispatch()
            if done.order == Ask():
                self.row = machine.decide(self.row, Resolve(self.happened > 0, b"found")).row
        elif act == "dispatch" and self.dispatched:
            self.happened += 1
            self.dispatched = False
        elif act == "settle" and self.row is not None and self.is_mine(self.row) and self.happened:
            self.row = machine.decide(self.row, Settle(me, b"done")).row

    def is_mine(self, row: EffectRow) -> bool:
        return row.claimant == Claimant("r", self.attempt) and row.state is EffectState.CLAIMED


@given(st.lists(st.sampled_from(["claim", "dispatch", "settle", "die"]), max_size=60))
def test_an_effect_happens_at_most_once_wherever_attempts_die(acts: list[str]) -> None:
    world = World()
    for act in acts:
        world.step(act)
        assert world.happened <= 1


def test_a_call_is_made_once_and_its_result_is_used_again() -> None:
    assert after(claim()).order == Dispatch()
    assert after(claim(), Settle(FIRST, b"receipt"), claim(SECOND)).order == Replay(b"receipt")


def test_a_call_whose_attempt_is_gone_is_in_doubt_and_not_repeated() -> None:
    done = after(claim(), claim(SECOND))
    assert done.order == Ask()
    assert done.row is not None
    assert done.row.state is EffectState.IN_DOUBT
    assert after(claim(), claim(SECOND), claim(SECOND)).order == Ask()


def test_a_call_that_is_under_way_is_waited_for() -> None:
    assert after(claim(), claim(SECOND, lives=True)).order == Wait()


def test_a_call_that_was_torn_off_is_in_doubt_for_its_own_attempt_too() -> None:
    assert after(claim(), Doubt(FIRST, "cancelled"), claim(FIRST, lives=True)).order == Ask()


def test_an_attempt_that_was_only_slow_still_settles_what_others_doubt() -> None:
    assert after(claim(), claim(SECOND), Settle(FIRST, b"receipt"), claim(SECOND)).order == Replay(b"receipt")


def test_a_doubt_is_resolved_from_outside() -> None:
    doubted = (claim(), claim(SECOND))
    assert after(*doubted, Resolve(True, b"found"), claim(SECOND)).order == Replay(b"found")
    assert after(*doubted, Resolve(False), claim(SECOND)).order == Dispatch()


def test_a_failure_is_tried_again_only_if_it_may_be() -> None:
    assert after(claim(), Fail(FIRST, "no route", True), claim(SECOND)).order == Dispatch()
    assert after(claim(), Fail(FIRST, "card refused", False), claim(SECOND)).order == RaiseAgain("card refused")


def test_an_attempt_that_did_not_dispatch_cannot_settle() -> None:
    with pytest.raises(IllegalEffectMove, match="Only the attempt that dispatched"):
        after(claim(), Settle(SECOND, b"receipt"))
    with pytest.raises(IllegalEffectMove, match="this one has no row"):
        after(Settle(FIRST, b"receipt"))
    with pytest.raises(IllegalEffectMove, match="Only an effect in doubt can be resolved; 'k' is claimed"):
        after(claim(), Resolve(True, b""))


def test_the_destinations_own_name_for_an_effect_is_kept() -> None:
    done = after(claim(), Note(FIRST, "pi_1"), claim(SECOND))
    assert done.row is not None
    assert done.row.external_ref == "pi_1"
