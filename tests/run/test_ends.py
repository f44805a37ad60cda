"""How a run ends: aborted at each point, cancelled, with a saver that fails, with handlers that hang."""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import aclosing
from typing import Any

import anyio
import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver

from stategraph.errors import AbortError, ConfigurationError, HandlerError, UnknownInterruptError
from stategraph.run.abort import AbortController, AbortSignal, unless_aborted
from stategraph.run.events.run_log import LAG
from stategraph.run.hooks.hook_registry import HookRegistry
from stategraph.run.run import Run
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from stategraph.types import Command
from tests.run.hosting import THREAD, WEATHER, Host, ask, calls, get_weather, requests_of, run_of, sunny

pytestmark = pytest.mark.anyio


class FailingSaver(InMemorySaver):
    """A saver that can be told to fail, or to take its time."""

    def __init__(self) -> None:
        super().__init__()
        self.fails = False
        self.slow: tuple[asyncio.Event, asyncio.Event] | None = None
        self.slow_sources = {"input", "loop", "update"}

    async def aput(self, *given: Any, **named: Any) -> Any:
        if self.slow is not None and given[2]["source"] in self.slow_sources:
            reached, go = self.slow
            reached.set()
            await go.wait()
        if self.fails:
            raise ConnectionError("the database is gone")
        return await super().aput(*given, **named)


def held(*before: str) -> tuple[script.Gate, script.Reply]:
    """An answer that stops in the middle."""
    gate = script.Gate()
    return gate, script.Reply((*map(script.Text, before or ("one ",)), script.Hold(gate), script.Text("two")))


def saved_in(saver: Any) -> dict[str, Any]:
    return {"checkpointer": saver}


async def messages_of(run: Run) -> list[Any]:
    state = await run.graph.compiled.aget_state(THREAD)
    assert state.next == ()
    return list(state.values["messages"])


# Before the start.


async def test_a_run_that_was_aborted_before_it_starts_does_not_call_its_model() -> None:
    run = await run_of("Hello.")
    run.abort("changed my mind")
    with pytest.raises(AbortError, match="changed my mind"):
        await run.process_stream(ask())
    assert requests_of(run) == []


async def test_a_signal_that_was_given_before_the_start_keeps_the_model_from_being_called() -> None:
    controller = AbortController()
    controller.abort()
    host = Host()
    run = await run_of("Hello.", host=host)
    with pytest.raises(AbortError):
        await run.process_stream(ask(), {"signal": controller.signal})
    assert requests_of(run) == []
    assert [event for event, _ in host.rows] == []


async def test_an_abort_after_the_end_does_not_stop_the_next_execution() -> None:
    run = await run_of("One.", "Two.")
    await run.process_stream(ask())
    run.abort()
    await run.process_stream(ask("again"))
    assert [message.content for message in run.get_run_messages()] == ["Two."]


async def test_a_signal_that_is_none_is_refused_with_what_was_expected() -> None:
    run = await run_of("Hello.")
    with pytest.raises(ConfigurationError, match=r"signal.*AbortSignal.*Event"):
        await run.process_stream(ask(), {"signal": asyncio.Event()})
    assert not run.running
    await run.process_stream(ask())


@pytest.mark.parametrize("inputs", [None, [HumanMessage("hi")], "hi", {}])
async def test_what_is_no_input_is_refused(inputs: Any) -> None:
    run = await run_of("Hello.")
    with pytest.raises(ConfigurationError, match=r"\{'messages': \[\.\.\.\]\}"):
        await run.process_stream(inputs)
    assert not run.running


# In the middle.


async def test_a_second_signal_does_not_cut_off_what_aborted_work_does_at_its_end() -> None:
    first, second = AbortController(), AbortController()
    began, ending, go, ended = asyncio.Event(), asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ending.set()
            await go.wait()
            ended.set()

    aborted = asyncio.create_task(unless_aborted((first.signal, second.signal), work))
    with anyio.fail_after(60):
        await began.wait()
        first.abort("by its user")
        await ending.wait()
        second.abort("by the host")
        for _ in range(3):  # of the loop's turns, as a signal takes one
            await asyncio.sleep(0)
        go.set()
        with pytest.raises(AbortError, match="by its user"):
            await aborted
    assert ended.is_set()


async def test_an_abort_from_another_thread_ends_the_run() -> None:
    gate, reply = held()
    run = await run_of(reply)
    work = asyncio.create_task(run.process_stream(ask()))
    await gate.wait_reached_async()
    thread = threading.Thread(target=run.abort, args=("from elsewhere",))
    thread.start()
    with pytest.raises(AbortError, match="from elsewhere"):
        await asyncio.wait_for(work, 10)
    thread.join()


async def test_a_handler_may_abort_the_run_it_is_called_by() -> None:
    run = await run_of("One two three.")
    run.handler_registry.register("on_message_delta", lambda *_: run.abort("enough"))
    with pytest.raises(AbortError, match="enough"):
        await run.process_stream(ask())


async def test_a_handler_that_hangs_does_not_outlive_an_abort() -> None:
    hanging, ended = asyncio.Event(), asyncio.Event()

    async def hang(*_: Any) -> None:
        hanging.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    run = await run_of("Hello.", custom_handlers={"on_message_delta": hang})
    work = asyncio.create_task(run.process_stream(ask()))
    await asyncio.wait_for(hanging.wait(), 10)
    run.abort()
    with pytest.raises(AbortError):
        await asyncio.wait_for(work, 10)
    assert ended.is_set()


async def test_a_handler_that_executes_its_own_run_is_told_that_it_goes_on() -> None:
    async def again(event: str, data: Any, metadata: Any, graph: Any) -> None:
        await run.process_stream(ask())

    run = await run_of("Hello.", custom_handlers={"on_message_delta": again})
    with pytest.raises(HandlerError, match="being executed already"):
        await run.process_stream(ask())
    assert not run.running


async def test_an_abort_between_request_and_answer_of_the_host_ends_the_run_and_a_late_answer_changes_nothing() -> None:
    requests: list[Any] = []
    asked = asyncio.Event()

    def keep(data: Any) -> None:
        requests.append(data)
        asked.set()

    host = Host(on_tool_execute=keep)
    agent = {"tool_definitions": [WEATHER]}
    saver = InMemorySaver()
    run = await run_of(
        calls(("get_weather", {"city": "Rome"})), host=host, agent=agent, compile_options=saved_in(saver)
    )
    work = asyncio.create_task(run.process_stream(ask(), THREAD))
    await asyncio.wait_for(asked.wait(), 10)
    (request,) = requests
    run.abort()
    with pytest.raises(AbortError):
        await asyncio.wait_for(work, 10)
    assert request["signal"].aborted
    before = list(host.rows)
    request.on_result({"toolCallId": "call_1", "content": "late"})
    sunny(request)
    await asyncio.sleep(0)
    assert host.rows == before
    _human, answer, result = await messages_of(run)
    assert isinstance(answer, AIMessage)
    assert isinstance(result, ToolMessage)
    assert result.status == "error"
    assert result.additional_kwargs == {"synthetic": True}
    assert host.steps()[-1] == ("on_run_step_closed", "cancelled")


async def test_an_abort_while_a_call_is_being_written_leaves_the_text_and_no_call() -> None:
    gate = script.Gate()
    reply = script.Reply(
        (
            script.Text("Let me see. "),
            script.CallPart(0, '{"city": "Ro', name="get_weather", id="call_1"),
            script.Hold(gate),
            script.CallPart(0, 'me"}'),
        )
    )
    host = Host()
    run = await run_of(reply, host=host, agent={"tools": [get_weather]}, compile_options=saved_in(InMemorySaver()))
    work = asyncio.create_task(run.process_stream(ask(), THREAD))
    await gate.wait_reached_async()
    run.abort()
    with pytest.raises(AbortError):
        await work
    _, cut = await messages_of(run)
    assert (cut.content, cut.tool_calls) == ("Let me see. ", [])
    closed = [data["status"] for event, data in host.rows if event == "on_run_step_closed"]
    assert closed == ["completed", "cancelled"]


async def test_an_abort_that_comes_while_a_step_is_stored_leaves_every_message_once() -> None:
    saver = FailingSaver()
    saver.slow = asyncio.Event(), asyncio.Event()
    run = await run_of("Hello.", compile_options=saved_in(saver))
    work = asyncio.create_task(run.process_stream(ask(), {**THREAD, "durability": "sync"}))
    await asyncio.wait_for(saver.slow[0].wait(), 10)
    run.abort()
    saver.slow[1].set()
    with pytest.raises(AbortError):
        await asyncio.wait_for(work, 10)
    contents = [message.content for message in await messages_of(run)]
    assert contents in (["hi"], ["hi", "Hello."])


async def test_a_run_of_several_agents_that_is_aborted_in_one_of_them_keeps_what_the_others_brought() -> None:
    gate, reply = held()
    saver = InMemorySaver()
    graph = {
        "type": "multi-agent",
        "agents": [
            {"agent_id": "a", "model": ScriptedChatModel(replies=["From a."])},
            {"agent_id": "b", "model": ScriptedChatModel(replies=[reply])},
        ],
        "edges": [{"from": "a", "to": "b", "edge_type": "direct"}],
        "compile_options": saved_in(saver),
    }
    for durability in ("exit", "sync"):
        run = await Run.create({"run_id": "r", "graph_config": graph})
        config = {"configurable": {"thread_id": durability}, "durability": durability}
        work = asyncio.create_task(run.process_stream(ask(), config))
        await gate.wait_reached_async()
        run.abort()
        with pytest.raises(AbortError):
            await work
        state = await run.graph.compiled.aget_state({"configurable": {"thread_id": durability}})
        assert [message.content for message in state.values["messages"]] == ["hi", "From a.", "one "]
        assert state.next == ()
        gate, reply = held()
        graph["agents"] = [
            {"agent_id": "a", "model": ScriptedChatModel(replies=["From a."])},
            {"agent_id": "b", "model": ScriptedChatModel(replies=[reply])},
        ]


# The saver.


async def test_a_saver_that_fails_does_not_hide_an_abort(caplog: pytest.LogCaptureFixture) -> None:
    gate, reply = held()
    saver = FailingSaver()
    run = await run_of(reply, compile_options=saved_in(saver))
    work = asyncio.create_task(run.process_stream(ask(), THREAD))
    await gate.wait_reached_async()
    saver.fails = True
    run.abort()
    with caplog.at_level(logging.ERROR), pytest.raises(AbortError) as raised:
        await asyncio.wait_for(work, 10)
    assert "the database is gone" in "".join(raised.value.__notes__)
    assert [message.content for message in run.get_run_messages()] == ["one "]
    assert not run.running


async def test_an_error_of_a_model_surfaces_although_the_saver_fails_as_well() -> None:
    saver = FailingSaver()
    saver.fails = True
    run = await run_of(script.Failure(status=500, message="overloaded"), compile_options=saved_in(saver))
    with pytest.raises(Exception, match="overloaded"):
        await run.process_stream(ask(), THREAD)


@pytest.mark.parametrize("cancels", [1, 3])
async def test_a_run_that_is_cancelled_while_its_thread_is_mended_mends_it_to_the_end(cancels: int) -> None:
    gate, reply = held()
    saver = FailingSaver()
    saver.slow_sources = {"update"}
    run = await run_of(reply, compile_options=saved_in(saver))
    work = asyncio.create_task(run.process_stream(ask(), THREAD))
    await gate.wait_reached_async()
    saver.slow = asyncio.Event(), asyncio.Event()
    run.abort()
    await asyncio.wait_for(saver.slow[0].wait(), 10)
    for _ in range(cancels):
        work.cancel()
        await asyncio.sleep(0)
        assert not work.done()
    saver.slow[1].set()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(work, 10)
    assert [message.content for message in await messages_of(run)] == ["hi", "one "]
    assert [event.event async for event in run.attach()][-1] == "on_run_end"


async def test_a_reader_that_is_cancelled_again_and_again_leaves_a_thread_that_is_mended() -> None:
    """As the servers do that are built on AnyIO when a browser has left."""
    gate, reply = held()
    saver = FailingSaver()
    saver.slow_sources = {"update"}
    run = await run_of(reply, compile_options=saved_in(saver))

    async def read() -> None:
        async for _ in run.stream(ask(), THREAD):
            pass

    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(read)
            await gate.wait_reached_async()
            saver.slow = asyncio.Event(), asyncio.Event()
            scope.cancel()
            with anyio.CancelScope(shield=True):
                await asyncio.wait_for(saver.slow[0].wait(), 10)
                for _ in range(3):
                    await asyncio.sleep(0)
                saver.slow[1].set()
    await asyncio.wait_for(run.ended(), 10)
    assert [message.content for message in await messages_of(run)] == ["hi", "one "]


# The last events.


async def test_a_run_that_is_cancelled_while_a_handler_of_its_last_events_hangs_is_over() -> None:
    hanging = asyncio.Event()

    async def hang(event: str, data: Any, *_: Any) -> None:
        if data["status"] == "cancelled":
            hanging.set()
            await asyncio.Event().wait()

    gate, reply = held()
    run = await run_of(reply, custom_handlers={"on_run_step_closed": hang})
    work = asyncio.create_task(run.process_stream(ask()))
    await gate.wait_reached_async()
    run.abort()
    await asyncio.wait_for(hanging.wait(), 10)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(work, 10)
    assert not run.running
    await asyncio.wait_for(run.ended(), 10)
    assert [event.event async for event in run.attach()][-1] == "on_run_end"


async def test_a_run_whose_owner_does_not_read_can_be_aborted() -> None:
    _gate, reply = held(*[f"{number} " for number in range(LAG)])
    run = await run_of(reply, calls())
    async with aclosing(run.stream(ask())) as events:
        await anext(events)
        for _ in range(LAG * 4):
            await asyncio.sleep(0)
        assert run.running
        run.abort()
        await asyncio.wait_for(run.ended(), 10)


async def test_a_handler_of_a_closing_that_fails_is_logged_and_the_run_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("no")

    run = await run_of("Hello.", custom_handlers={"on_run_step_closed": fail})
    with caplog.at_level(logging.WARNING):
        assert await run.process_stream(ask()) == [{"type": "text", "text": "Hello."}]
    assert "on_run_step_closed" in caplog.text
    assert "RuntimeError: no" in caplog.text


# Signals.


def test_every_listener_of_a_signal_is_called_although_one_fails() -> None:
    heard: list[str] = []
    controller = AbortController()

    def fail() -> None:
        raise RuntimeError("no")

    controller.signal.listen(fail)
    controller.signal.listen(lambda: heard.append("called"))
    with pytest.raises(RuntimeError, match="no"):
        controller.abort()
    assert heard == ["called"]
    assert isinstance(controller.signal, AbortSignal)


# Runs that wait.


def asking() -> dict[str, Any]:
    """Settings with which every call of a tool needs approval."""
    hooks = HookRegistry()
    hooks.register("PreToolUse", lambda _: {"decision": "ask"})
    return {"hooks": hooks, "human_in_the_loop": {"enabled": True}, "agent": {"tools": [get_weather]}}


async def test_an_abort_while_a_pause_is_being_stored_ends_the_run_and_nothing_waits() -> None:
    saver = FailingSaver()
    saver.slow = asyncio.Event(), asyncio.Event()
    host = Host()
    run = await run_of(calls(("get_weather", {"city": "Rome"})), host=host, compile_options=saved_in(saver), **asking())
    work = asyncio.create_task(run.process_stream(ask(), THREAD))
    await asyncio.wait_for(saver.slow[0].wait(), 10)
    run.abort()
    saver.slow[1].set()
    with pytest.raises(AbortError):
        await asyncio.wait_for(work, 10)
    assert run.get_interrupts() == []
    assert [type(message) for message in await messages_of(run)] == [HumanMessage, AIMessage, ToolMessage]
    assert host.steps()[-1] == ("on_run_step_closed", "cancelled")
    assert [event.data["status"] async for event in run.attach() if event.event == "on_run_end"] == ["cancelled"]


async def test_a_resumed_run_that_is_aborted_waits_no_more_and_its_thread_can_go_on() -> None:
    gate, reply = held()
    saver = InMemorySaver()
    run = await run_of(
        calls(("get_weather", {"city": "Rome"})), reply, "Back.", compile_options=saved_in(saver), **asking()
    )
    await run.process_stream(ask(), THREAD)
    work = asyncio.create_task(run.resume([{"type": "approve"}], THREAD))
    await gate.wait_reached_async()
    with pytest.raises(ConfigurationError, match="being executed already"):
        await run.resume([{"type": "approve"}], THREAD)
    run.abort()
    with pytest.raises(AbortError):
        await work
    assert run.get_interrupts() == []
    kept = [str(message.content) for message in await messages_of(run)]
    assert kept == ["hi", "", "Sunny in Rome", "one "]
    assert [str(message.content) for message in run.get_run_messages()] == kept[1:]
    with pytest.raises(UnknownInterruptError):
        await run.resume([{"type": "approve"}], THREAD)
    await run.process_stream(ask("again"), THREAD)
    assert [message.content for message in requests_of(run)[-1].messages] == [*kept, "again"]


async def test_an_abort_of_a_run_that_waits_does_not_stop_its_resumption() -> None:
    run = await run_of(calls(("get_weather", {"city": "Rome"})), "Fine.", **asking())
    await run.process_stream(ask(), THREAD)
    run.abort()
    await run.resume([{"type": "approve"}], THREAD)
    assert run.get_run_messages()[-1].content == "Fine."


async def test_the_last_event_of_a_run_that_waits_says_so_and_its_steps_stay_open() -> None:
    host = Host()
    run = await run_of(calls(("get_weather", {"city": "Rome"})), "Fine.", host=host, **asking())
    first = [event async for event in run.stream(ask(), THREAD)]
    (asked,) = run.get_interrupts()
    told = [{"interruptId": asked.interrupt_id, "payload": asked.payload}]
    assert {**first[-1].data, "usage": None} == {"status": "interrupted", "interrupts": told, "usage": None}
    assert (first[-1].data["usage"]["modelCalls"], first[-1].data["usage"]["toolCalls"]) == (1, 0)
    assert [data["status"] for event, data in host.rows if event == "on_run_step_closed"] == ["completed"]
    (waiting,) = run.get_interrupts()
    second = [
        event async for event in run.stream(Command(resume={waiting.interrupt_id: [{"type": "approve"}]}), THREAD)
    ]
    assert second[0].seq == first[-1].seq + 1
    assert second[-1].data["status"] == "completed"
    assert (second[-1].data["usage"]["modelCalls"], second[-1].data["usage"]["toolCalls"]) == (2, 1)


async def test_a_thread_that_is_stored_step_by_step_is_mended_where_agents_ran_side_by_side() -> None:
    gate, reply = held()
    saver = InMemorySaver()
    agents = [
        {"agent_id": "a", "model": ScriptedChatModel(replies=[calls(("get_weather", {"city": "A"})), "From a."])},
        {"agent_id": "b", "model": ScriptedChatModel(replies=[reply])},
    ]
    agents[0]["tools"] = [get_weather]
    graph = {"type": "multi-agent", "agents": agents, "compile_options": saved_in(saver)}
    run = await Run.create({"run_id": "r", "graph_config": graph})
    ended = asyncio.Event()
    run.handler_registry.register(
        "on_chat_model_end", lambda event, data, *_: ended.set() if data["output"].content == "From a." else None
    )
    work = asyncio.create_task(run.process_stream(ask(), {**THREAD, "durability": "sync"}))
    await gate.wait_reached_async()
    await asyncio.wait_for(ended.wait(), 10)
    run.abort()
    with pytest.raises(AbortError):
        await work
    contents = [str(message.content) for message in await messages_of(run)]
    assert sorted(contents) == sorted(["hi", "", "Sunny in A", "From a.", "one "])
    assert contents.index("Sunny in A") == contents.index("") + 1
