"""Virtual time."""

from __future__ import annotations

import asyncio
import operator
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, TypedDict

import pytest

from stategraph import START, NodeTimeoutError, RetryPolicy, Runtime, StateGraph
from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.testing import FakeClock
from tests.conftest import Driver


def test_an_hour_passes_at_once() -> None:
    clock = FakeClock()
    begin = time.monotonic()
    clock.run(asyncio.sleep(3600))
    assert clock.now() == 3600
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize("start_s", [100, 1_700_000_000])
def test_timers_fire_in_order_at_their_times(start_s: float) -> None:
    clock = FakeClock(start_s)
    fired: list[tuple[str, float]] = []

    async def timer(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        fired.append((name, clock.now()))

    async def scenario() -> None:
        await asyncio.gather(timer("late", 30), timer("early", 10), timer("middle", 20))

    clock.run(scenario())
    assert [name for name, _ in fired] == ["early", "middle", "late"]
    assert [at - start_s for _, at in fired] == pytest.approx([10, 20, 30])


def test_a_timeout_happens_without_waiting() -> None:
    clock = FakeClock()

    async def scenario() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60):
                await asyncio.Event().wait()

    clock.run(scenario())
    assert clock.now() == pytest.approx(60)


def test_time_stands_still_while_a_worker_thread_works() -> None:
    clock = FakeClock()
    release = threading.Event()

    async def scenario() -> str:
        work = asyncio.get_running_loop().run_in_executor(None, release.wait, 10)
        opener = threading.Timer(0.05, release.set)
        opener.start()
        async with asyncio.timeout(1):
            assert await work
        opener.join()
        return "in time"

    assert clock.run(scenario()) == "in time"
    assert clock.now() == 0
    assert not clock.is_busy


def test_time_stands_still_while_a_loop_that_is_closed_waits_for_its_threads() -> None:
    clock = FakeClock()
    release = threading.Event()
    opener = threading.Timer(0.1, release.set)

    async def scenario() -> None:
        threads = ThreadPoolExecutor(1)
        asyncio.get_running_loop().set_default_executor(threads)
        threads.submit(release.wait, 10)
        opener.start()

    clock.run(scenario())
    assert release.is_set()
    assert clock.now() == 0
    opener.join()


def test_the_time_that_threads_of_a_loop_have_to_end_may_be_given_by_name() -> None:
    named: dict[str, Any] = {"timeout": 60} if sys.version_info >= (3, 12) else {}

    async def scenario() -> int:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(None, int, "7")
        await loop.shutdown_default_executor(**named)
        return found

    assert FakeClock().run(scenario()) == 7


def test_time_stands_still_in_a_section_marked_busy() -> None:
    clock = FakeClock()

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        arrived = asyncio.Event()

        def work() -> None:
            time.sleep(0.05)
            loop.call_soon_threadsafe(arrived.set)

        thread = threading.Thread(target=work)
        with clock.busy():
            thread.start()
            async with asyncio.timeout(1):
                await arrived.wait()
        thread.join()

    clock.run(scenario())
    assert clock.now() == 0


def test_the_clock_stands_in_for_sleep_and_monotonic() -> None:
    clock = FakeClock(5)
    clock.sleep(2)
    clock.advance(1)
    assert clock.now() == 8
    assert clock.sleeps == [2]
    with pytest.raises(ValueError, match="go back"):
        clock.advance(-1)


class Seen(TypedDict):
    seen: Annotated[list[Any], operator.add]


def flaky(failures: int) -> Any:
    """A graph of a node that fails so many times, and tells when its first attempt began."""
    left = iter(range(failures))

    def node(state: Seen, runtime: Runtime) -> Seen:
        for _ in left:
            raise ConnectionError("no line")
        assert runtime.execution_info is not None
        return {"seen": [runtime.execution_info.node_first_attempt_time]}

    policy = RetryPolicy(initial_interval=60, jitter=False, max_attempts=3)
    builder = StateGraph(Seen).add_node("node", node, retry_policy=policy).add_edge(START, "node")
    return builder.compile(checkpointer=in_memory_saver())


def test_a_run_takes_its_dates_and_pauses_from_the_clock(driver: Driver) -> None:
    clock = FakeClock(1_700_000_000)
    graph, config = flaky(failures=2), {"configurable": {"thread_id": "t"}}

    with clock.for_runs():
        result = driver.invoke(graph, {"seen": []}, config)

    assert result == {"seen": [1_700_000_000]}
    assert clock.sleeps == [60, 120]
    assert graph.get_state(config).created_at == "2023-11-14T22:16:20+00:00"


def test_runs_outside_of_the_block_have_the_clock_that_they_had() -> None:
    clock = FakeClock()
    with clock.for_runs():
        pass

    (began,) = flaky(failures=0).invoke({"seen": []}, {"configurable": {"thread_id": "t"}})["seen"]

    assert began > 1_700_000_000


def test_a_timeout_and_a_pause_of_an_attempt_pass_in_virtual_time() -> None:
    clock = FakeClock(1000)
    began: list[float] = []

    async def node(state: Seen) -> Seen:
        began.append(clock.time())
        if len(began) == 1:
            await asyncio.Event().wait()
        return {"seen": ["answered"]}

    policy = RetryPolicy(initial_interval=60, jitter=False, retry_on=NodeTimeoutError)
    graph = StateGraph(Seen).add_node("node", node, retry_policy=policy, timeout=3600).add_edge(START, "node").compile()

    with clock.for_runs():
        assert clock.run(graph.ainvoke({"seen": []})) == {"seen": ["answered"]}

    assert began == pytest.approx([1000, 4600 + 60])
    assert clock.sleeps == [60]


def test_timers_before_the_end_of_a_sleep_fire_first() -> None:
    clock = FakeClock()
    order: list[str] = []

    async def scenario() -> None:
        asyncio.get_running_loop().call_later(1, order.append, "timer")
        await clock.asleep(2)
        order.append("slept")

    clock.run(scenario())

    assert (order, clock.monotonic()) == (["timer", "slept"], 2)
