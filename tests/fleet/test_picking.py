"""Picking one of several endpoints: how requests are spread, and who is passed over."""

from __future__ import annotations

import itertools
import random
from collections import Counter, deque
from itertools import pairwise
from typing import get_args

import pytest

from stategraph.fleet import Directory, StaticSource
from stategraph.fleet.directory import Wanted
from stategraph.fleet.endpoint import AgentEndpoint
from stategraph.fleet.picking import Picker, Strategy, picker
from stategraph.fleet.standing import BreakerSettings, Standing

STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)


def standings(count: int, *weights: int) -> list[Standing]:
    """Endpoints that nothing is known of."""
    weights = weights or (1,) * count
    return [
        Standing(AgentEndpoint(agent="a", url=f"http://h{at}.example", weight=weight), BreakerSettings())
        for at, weight in zip(range(count), weights, strict=True)
    ]


def made(strategy: Strategy, members: list[Standing]) -> Picker:
    return picker(strategy, members, random.Random(7).random)


def counted(picks: Picker, times: int, members: list[Standing], *, keys: bool = False) -> list[int]:
    found = Counter(picks.pick(0.0, key=str(at) if keys else "") for at in range(times))
    return [found[each] for each in members]


def chi_square(found: list[int], expected: list[float]) -> float:
    return sum((one - other) ** 2 / other for one, other in zip(found, expected, strict=True))


#: The 0.999 quantile of chi-square, by degrees of freedom.
QUANTILES = {2: 13.82, 49: 85.35}

#: For each strategy the weights of its endpoints, and so their shares.
SHARES: dict[Strategy, list[tuple[int, ...]]] = {
    "round_robin": [(1, 1, 1), (1,) * 50],
    "weighted": [(5, 3, 2), (2, 1) * 25],
    "least_outstanding": [(5, 3, 2), (1,) * 50],
    "latency": [(1, 1, 1), (1,) * 50],
    "sticky": [(1, 1, 1), (1,) * 50],
}


@pytest.mark.anyio
@pytest.mark.parametrize(("strategy", "weights"), [(name, each) for name in SHARES for each in SHARES[name]])
async def test_requests_are_spread_as_each_strategy_says(strategy: Strategy, weights: tuple[int, ...]) -> None:
    """By chi-square, with a fixed seed: twenty requests at a time, each of which takes as long as the others."""
    source = StaticSource(
        AgentEndpoint(agent="a", url=f"http://h{at}.example", weight=weight) for at, weight in enumerate(weights)
    )
    drawn, clock = random.Random(7), itertools.count()
    async with Directory(source, draw=drawn.random, clock=lambda: next(clock) / 1_000) as directory:

        def spread(times: int, prefix: str) -> list[int]:
            under_way: deque[Standing] = deque()
            for at in range(times):
                found = directory.pick(Wanted("a"), strategy, key=f"{prefix}{at}")
                found.begin()
                under_way.append(found)
                if len(under_way) > 20:
                    under_way.rotate(drawn.randrange(20))
                    ended = under_way.popleft()
                    ended.answer(0.1, next(clock) / 1_000)
                    ended.end()
            while under_way:
                under_way.popleft().end()
            by_url = {each.endpoint.url: each.requests for each in directory.endpoints()}
            return [by_url[f"http://h{at}.example"] for at in range(len(weights))]

        times = 100 * len(weights)
        found = spread(times, "thread-")
        if strategy == "sticky":  # a key's endpoint is where the ring has it: other keys say how large each part is
            whole = spread(50 * times, "other-")
            expected = [times * (all_of - some) / (50 * times) for all_of, some in zip(whole, found, strict=True)]
            assert chi_square(found, [times / len(weights)] * len(weights)) < 25 * len(weights)  # no part is all
        else:
            expected = [times * weight / sum(weights) for weight in weights]
        assert chi_square(found, expected) < QUANTILES[len(weights) - 1]
        skewed = [found[0] + times // 3, *found[1:-1], max(0, found[-1] - times // 3)]
        assert chi_square(skewed, expected) > QUANTILES[len(weights) - 1]  # it would see one


def test_one_after_the_other() -> None:
    members = standings(3)
    picks = made("round_robin", members)
    assert [picks.pick(0.0) for _ in range(6)] == [members[1], members[2], members[0]] * 2


@pytest.mark.parametrize("weights", [(1, 1, 1), (5, 3, 2), (1, 10, 100), (1000, 1, 7)])
def test_weights_are_shares_and_evenly_spread(weights: tuple[int, ...]) -> None:
    members = standings(3, *weights)
    picks = made("weighted", members)
    total = sum(weights)
    order = [picks.pick(0.0) for _ in range(3 * total)]
    assert [order.count(each) for each in members] == [3 * weight for weight in weights]
    for each, weight in zip(members, weights, strict=True):
        places = [at for at, found in enumerate(order) if found is each]
        gaps = [after - before for before, after in pairwise(places)]
        assert max(gaps) <= -(-total // weight) + len(members)


def test_one_that_was_away_gets_its_share_and_no_more() -> None:
    members = standings(3)
    picks = made("weighted", members)
    members[0].healthy = False
    assert {picks.pick(0.0) for _ in range(90)} == set(members[1:])
    members[0].healthy = True
    assert all(20 <= count <= 40 for count in counted(picks, 90, members))


@pytest.mark.parametrize("count", [3, 50])
@pytest.mark.parametrize("strategy", ["least_outstanding", "latency"])
def test_equal_endpoints_get_equal_shares(strategy: Strategy, count: int) -> None:
    members = standings(count)
    found = counted(made(strategy, members), 200 * count, members)
    # The 0.999 quantile of chi-square is below twice the number of endpoints plus 20.
    assert chi_square(found, [200.0] * count) < 2 * count + 20


@pytest.mark.parametrize("count", [3, 50])
def test_the_one_with_fewer_requests_under_way_is_taken(count: int) -> None:
    members = standings(count)
    picks = made("least_outstanding", members)
    for _ in range(20 * count):
        found = picks.pick(0.0)
        assert found is not None
        found.begin()
    assert max(each.outstanding for each in members) <= 24  # one at random: 35 and more
    members[0].outstanding = 1000
    assert members[0] not in {picks.pick(0.0) for _ in range(100)}


@pytest.mark.parametrize("count", [3, 50])
def test_the_one_that_answers_sooner_is_taken(count: int) -> None:
    members = standings(count)
    for at, each in enumerate(members):
        each.answer(0.1 if at % 2 else 0.9, now=1.0)
    found = counted(made("latency", members), 1_000, members)
    assert sum(found[1::2]) > 700  # of two at random, three quarters have a quick one
    assert found[0] <= found[1]


def test_a_quick_one_gets_no_more_than_it_can_answer() -> None:
    members = standings(2)
    for each, took_s in zip(members, (0.1, 0.3), strict=True):
        each.answer(took_s, now=1.0)
        each.outstanding = 0
    picks = made("latency", members)
    for _ in range(40):
        found = picks.pick(0.0)
        assert found is not None
        found.begin()
    assert [each.outstanding for each in members] == [30, 10]


def test_a_weight_counts_for_requests_under_way() -> None:
    members = standings(2, 1, 4)
    picks = made("least_outstanding", members)
    for _ in range(50):
        found = picks.pick(0.0)
        assert found is not None
        found.begin()
    assert [each.outstanding for each in members] == [10, 40]


def test_a_key_stays_where_it_is() -> None:
    members = standings(10)
    keys = [f"thread-{at}" for at in range(2_000)]
    before = {key: made("sticky", members).pick(0.0, key=key) for key in keys[:5]}
    picks = made("sticky", members)
    assert {key: picks.pick(0.0, key=key) for key in keys[:5]} == before
    found = counted(picks, 2_000, members, keys=True)
    assert min(found) > 80
    assert max(found) < 400


def test_few_keys_move_when_an_endpoint_goes() -> None:
    members = standings(10)
    keys = [f"thread-{at}" for at in range(2_000)]
    whole, without = made("sticky", members), made("sticky", members[1:])
    for key in keys:
        was, now = whole.pick(0.0, key=key), without.pick(0.0, key=key)
        assert was is now or was is members[0]
        assert whole.pick(0.0, {members[0]}, key) is now  # where it goes for as long as that one is away


@pytest.mark.parametrize("count", [1, 3, 50])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_nothing_is_sent_to_those_that_take_nothing(strategy: Strategy, count: int) -> None:
    members = standings(count)
    drained = Standing(AgentEndpoint(agent="a", url="http://drained.example", weight=0), BreakerSettings())
    unhealthy, broken, tried, well = (standings(1)[0] for _ in range(4))
    unhealthy.healthy = False
    for _ in range(5):
        broken.fail(0.0)
    picks = made(strategy, [drained, unhealthy, broken, tried, well])
    assert {picks.pick(1.0, {tried}, str(at)) for at in range(200)} == {well}
    for each in members:
        each.healthy = False
    assert made(strategy, members).pick(0.0) is None
    assert made(strategy, []).pick(0.0) is None


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_one_able_of_many_is_found(strategy: Strategy) -> None:
    members = standings(100)
    for each in members[:-1]:
        each.healthy = False
    assert made(strategy, members).pick(0.0, key="k") is members[-1]
