"""Virtual time."""

import asyncio
import threading
import time

import pytest

from stategraph.testing import FakeClock


def test_an_hour_passes_at_once() -> None:
    clock = FakeClock()
    begin = time.monotonic()
    clock.run(asyncio.sleep(3600))
    assert clock.now() == 3600
    assert time.monotonic() - begin < 5


def test_timers_fire_in_order_at_their_times() -> None:
    clock = FakeClock(100)
    fired: list[tuple[str, float]] = []

    async def timer(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        fired.append((name, clock.now()))

    async def scenario() -> None:
        await asyncio.gather(timer("late", 30), timer("early", 10), timer("middle", 20))

    clock.run(scenario())
    assert [name for name, _ in fired] == ["early", "middle", "late"]
    assert [at for _, at in fired] == pytest.approx([110, 120, 130])


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
