"""Calls that other threads have an event loop make."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref

import pytest

from stategraph.engine.tasks.posting import mailbox

LIMIT_S = 60.0

pytestmark = pytest.mark.anyio


async def test_calls_of_threads_are_made_in_the_loop_in_their_order() -> None:
    letters, done = mailbox(), asyncio.Event()
    made: list[tuple[int, int]] = []

    def post(thread: int) -> None:
        for number in range(500):
            letters.post(lambda number=number: made.append((thread, number)))

    threads = [threading.Thread(target=post, args=(each,)) for each in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    letters.post(done.set)
    await asyncio.wait_for(done.wait(), LIMIT_S)
    for each in range(4):
        assert [number for thread, number in made if thread == each] == list(range(500))


async def test_the_loop_is_woken_once_for_calls_that_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    letters, made, woken = mailbox(), asyncio.Event(), []
    loop = asyncio.get_running_loop()
    wake = loop.call_soon_threadsafe
    monkeypatch.setattr(loop, "call_soon_threadsafe", lambda *given: (woken.append(given), wake(*given)))

    def post() -> None:  # while the loop waits for this thread
        for _ in range(100):
            letters.post(lambda: None)
        letters.post(made.set)

    thread = threading.Thread(target=post)
    thread.start()
    thread.join()
    await asyncio.wait_for(made.wait(), LIMIT_S)
    assert len(woken) == 1


async def test_a_call_that_fails_keeps_no_other_from_being_made() -> None:
    letters, made, failures = mailbox(), asyncio.Event(), []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: failures.append(context["exception"]))
    letters.post(lambda: 1 / 0)
    letters.post(made.set)
    await asyncio.wait_for(made.wait(), LIMIT_S)
    assert [type(each) for each in failures] == [ZeroDivisionError]


async def test_a_future_is_settled_at_once_in_its_own_loop_and_soon_from_a_thread() -> None:
    letters = mailbox()
    here, there = letters.future(), letters.future()
    letters.settle(here)
    assert here.done()
    await asyncio.to_thread(letters.settle, there)
    await asyncio.wait_for(there, LIMIT_S)


def test_a_closed_loop_is_told_nothing() -> None:
    async def made() -> tuple[object, object]:
        letters = mailbox()
        return letters, letters.future()

    letters, future = asyncio.run(made())
    letters.settle(future)  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError):
        letters.post(print)  # type: ignore[attr-defined]


def test_a_loop_that_is_over_is_freed() -> None:
    async def used() -> weakref.ref[asyncio.AbstractEventLoop]:
        mailbox().post(lambda: None)
        await asyncio.sleep(0)
        return weakref.ref(asyncio.get_running_loop())

    loop = asyncio.run(used())
    gc.collect()
    assert loop() is None
