"""Threads that wait for work in an event loop of another thread."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from stategraph.run.loop_affinity import await_in, wait_in

name: ContextVar[str] = ContextVar("name", default="")


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop that runs in a thread."""
    made = asyncio.new_event_loop()
    thread = threading.Thread(target=made.run_forever)
    thread.start()
    yield made
    made.call_soon_threadsafe(made.stop)
    thread.join(10)
    made.close()


def waits(how: str, loop: asyncio.AbstractEventLoop, work: Any) -> Any:
    return wait_in(loop, work) if how == "thread" else asyncio.run(await_in(loop, work))


async def call_and_cancel(loop: asyncio.AbstractEventLoop, work: Any, begun: threading.Event) -> None:
    """Await some work, and be cancelled once it has begun."""
    caller = asyncio.create_task(await_in(loop, work))
    assert await asyncio.to_thread(begun.wait, 20)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller


@pytest.mark.parametrize("how", ["thread", "loop"])
def test_work_is_done_there_with_the_variables_of_the_caller(loop: asyncio.AbstractEventLoop, how: str) -> None:
    async def work() -> Any:
        await asyncio.sleep(0)
        return name.get(), asyncio.get_running_loop()

    name.set("mine")
    assert waits(how, loop, work) == ("mine", loop)


@pytest.mark.parametrize("how", ["thread", "loop"])
@pytest.mark.parametrize("error", [TimeoutError("slow"), ValueError("wrong")])
def test_what_work_raises_is_raised(loop: asyncio.AbstractEventLoop, how: str, error: Exception) -> None:
    async def work() -> None:
        raise error

    with pytest.raises(type(error), match=str(error)):
        waits(how, loop, work)


@pytest.mark.parametrize("how", ["thread", "loop"])
def test_nobody_waits_for_a_loop_that_is_closed(how: str) -> None:
    loop = asyncio.new_event_loop()
    raised: list[BaseException] = []

    async def work() -> None:
        raise AssertionError("the loop never runs")

    def wait() -> None:
        try:
            waits(how, loop, work)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    loop.close()
    thread.join(20)
    assert not thread.is_alive()
    assert isinstance(raised[0], RuntimeError)


@pytest.mark.parametrize("how", ["thread", "loop"])
def test_nobody_waits_for_ever_for_a_loop_that_is_stopped(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stategraph.run.loop_affinity._STOPPED_S", 0.02)
    monkeypatch.setattr("stategraph.run.loop_affinity._SLICE_S", 0.01)
    loop, begun = asyncio.new_event_loop(), list[bool]()

    async def work() -> None:
        begun.append(True)

    with pytest.raises(RuntimeError, match=r"has not run for 0.02 s while a thread waited for it"):
        waits(how, loop, work)
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert begun == []


@pytest.mark.parametrize("how", ["thread", "loop"])
def test_a_loop_that_runs_again_is_waited_for(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stategraph.run.loop_affinity._SLICE_S", 0.01)
    loop, looked = asyncio.new_event_loop(), threading.Event()
    is_running = loop.is_running

    def look() -> bool:
        looked.set()
        return is_running()

    monkeypatch.setattr(loop, "is_running", look)
    done: list[str] = []

    async def work() -> str:
        return "whole"

    thread = threading.Thread(target=lambda: done.append(waits(how, loop, work)))
    thread.start()
    assert looked.wait(60)  # it was found stopped
    while thread.is_alive():
        loop.run_until_complete(asyncio.sleep(0.01))
    thread.join()
    loop.close()
    assert done == ["whole"]


def test_work_is_cancelled_with_the_caller_that_awaits_it(loop: asyncio.AbstractEventLoop) -> None:
    begun, ended = threading.Event(), threading.Event()
    cancelled: list[bool] = []

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise
        finally:
            ended.set()

    asyncio.run(call_and_cancel(loop, work, begun))
    assert ended.wait(20)
    assert cancelled == [True]


@pytest.mark.parametrize("raises", [False, True])
def test_work_that_ends_after_its_caller_was_cancelled_is_nobody_elses(
    loop: asyncio.AbstractEventLoop, raises: bool, caplog: pytest.LogCaptureFixture
) -> None:
    begun, ended = threading.Event(), threading.Event()

    async def work() -> str:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.set()
            if raises:
                raise ValueError("wrong") from None
        return "whole"

    asyncio.run(call_and_cancel(loop, work, begun))
    assert ended.wait(20)
    asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(20)  # what follows the end has been done
    gc.collect()
    assert caplog.records == []


def test_work_of_a_caller_that_is_cancelled_before_it_begins_does_not_begin() -> None:
    loop = asyncio.new_event_loop()
    begun: list[bool] = []

    async def work() -> None:
        begun.append(True)

    async def call() -> None:
        caller = asyncio.create_task(await_in(loop, work))
        await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller

    asyncio.run(call())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert begun == []
