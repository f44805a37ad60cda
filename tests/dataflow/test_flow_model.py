"""Random programs: the result does not depend on what ends first, and a crash at any point changes nothing."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from tests.dataflow.flow_kit import THREAD, Model, Plan, Program, Recorder, TooLong, plans

INPUT: Any = {"log": []}


def model(plan: Plan, seed: int = 0) -> list[str]:
    """What the model says a program comes to; programs that take too long are left out."""
    try:
        return Model(plan, seed).run()
    except TooLong:
        assume(False)
        raise


@given(plan=plans(), seeds=st.tuples(st.integers(0, 99), st.integers(0, 99)))
@settings(max_examples=200)
def test_the_model_comes_to_the_same_in_any_order(plan: Plan, seeds: tuple[int, int]) -> None:
    assert model(plan, seeds[0]) == model(plan, seeds[1])


@given(plan=plans(), seed=st.integers(0, 999))
@settings(max_examples=200)
def test_a_run_comes_to_what_the_model_says_whatever_ends_first(plan: Plan, seed: int) -> None:
    expected = model(plan)
    program = Program(plan, seed)
    result = asyncio.run(program.compile().ainvoke(INPUT, THREAD))
    assert result["log"] == expected
    assert len(program.ran) == len(expected)


#: Each of two packets starts a node by itself: it begins while the other packet runs, also in a run that goes on.
EACH_ARRIVAL = Plan(
    3,
    edges=((-1, 0), (0, 1)),
    routes={0: ((), ()), 2: ((0, 1), ())},
    sends={1: (2, 2)},
    any=frozenset({1}),
)


@given(plan=plans(), seed=st.integers(0, 999), cut=st.floats(0, 1))
@example(plan=EACH_ARRIVAL, seed=0, cut=0.5)
@example(plan=EACH_ARRIVAL, seed=0, cut=1.0)
@settings(max_examples=100)
def test_a_run_that_was_killed_goes_on_to_the_same_and_repeats_nothing_that_was_stored(
    plan: Plan, seed: int, cut: float
) -> None:
    expected = model(plan)
    saver = Recorder()
    result = asyncio.run(Program(plan, seed).compile(checkpointer=saver).ainvoke(INPUT, THREAD, durability="sync"))
    assert result["log"] == expected
    number = 1 + round(cut * (len(saver.calls) - 1))
    left = saver.after(number)
    stored = saver.recorded()[: len(_recorded(saver, number))]
    program = Program(plan, seed + 1)
    graph = program.compile(checkpointer=left)
    assert graph.get_state(THREAD).values["log"] == sorted(stored, key=expected.index)
    again = asyncio.run(graph.ainvoke(None, THREAD))
    assert again["log"] == expected
    assert len(program.ran) == len(expected) - len(stored)
    assert graph.get_state(THREAD).values["log"] == expected


def _recorded(saver: Recorder, number: int) -> list[str]:
    part = Recorder()
    part.calls = saver.calls[:number]
    return part.recorded()
