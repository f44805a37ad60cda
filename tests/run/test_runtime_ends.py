"""Closing a runtime, running its runs twice, and using it from elsewhere."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.errors import AbortError, ConfigurationError, HandlerError
from stategraph.run.run import Run
from stategraph.run.runtime import AgentRuntime
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from tests.run.hosting import ask

pytestmark = pytest.mark.anyio


def agent(*replies: Any) -> dict[str, Any]:
    return {"agent_id": "a", "model": ScriptedChatModel(replies=list(replies))}


def held() -> tuple[script.Gate, dict[str, Any]]:
    gate = script.Gate()
    return gate, agent(script.Reply((script.Text("one "), script.Hold(gate), script.Text("two"))))


async def test_a_run_that_was_just_started_is_stopped_by_its_id() -> None:
    _gate, described = held()
    async with AgentRuntime() as runtime:
        run = await runtime.create_run(run_id="r", agents=[described])
        work = runtime.start(run, ask())
        assert runtime.statistics().runs_going == 1
        assert runtime.abort("r", "the person left")
        with pytest.raises(AbortError, match="the person left"):
            await asyncio.wait_for(work, 10)


async def test_closing_stops_a_run_that_was_just_started() -> None:
    _gate, described = held()
    runtime = AgentRuntime()
    run = await runtime.create_run(run_id="r", agents=[described])
    work = runtime.start(run, ask())
    await asyncio.wait_for(runtime.aclose(), 10)
    with pytest.raises(AbortError, match="closed"):
        await work


async def test_a_closed_runtime_makes_and_starts_no_runs() -> None:
    async with AgentRuntime() as runtime:
        made = await runtime.create_run(run_id="r", agents=[agent("Hello.")])
    with pytest.raises(ConfigurationError, match="closed"):
        await runtime.create_run(run_id="s", agents=[agent("Hello.")])
    with pytest.raises(ConfigurationError, match="closed"):
        runtime.start(made, ask())
    with pytest.raises(AbortError, match="closed"):
        await made.process_stream(ask())


@pytest.mark.parametrize("saver", ["memory", "sqlite"])
@pytest.mark.parametrize("is_over", [False, True])
async def test_runs_of_a_closed_runtime_say_so(saver: str, is_over: bool, tmp_path: Path) -> None:
    checkpointer = in_memory_saver() if saver == "memory" else f"sqlite:///{tmp_path / 'c.db'}"
    thread = {"configurable": {"thread_id": "t"}}
    async with AgentRuntime(checkpointer=checkpointer) as runtime:
        run = await runtime.create_run(run_id="r", agents=[agent("Hello.", "Again.")])
        if is_over:
            await run.process_stream(ask(), thread)
    for execute in (run.process_stream, run.resume):
        with pytest.raises(AbortError, match="The runtime was closed"):
            await execute(ask(), thread)
    with pytest.raises(AbortError, match="The runtime was closed"):
        async for _ in run.stream(ask(), thread):
            pass
    assert not run.running
    if saver == "sqlite":
        with pytest.raises(ConfigurationError, match="The runtime is closed, and so is its checkpointer"):
            await runtime.threads.list()
    async with runtime:
        assert [each.id for each in (await runtime.threads.list()).threads] == (["t"] if is_over else [])


def test_sync_calls_on_a_closed_runtime_say_so(tmp_path: Path) -> None:
    with AgentRuntime(checkpointer=f"sqlite:///{tmp_path / 'c.db'}") as runtime:
        run = runtime.create_run_sync(run_id="r", agents=[agent("Hello.")])
    with pytest.raises(AbortError, match="The runtime was closed"):
        run.run_sync(ask())
    with pytest.raises(ConfigurationError, match="The runtime is closed"):
        runtime.threads_sync.list()


async def test_closing_that_is_cancelled_while_a_run_does_not_end_closes_the_mcp_sessions_still() -> None:
    told, go_on = asyncio.Event(), asyncio.Event()

    async def hang(*_: Any) -> None:
        told.set()
        await go_on.wait()

    runtime = AgentRuntime(custom_handlers={"on_message_delta": hang, "on_run_step_closed": hang})
    async with runtime.mcp:
        run = await runtime.create_run(run_id="r", agents=[agent("Hello.")])
        work = runtime.start(run, ask())
        await asyncio.wait_for(told.wait(), 10)
        told.clear()
        closing = asyncio.create_task(runtime.aclose())
        await asyncio.wait_for(told.wait(), 10)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        with pytest.raises(RuntimeError, match="MCP sessions are closed"):
            await runtime.mcp.call_tool("any", "tool", {})
        go_on.set()
        with pytest.raises(AbortError):
            await work


async def test_closing_while_runs_are_made_and_started_leaves_none_going() -> None:
    runtime = AgentRuntime()
    made: list[Any] = []
    several = asyncio.Event()

    async def backend() -> None:
        for number in range(100):
            run = await runtime.create_run(run_id=f"r{number}", agents=[held()[1]])
            made.append(run)
            runtime.start(run, ask())
            if number == 5:
                several.set()
            await asyncio.sleep(0)

    making = asyncio.create_task(backend())
    await asyncio.wait_for(several.wait(), 10)
    await asyncio.wait_for(runtime.aclose(), 10)
    with pytest.raises(ConfigurationError, match="closed"):
        await asyncio.wait_for(making, 10)
    assert not any(run.running for run in made)
    assert runtime.statistics().runs_going == 0


async def test_a_run_that_goes_on_is_not_replaced_by_another_of_its_name() -> None:
    gate, described = held()
    async with AgentRuntime() as runtime:
        run = await runtime.create_run(run_id="r", agents=[described])
        work = runtime.start(run, ask())
        await gate.wait_reached_async()
        with pytest.raises(ConfigurationError, match="'r' is still running"):
            await runtime.create_run(run_id="r", agents=[agent("Hello.")])
        assert runtime.get_run("r") is run
        gate.open()
        await work
        again = await runtime.create_run(run_id="r", agents=[agent("Hello.")])
        assert runtime.get_run("r") is again


async def test_only_the_newest_ended_runs_are_kept_and_those_that_go_on() -> None:
    gate, described = held()
    async with AgentRuntime(runs_kept=2) as runtime:
        going = runtime.start(await runtime.create_run(run_id="going", agents=[described]), ask())
        await gate.wait_reached_async()
        for name in ("one", "two", "three"):
            run = await runtime.create_run(run_id=name, agents=[agent("Hello.")])
            await run.process_stream(ask())
        assert [name for name in ("going", "one", "two", "three") if runtime.get_run(name)] == ["going", "three"]
        assert await runtime.create_run(run_id="four", agents=[agent("Hello.")]) is runtime.get_run("four")
        gate.open()
        await going


async def test_an_unknown_run_is_told_before_anything_is_read() -> None:
    async with AgentRuntime() as runtime:
        with pytest.raises(LookupError, match="unknown"):
            runtime.attach("unknown")


async def test_a_failure_in_the_background_is_logged_with_where_it_came_from(caplog: pytest.LogCaptureFixture) -> None:
    async with AgentRuntime() as runtime:
        run = await runtime.create_run(run_id="r", agents=[agent(script.Failure(status=500, message="overloaded"))])
        with caplog.at_level(logging.ERROR):
            work = runtime.start(run, ask())
            await asyncio.wait((work,))
            await asyncio.sleep(0)
    (record,) = [record for record in caplog.records if record.name == "stategraph.run.runtime"]
    assert "Run 'r' failed" in record.getMessage()
    assert record.exc_info


async def test_a_run_that_is_cancelled_in_the_background_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    unhandled: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, about: unhandled.append(about))
    _gate, described = held()
    async with AgentRuntime() as runtime:
        work = runtime.start(await runtime.create_run(run_id="r", agents=[described]), ask())
        work.cancel()
        await asyncio.wait((work,))
    assert work.cancelled()
    assert unhandled == []
    assert [record for record in caplog.records if record.name == "stategraph.run.runtime"] == []


async def test_closing_waits_for_a_run_that_was_made_elsewhere_and_does_not_fail_with_it() -> None:
    reached, released = asyncio.Event(), asyncio.Event()

    async def fail(*_: Any) -> None:
        reached.set()
        await released.wait()
        raise ValueError("mine")

    runtime = AgentRuntime()
    async with runtime:
        graph = {"agents": [agent("Hello.")]}
        run = await Run.create({"run_id": "r", "graph_config": graph, "custom_handlers": {"on_run_step": fail}})
        work = runtime.start(run, ask())
        await asyncio.wait_for(reached.wait(), 10)
        closing = asyncio.create_task(runtime.aclose())
        for _ in range(20):
            await asyncio.sleep(0)
        assert not closing.done()
        released.set()
        await asyncio.wait_for(closing, 10)
    assert isinstance(work.exception(), HandlerError)


@pytest.fixture
def elsewhere() -> Iterator[Any]:
    """Runs a coroutine in an event loop of another thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield lambda work: asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


async def test_another_event_loop_is_told_that_the_runtime_is_not_its_own(elsewhere: Any) -> None:
    gate, described = held()

    async def watch(run: Any) -> None:
        async for _ in run.attach():
            pytest.fail("read from another loop")

    async with AgentRuntime() as runtime:
        run = await runtime.create_run(run_id="r", agents=[described])
        work = runtime.start(run, ask())
        await gate.wait_reached_async()
        with pytest.raises(ConfigurationError, match="another event loop"):
            await elsewhere(runtime.create_run(run_id="s", agents=[described]))
        with pytest.raises(ConfigurationError, match="another event loop"):
            await elsewhere(watch(run))
        await asyncio.to_thread(runtime.abort, "r", "from a thread")
        with pytest.raises(AbortError, match="from a thread"):
            await work
