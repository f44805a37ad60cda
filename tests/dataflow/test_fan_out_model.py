"""Random fan-outs: they end as a small model says, whatever ends first, and a crash at any point decides the same."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from stategraph.errors import ConfigurationError
from stategraph.testing import FakeClock
from tests.dataflow.fan_out_kit import Ended, Race, Runs, model, races
from tests.dataflow.flow_kit import Recorder
from tests.properties import examples

THREAD: Any = {"configurable": {"thread_id": "1"}}


@st.composite
def races_with_orders(draw: st.DrawFn, orders: int) -> tuple[Race, list[list[int]]]:
    race = draw(races())
    return race, [draw(st.permutations(range(len(race.fails)))) for _ in range(orders)]


def outcome(runs: Runs, saver: Any, given: Any) -> Ended:
    """Run a race in virtual time and tell how it ended."""
    try:
        result = FakeClock().run(runs.compile(saver).ainvoke(given, THREAD, durability="sync"))
    except ExceptionGroup as group:
        assert all(isinstance(error, ValueError) for error in group.exceptions)
        return Ended(failed=frozenset(map(str, group.exceptions)))
    except ConfigurationError as error:  # a quorum of more than there are, and nobody has failed
        assert "cannot be reached" in str(error)
        return Ended()
    except ValueError as error:
        return Ended(failed=frozenset([str(error)]))
    return Ended(tuple(result["log"]))


@given(drawn=races_with_orders(1))
@examples(200)
def test_a_fan_out_ends_as_the_model_says(drawn: tuple[Race, list[list[int]]]) -> None:
    race, (order,) = drawn
    assert outcome(Runs(race, order), Recorder(), {"log": []}) == model(race, order)


@given(drawn=races_with_orders(2), cut=st.floats(0, 1))
@examples(150)
def test_after_a_crash_at_any_point_it_ends_by_what_was_stored(drawn: tuple[Race, list[list[int]]], cut: float) -> None:
    """The replay's branches end in another order; what was stored counts, and what was given up stays so."""
    race, (order, again) = drawn
    saver = Recorder()
    outcome(Runs(race, order), saver, {"log": []})
    number = 1 + round(cut * (len(saver.calls) - 1))
    left = saver.after(number)
    calls = saver.calls[:number]
    written = [write for method, args in calls if method == "put_writes" for write in args[1]]
    well = [entry for channel, value in written if channel == "log" for entry in value if entry.startswith("b")]
    decided = any(value == "given up" for _, value in written)
    replay = Runs(race, again)
    ended = model(race, again, well, decided=decided)
    if "join" in [entry for channel, value in written if channel == "log" for entry in value]:
        decided, ended = True, Ended((*(name for name in race.names if name in well), "join"))
    assert outcome(replay, left, None) == ended
    assert not set(replay.began) & set(well)
    if decided:
        assert replay.began == []
