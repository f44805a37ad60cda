"""The run context: what code inside a node finds, and that nothing leaks out of it."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from contextvars import ContextVar, copy_context
from typing import Any
from unittest.mock import MagicMock

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.store.memory import InMemoryStore
from langsmith.run_helpers import get_current_run_tree
from langsmith.run_trees import RunTree

from stategraph.engine.config.context import (
    await_in_context,
    config_context,
    get_config,
    get_store,
    get_stream_writer,
    run_in_context,
)
from stategraph.engine.config.runtime import Runtime

CONFIG: RunnableConfig = {"tags": ["running"], "configurable": {}}
mark: ContextVar[str] = ContextVar("mark", default="unset")

Enter = Callable[[RunnableConfig, Callable[[], Any]], Any]


def by_call(config: RunnableConfig, func: Callable[[], Any]) -> Any:
    return run_in_context(config, func)


def by_await(config: RunnableConfig, func: Callable[[], Any]) -> Any:
    async def coro() -> Any:
        await asyncio.sleep(0)
        return func()

    async def main() -> Any:
        return await await_in_context(config_context(config), coro())

    return asyncio.run(main())


@pytest.fixture(params=[by_call, by_await], ids=["call", "await"])
def enter(request: pytest.FixtureRequest) -> Enter:
    """Every way to run something under a config."""
    way: Enter = request.param
    return way


def test_code_inside_finds_the_config_and_code_outside_does_not(enter: Enter) -> None:
    assert enter(CONFIG, get_config) is CONFIG
    with pytest.raises(RuntimeError, match="No node or task is running"):
        get_config()


def test_what_is_set_inside_is_gone_outside(enter: Enter) -> None:
    def set_mark() -> str:
        mark.set("set inside")
        return mark.get()

    assert enter(CONFIG, set_mark) == "set inside"
    assert mark.get() == "unset"


def test_what_was_set_outside_is_seen_inside(enter: Enter) -> None:
    def outside() -> Any:
        mark.set("set outside")
        return enter(CONFIG, mark.get)

    assert copy_context().run(outside) == "set outside"


def test_the_store_and_the_stream_writer_are_those_of_the_runtime(enter: Enter) -> None:
    store, written = InMemoryStore(), []
    runtime: Runtime[None] = Runtime(store=store, stream_writer=written.append)
    config: RunnableConfig = {"configurable": {"__pregel_runtime": runtime}}
    assert enter(config, get_store) is store
    enter(config, get_stream_writer)("chunk")
    assert written == ["chunk"]


def test_an_error_inside_reaches_the_caller(enter: Enter) -> None:
    def fail() -> None:
        raise LookupError("inside")

    with pytest.raises(LookupError, match="inside"):
        enter(CONFIG, fail)


# --- await_in_context ---


def run_inside(coro: Callable[[], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        return await await_in_context(config_context(CONFIG), coro())  # type: ignore[arg-type]

    return asyncio.run(main())


def test_every_step_of_a_coroutine_runs_in_the_context() -> None:
    async def steps() -> list[Any]:
        seen = [get_config()]
        mark.set("kept")
        for _ in range(3):
            await asyncio.sleep(0)
            seen.append((get_config(), mark.get()))
        return seen

    assert run_inside(steps) == [CONFIG, *[(CONFIG, "kept")] * 3]


def test_tasks_and_callbacks_started_inside_inherit_the_context() -> None:
    async def child() -> RunnableConfig:
        return get_config()

    async def parent() -> list[RunnableConfig]:
        loop = asyncio.get_running_loop()
        called: asyncio.Future[RunnableConfig] = loop.create_future()
        loop.call_soon(lambda: called.set_result(get_config()))
        return [await asyncio.create_task(child()), await called, await asyncio.to_thread(get_config)]

    assert run_inside(parent) == [CONFIG] * 3


@pytest.mark.parametrize("started", [False, True])
def test_a_coroutine_that_lets_others_take_their_turn_does_so(started: bool) -> None:
    turns = []

    async def take_turns(name: str) -> None:
        for _ in range(2):
            turns.append(name)
            await asyncio.sleep(0)

    async def main() -> None:
        other = asyncio.create_task(take_turns("other"))
        context, work = copy_context(), take_turns("inside")
        waits_for = (context.run(work.send, None),) if started else ()
        await await_in_context(context, work, *waits_for)
        await other

    asyncio.run(main())
    assert turns == ["inside", "other", "inside", "other"]


def test_a_coroutine_can_catch_what_it_awaits() -> None:
    async def fail() -> None:
        await asyncio.sleep(0)
        raise LookupError

    async def catch() -> str:
        try:
            await asyncio.gather(fail())
        except LookupError:
            await asyncio.sleep(0)
            return f"caught in {get_config()['tags'][0]}"
        return "not reached"

    assert run_inside(catch) == "caught in running"


def test_timeouts_and_cancellation_work_as_in_a_plain_await() -> None:
    cleaned_up: list[RunnableConfig] = []

    async def wait_for_ever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned_up.append(get_config())

    async def times_out_inside() -> str:
        try:
            async with asyncio.timeout(0):
                await wait_for_ever()
        except TimeoutError:
            return "timed out"
        return "not reached"

    assert run_inside(times_out_inside) == "timed out"

    async def cancelled_from_outside() -> None:
        task = asyncio.ensure_future(await_in_context_of(wait_for_ever()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def await_in_context_of(coro: Any) -> None:
        await await_in_context(config_context(CONFIG), coro)

    asyncio.run(cancelled_from_outside())
    assert cleaned_up == [CONFIG, CONFIG]


def test_a_coroutine_that_is_given_up_is_closed_in_its_context() -> None:
    closed_in: list[RunnableConfig] = []

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            closed_in.append(get_config())

    async def main() -> None:
        async def body() -> None:
            await await_in_context(config_context(CONFIG), waits())

        coro = body()
        coro.send(None)
        coro.close()

    asyncio.run(main())
    assert closed_in == [CONFIG]


def test_what_is_traced_inside_hangs_below_the_run_of_the_context() -> None:
    run = RunTree(name="outer", client=MagicMock())
    assert config_context(CONFIG, run).run(get_current_run_tree) is run
    assert config_context(CONFIG).run(get_current_run_tree) is None
    assert get_current_run_tree() is None


@pytest.mark.anyio
async def test_a_traceback_says_once_where_nested_calls_waited() -> None:
    async def fail() -> None:
        await asyncio.sleep(0)
        raise ValueError("no")

    async def nested(levels: int) -> None:
        inner = nested(levels - 1) if levels else failing
        await await_in_context(copy_context(), _awaiting(inner))

    async def _awaiting(inner: Any) -> None:
        await inner

    failing = asyncio.create_task(fail())
    with pytest.raises(ValueError, match="no") as caught:
        await nested(5)
    waited = [frame for frame in traceback.extract_tb(caught.value.__traceback__) if "yield" in (frame.line or "")]
    assert not waited
