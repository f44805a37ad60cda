"""What reports of a provider teach about counted tokens."""

from __future__ import annotations

import math

import pytest

from stategraph.agent.context.calibration import Calibration, forget_sums, learn, within


def test_the_ratio_is_that_of_the_sums_of_all_calls() -> None:
    once = learn(Calibration(), 100, 220, 20)
    assert once == Calibration(2.0, 100, 200, 20, 0.0)
    twice = learn(once, 300, 320, 20)
    assert (twice.ratio, twice.sent, twice.reported) == (500 / 400, 400, 500)
    # The first call agreed better.
    assert (twice.instruction_overhead, twice.deviation) == (20, 0.0)


@pytest.mark.parametrize(
    ("sent", "read", "instructions"),
    [(0, 50, 20), (-1, 50, 20), (100, 20, 20), (100, 69, 20)],
    ids=["nothing sent", "less than nothing", "only instructions", "less than half"],
)
def test_a_report_that_cannot_be_true_changes_nothing(sent: int, read: int, instructions: int) -> None:
    known = Calibration(1.5, 10, 15, 7, 0.1)
    assert learn(known, sent, read, instructions) is known


def test_a_report_of_half_the_messages_is_just_believed() -> None:
    assert learn(Calibration(), 100, 70, 20).ratio == 0.5
    assert learn(Calibration(), 1, 21, 20).ratio == 1.0


def test_the_call_that_agrees_best_says_what_instructions_cost() -> None:
    known = Calibration(1.0, 100, 100, 30, 0.5)
    better = learn(known, 100, 140, 20)
    assert better.ratio == 220 / 200
    assert better.instruction_overhead == 140 - 110
    assert better.deviation == pytest.approx(1 - 110 / 120)
    # One that agrees no better leaves it.
    worse = learn(better, 100, 200, 20)
    assert (worse.instruction_overhead, worse.deviation) == (30, better.deviation)
    assert worse.ratio == 400 / 300
    assert learn(Calibration(1.0, 0, 0, 7, 0.0), 100, 120, 20).instruction_overhead == 7


def test_instructions_cost_no_less_than_nothing_and_tokens_are_whole() -> None:
    assert learn(Calibration(1.0, 1000, 5000), 100, 150, 0).instruction_overhead == 0
    assert learn(Calibration(), 3, 8, 1) == Calibration(7 / 3, 3, 7, 1, pytest.approx(0.0))
    assert learn(Calibration(1.0, 2, 3), 1, 10, 7).instruction_overhead == 10 - 2


def test_a_ratio_has_bounds() -> None:
    assert [within(ratio) for ratio in (0.1, 0.5, 1.7, 5.0, 9.0)] == [0.5, 0.5, 1.7, 5.0, 5.0]
    assert learn(Calibration(), 10, 1000, 0).ratio == 5.0


def test_sums_are_forgotten_and_the_rest_stays() -> None:
    assert forget_sums(Calibration(1.5, 10, 15, 7, 0.1)) == Calibration(1.5, 0, 0, 7, 0.1)
    assert Calibration() == Calibration(1.0, 0, 0, None, math.inf)
