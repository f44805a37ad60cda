"""The standing of an endpoint: the breaker, the average, and the budget of retries."""

from __future__ import annotations

import pytest

from stategraph.fleet.endpoint import AgentEndpoint
from stategraph.fleet.retries import RetryBudget
from stategraph.fleet.standing import BreakerSettings, Standing


def standing() -> Standing:
    return Standing(AgentEndpoint(agent="a", url="http://h.example"), BreakerSettings())


def test_failures_in_a_row_open_the_breaker_and_one_request_tries_it() -> None:
    each = standing()
    assert [each.fail(float(at)) for at in range(5)] == [False, False, False, False, True]
    assert each.breaker(5.0) == "open"
    assert not each.takes_requests(13.9)
    assert each.breaker(14.0) == "half_open"
    assert each.takes_requests(14.0)
    each.begin()
    assert not each.takes_requests(14.0)  # one at a time
    assert not each.fail(14.5)  # it was open already
    assert not each.takes_requests(24.4)
    assert each.takes_requests(24.5)
    each.begin()
    each.answer(0.1, 25.0)
    assert each.breaker(25.0) == "closed"
    assert each.takes_requests(25.0)


def test_failures_long_ago_and_before_an_answer_do_not_count() -> None:
    each = standing()
    for at in (0.0, 20.0, 40.0, 60.0, 80.0):
        assert not each.fail(at)
    each.answer(0.1, 81.0)
    assert [each.fail(82.0) for _ in range(4)] == [False] * 4


def test_a_caller_that_goes_away_frees_the_try() -> None:
    each = standing()
    for _ in range(5):
        each.fail(0.0)
    each.begin()
    each.abandon()
    each.end()
    assert each.takes_requests(10.0)
    assert each.outstanding == 0


def test_the_average_forgets() -> None:
    each = standing()
    each.answer(1.0, 100.0)
    assert each.latency_s == 1.0
    each.answer(0.0, 110.0)
    assert each.latency_s == pytest.approx(0.368, abs=0.001)
    each.fail(110.0, waited_s=0.0)
    assert each.latency_s == pytest.approx(0.368, abs=0.001)  # that it failed soon makes it no quicker
    each.fail(1_000.0, waited_s=30.0)
    assert each.latency_s == pytest.approx(30.0)


def test_retries_are_earned() -> None:
    budget = RetryBudget(ratio=0.2, at_least=2, at_most=3)
    assert [budget.spend() for _ in range(3)] == [True, True, False]
    for _ in range(5):
        budget.earn()
    assert [budget.spend() for _ in range(2)] == [True, False]
    for _ in range(100):
        budget.earn()
    assert budget.left == 3
    with pytest.raises(ValueError, match=r"ratio of retries is 1.5"):
        RetryBudget(ratio=1.5)
