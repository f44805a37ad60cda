"""Threads that wait for work in an event loop of another thread."""

from __future__ import annotations

import asyncio
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
