"""Threads whose runs, deletions and first repairs are cancelled or fail, at any moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import aclosing, asynccontextmanager
from itertools import count
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from stategraph import AgentInputs, AgentRuntime, interrupt
from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.errors import UnknownInterruptError
from stategraph.run.threads import keeping
from stategraph.run.threads.indexes import index_of
from stategraph.run.threads.port import ThreadIndex, Unlisted
from stategraph.run.threads.rules import Row
from stategraph.testing import ScriptedChatModel, call, reply

pytestmark = pytest.mark.anyio


class Slow:
    """An index whose database takes its time, before and after a change is made."""

    keeps = True

    def __init__(self, index: ThreadIndex) -> None:
        self._index = index
        self.check, self.open, self.find = index.check, index.open, index.find
        self.abandoned, self.namespaces = index.abandoned, index.namespaces
        self.repairs: list[Callable[[], Coroutine[Any, Any, None]]] = []

    async def get(self, thread_id: str) -> Row | None:
        return await self._slowly(self._index.get(thread_id))

    async def put(self, row: Row, version: int | None) -> bool:
        return await self._slowly(self._index.put(row, version))

    async def remove(self, row: Row) -> bool:
        return await self._slowly(self._index.remove(row))

    async def unlisted(self) -> Sequence[Unlisted]:
        if self.repairs:
            await self.repairs.pop(0)()
        return await self._index.unlisted()

    async def _slowly(self, work: Coroutine[Any, Any, Any]) -> Any:
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            work.close()
            raise
        done = await work
        await asyncio.sleep(0)
        return done


def choose() -> str:
    """Choose."""
    return str(interrupt("which?", response_schema=str))


async def turn(runtime: AgentRuntime, thread_id: str) -> None:
    model = ScriptedChatModel(replies=["Hello."])
    run = await runtime.create_run(run_id=thread_id, agents=[AgentInputs(agent_id="a", model=model)])
    await run.process_stream({"messages": [HumanMessage("hi")]}, {"configurable": {"thread_id": thread_id}})


async def cancelled_everywhere(begin: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[bool]:
    """Begin work again and again, cancel it one step of the loop later each time, and once more after that."""
    for steps in count():
        task = asyncio.create_task(begin())
        for _ in range(steps):
            await asyncio.sleep(0)
        if task.done():
            assert steps > 8
            return
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        yield task.cancelled()


async def test_whenever_a_run_is_cancelled_its_thread_does_not_say_that_it_goes_on() -> None:
    index = Slow(index_of(in_memory_saver()))

    async def run() -> None:
        async with keeping.executing(index, "t", "r", lambda: False):
            await asyncio.sleep(0)

    async for was_cancelled in cancelled_everywhere(run):
        row = await index.get("t")
        assert was_cancelled
        assert row is None or (row.status, row.holder) == ("idle", None)


async def test_a_run_that_is_cancelled_before_it_begins_leaves_a_thread_waiting() -> None:
    index = Slow(index_of(in_memory_saver()))
    has_begun = False

    async def wait() -> None:
        async with keeping.executing(index, "t", "r", lambda: True):
            pass

    async def go_on() -> None:
        nonlocal has_begun
        await wait()
        async with keeping.executing(index, "t", "r2", lambda: False):
            has_begun = True

    await wait()
    async for _ in cancelled_everywhere(go_on):
        row = await index.get("t")
        assert row is not None
        assert (row.status, row.holder) == ("idle" if has_begun else "interrupted", None)
        has_begun = False


async def test_a_refused_answer_leaves_a_thread_as_it_was(saver: Any) -> None:
    async with AgentRuntime(checkpointer=saver, thread_index=True) as runtime:
        inputs = AgentInputs(
            agent_id="a",
            model=ScriptedChatModel(replies=[reply(call("choose"), call("choose")), "Done."]),
            tools=(choose,),
        )
        run = await runtime.create_run(run_id="r", agents=[inputs])
        at = {"configurable": {"thread_id": "t"}}
        await run.process_stream({"messages": [HumanMessage("hi")]}, at)
        with pytest.raises(UnknownInterruptError):
            await run.resume("for which of the two?", at)
        assert (await runtime.threads.info("t")).status == "interrupted"
        answers = {each.interrupt_id: 5 for each in run.get_interrupts()}
        with pytest.raises(ValueError, match="5"):
            await run.resume(answers, at)
        assert (await runtime.threads.info("t")).status == "interrupted"
        await run.resume(dict.fromkeys(answers, "yes"), at)
        assert (await runtime.threads.info("t")).status == "idle"
        with pytest.raises(UnknownInterruptError, match="nothing waits"):
            await run.resume("again", at)
        assert (await runtime.threads.info("t")).status == "idle"


async def test_whenever_a_deletion_is_cancelled_nobody_has_to_wait_for_it() -> None:
    index = Slow(index_of(in_memory_saver()))

    async def delete() -> None:
        async with keeping.deleting(index, "t"):
            await asyncio.sleep(0)

    async for was_cancelled in cancelled_everywhere(delete):
        row = await index.get("t")
        assert was_cancelled
        assert row is None or not row.is_held(keeping.now_s())


async def test_a_thread_is_idle_once_a_reader_has_left_at_the_end_of_its_run(saver: Any) -> None:
    async with AgentRuntime(checkpointer=saver, thread_index=True) as runtime:
        model = ScriptedChatModel(replies=["Hello."])
        run = await runtime.create_run(run_id="r", agents=[AgentInputs(agent_id="a", model=model)])
        events = run.stream({"messages": [HumanMessage("hi")]}, {"configurable": {"thread_id": "t"}})
        async with aclosing(events):
            async for event in events:
                if event.event == "on_run_end":
                    break
        assert (await runtime.threads.info("t")).status == "idle"
        await runtime.threads.delete("t")


# The first use.


@asynccontextmanager
async def with_threads_from_before(index: Slow, saver: Any) -> AsyncIterator[AgentRuntime]:
    async with AgentRuntime(checkpointer=saver) as runtime:
        for number in range(3):
            await turn(runtime, f"t{number}")
    async with AgentRuntime(checkpointer=saver, thread_index=index) as runtime:
        yield runtime


async def listed(runtime: AgentRuntime) -> int:
    return len((await runtime.threads.list()).threads)


async def test_a_second_caller_sees_all_threads_though_the_first_still_repairs() -> None:
    saver = in_memory_saver()
    index = Slow(index_of(saver))
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        begun.set()
        await go_on.wait()

    async with with_threads_from_before(index, saver) as runtime:
        index.repairs.append(slow)
        first = asyncio.create_task(listed(runtime))
        await begun.wait()
        second = asyncio.create_task(listed(runtime))
        await turn(runtime, "meanwhile")  # a run does not wait for it
        assert not first.done()
        assert not second.done()
        go_on.set()
        assert [await first, await second] == [4, 4]


async def test_a_repair_that_was_cancelled_or_failed_is_done_by_the_next_caller() -> None:
    saver = in_memory_saver()
    index = Slow(index_of(saver))
    begun = asyncio.Event()

    async def never() -> None:
        begun.set()
        await asyncio.Event().wait()

    async def fail() -> None:
        raise OSError("the disk is full")

    async with with_threads_from_before(index, saver) as runtime:
        index.repairs += [never, fail]
        first = asyncio.create_task(listed(runtime))
        await begun.wait()
        second = asyncio.create_task(listed(runtime))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(OSError, match="the disk is full"):
            await second
        assert await listed(runtime) == 3
        assert index.repairs == []
