"""The number of workers: a pool in virtual time, with any load, and a real one."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stategraph.errors import ConfigurationError
from stategraph.workers import MultiProcessRuntime, wire
from stategraph.workers.autoscale.driver import Autoscaler
from stategraph.workers.autoscale.machine import Meter, Scaler, ScalingSettings, Seen
from stategraph.workers.pool import Job
from stategraph.workers.process.supervisor import ProcessPool
from tests.workers import waiting

SETTINGS = ScalingSettings(least=1, most=8, target_queue_s=5.0, up_after_s=2.0, down_after_s=20.0)


@dataclass
class Model:
    """A pool in virtual time: jobs take as long as is said, and a worker is there some time after it was asked for.

    Attributes:
        scaler: Decides.
        job_s: Seconds that a job takes.
        start_s: Seconds that a worker takes to start.
        numbers: The workers that there should be, after each second.
        waits: How long each job waited.
    """

    scaler: Scaler
    job_s: float = 2.0
    start_s: float = 0.0
    now: float = 0.0
    workers: int = 1
    ended: int = 0
    queue: list[float] = field(default_factory=list)
    running: list[float] = field(default_factory=list)
    starting: list[float] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)

    def second(self, arriving: int) -> None:
        """Let a second pass, in which so many jobs come, and which is looked at four times."""
        for part in range(4):
            self.now += 0.25
            self.queue += [self.now] * (arriving * (part + 1) // 4 - arriving * part // 4)
            while self.running and self.running[0] <= self.now:
                heapq.heappop(self.running)
                self.ended += 1
            self.starting = [each for each in self.starting if each > self.now]
            there = self.workers - len(self.starting)
            while self.queue and len(self.running) < there * self.scaler.settings.capacity:
                self.waits.append(self.now - self.queue.pop(0))
                heapq.heappush(self.running, self.now + self.job_s)
            self._look()
        self.numbers.append(self.workers)

    def _look(self) -> None:
        seen = Seen(
            at=self.now,
            workers=self.workers,
            running=len(self.running),
            queued=len(self.queue),
            oldest_wait_s=self.now - self.queue[0] if self.queue else 0.0,
            ended=self.ended,
        )
        wanted = self.scaler.decide(seen)
        self.starting += [self.now + self.start_s] * max(0, wanted - self.workers)
        self.workers = wanted


def turns(numbers: Sequence[int]) -> int:
    """Return how often numbers that grew begin to shrink, and the other way round."""
    steps = [after - before for before, after in pairwise(numbers) if after != before]
    return sum((one > 0) != (other > 0) for one, other in pairwise(steps))


@given(
    least=st.integers(0, 4),
    more=st.integers(0, 8),
    capacity=st.integers(1, 5),
    job_s=st.floats(0.1, 20),
    start_s=st.floats(0, 15),
    load=st.lists(st.integers(0, 30), min_size=1, max_size=120),
    latency_s=st.none() | st.floats(0.5, 30),
)
def test_the_bounds_and_the_pauses_hold_under_any_load(
    least: int, more: int, capacity: int, job_s: float, start_s: float, load: list[int], latency_s: float | None
) -> None:
    settings = replace(SETTINGS, least=least, most=max(1, least + more), capacity=capacity, target_latency_s=latency_s)
    model = Model(Scaler(settings), job_s=job_s, start_s=start_s, workers=least)
    for arriving in load:
        model.second(arriving)
    assert all(settings.least <= each <= settings.most for each in model.numbers)
    history = model.scaler.history
    for one, other in pairwise(history):
        assert other.before == one.after
        pause_s = settings.up_after_s if other.after > other.before else settings.down_after_s
        assert other.at - one.at >= pause_s
    assert all(each.before != each.after and each.reason for each in history)


@given(
    arriving=st.integers(0, 6),
    job_s=st.floats(0.5, 8),
    capacity=st.integers(1, 4),
    start_s=st.floats(0, 5),
)
def test_a_steady_load_comes_to_one_number_which_stays(
    arriving: int, job_s: float, capacity: int, start_s: float
) -> None:
    """It is enough for the load, not more than that needs, and reached without going to and fro."""
    settings = replace(SETTINGS, most=60, capacity=capacity)
    model = Model(Scaler(settings), job_s=job_s, start_s=start_s)
    for _ in range(400):
        model.second(arriving)
    settled = model.numbers[200:]
    assert len(set(settled)) == 1
    assert turns(model.numbers) <= 2
    busy = arriving * (job_s + 0.25) / capacity  # places that are taken at the same time
    assert arriving * job_s / capacity <= settled[0] + 1e-9
    assert settled[0] <= max(1, 1.0 + 2.5 * (busy + arriving / capacity))
    if arriving:
        assert max(model.waits[-arriving * 50 :]) <= settings.target_queue_s + 2


def test_a_burst_is_answered_at_once_and_given_back_after_a_while() -> None:
    model = Model(Scaler(SETTINGS), job_s=2.0)
    for _ in range(10):
        model.second(1)
    for _ in range(5):
        model.second(8)
    assert max(model.numbers[10:20]) == SETTINGS.most
    for _ in range(60):
        model.second(0)
    assert model.numbers[-1] == SETTINGS.least
    fewer = [each for each in model.scaler.history if each.after < each.before]
    assert fewer[0].at - model.numbers.index(SETTINGS.most) >= SETTINGS.down_after_s
    assert "were enough for 20 s" in fewer[0].reason


def test_a_load_that_comes_and_goes_does_not_make_workers_come_and_go() -> None:
    model = Model(Scaler(SETTINGS), job_s=2.0)
    for at in range(300):
        model.second(6 if at % 10 < 3 else 0)
    assert turns(model.numbers[60:]) == 0


def test_more_workers_do_not_help_jobs_that_are_slow_by_themselves() -> None:
    """Jobs take longer than they should, and workers are idle: the number stays."""
    model = Model(Scaler(replace(SETTINGS, target_latency_s=1.0, capacity=4)), job_s=3.0)
    for _ in range(120):
        model.second(1)
    assert set(model.numbers[40:]) == {1}
    full = Model(Scaler(replace(SETTINGS, target_latency_s=1.0)), job_s=3.0, workers=3)
    for _ in range(120):
        full.second(1)
    assert max(full.numbers) > 3
    assert any("every worker is full" in each.reason for each in full.scaler.history)


def test_no_worker_is_kept_where_none_has_to_be() -> None:
    model = Model(Scaler(replace(SETTINGS, least=0)), workers=1)
    for _ in range(40):
        model.second(0)
    assert model.numbers[-1] == 0
    model.second(1)
    assert model.numbers[-1] == 1
    assert model.scaler.history[-1].reason == "jobs wait, and there is no worker"
    assert model.scaler.history[-1].to_json()["queued"] == 1


def test_the_time_of_jobs_is_measured() -> None:
    meter = Meter()
    assert meter.job_s is None
    for at in range(100):
        meter.note(float(at), 3, ended=at // 2)  # three run, one ends every two seconds
    assert meter.job_s == pytest.approx(6.0, rel=0.1)


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ({"least": 3, "most": 2}, "from 3 to 2"),
        ({"least": 0, "most": 0}, "most >= 1"),
        ({"least": -1}, "from -1 to 4"),
        ({"capacity": 0}, "'capacity' is 0"),
        ({"target_queue_s": 0}, "'target_queue_s' is 0"),
        ({"target_latency_s": -1.0}, "'target_latency_s' is -1.0"),
        ({"down_after_s": -1.0}, "'down_after_s' is -1.0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(named: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        ScalingSettings(**named)


@pytest.mark.anyio
async def test_a_real_pool_grows_with_its_queue_and_shrinks_again() -> None:
    settings = ScalingSettings(least=1, most=3, target_queue_s=0.1, up_after_s=0.0, down_after_s=0.3)
    async with (
        ProcessPool(1, allow=["tests.workers"]) as pool,
        Autoscaler(pool, settings, workers=1, every_s=0.02) as scaling,
    ):
        handles = [await pool.submit(Job(f"job-{at}", "run", "tests.workers.jobs:nap", _nap(0.2))) for at in range(30)]
        await waiting.until(lambda: scaling.workers == 3)
        for handle in handles:
            await handle.result()
        await waiting.until(lambda: scaling.workers == 1)
        health = await pool.health()
        assert (health.queued, pool.statistics().succeeded) == (0, 30)
        assert scaling.history[0].after > scaling.history[0].before
        assert scaling.history[-1].after == 1
        await waiting.until(lambda: len(pool.statistics().workers) == 1)


def _nap(seconds: float) -> bytes:
    return wire.encode(seconds, "the input")


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ({"backend": "inline"}, "would have no effect: 'inline' has no workers"),
        (
            {"backend": "nats", "nats": "nats://127.0.0.1:1"},
            "would have no effect: the workers are those of other nodes",
        ),
        ({"workers": 9}, "'workers' is 9, and 'scaling' has 1 to 4"),
        ({"scaling": ScalingSettings(least=0)}, "least=0; a pool of this process has at least 1"),
    ],
)
def test_scaling_that_would_have_no_effect_is_refused(named: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        MultiProcessRuntime(**{"scaling": ScalingSettings(), **named})


@pytest.mark.anyio
async def test_a_runtime_scales_its_workers_by_what_each_of_them_takes() -> None:
    scaling = ScalingSettings(least=2, most=3)
    async with MultiProcessRuntime(backend="thread", scaling=scaling, max_concurrency_per_worker=7) as runtime:
        assert runtime.autoscaler is not None
        assert len(runtime.worker_statistics().workers) == runtime.autoscaler.workers == 2
        assert runtime.autoscaler.settings == replace(scaling, capacity=7)
        assert runtime.autoscaler.history == ()
