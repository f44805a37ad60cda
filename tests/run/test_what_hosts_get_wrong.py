"""What a host may get wrong in a call of the Run API is refused in a sentence."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, cast
from uuid import UUID

import pytest
from langgraph.store.memory import InMemoryStore

from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.errors import ConfigurationError, InvalidAnswerError
from stategraph.run.events.handler_registry import EventHandlerRegistry
from stategraph.run.hooks.hook_registry import HookRegistry
from stategraph.run.long_term import LongTermMemory, remember
from stategraph.run.questions import check_answer
from stategraph.run.run import Run
from stategraph.run.runtime import create_run
from stategraph.run.turn.client_tools import ToolExecuteRequest
from stategraph.run.turn.turn_inputs import messages_of
from stategraph.testing.chat_model import ScriptedChatModel
from tests.run.hosting import THREAD, ask, calls, get_weather, requests_of, run_of

pytestmark = pytest.mark.anyio


async def make(saver: Any = None) -> Run:
    model = ScriptedChatModel(replies=["Fine."])
    return await create_run(run_id="r", agents=[{"agent_id": "a", "model": model}], checkpointer=saver)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"agents": "a"}, "'agents' is 'a', expected a list"),
        ({"agents": [], "edges": 5}, "'edges' is 5, expected a list"),
        ({"agents": None}, "At least one agent must be provided: agents="),
    ],
)
async def test_agents_and_edges_that_are_no_lists_are_refused(given: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        await create_run(run_id="r", **given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((None,), "A run starts from {'messages': [...]} or a Command; found a value of type NoneType"),
        (("hi",), "found a value of type str"),
        (({"message": []},), "found a mapping with 'message'"),
        (
            ({"messages": ["hi", 5]},),
            "Message 1 of the input cannot be read: Unsupported message type: <class 'int'>. ",
        ),
        (({"messages": [{"role": "nobody", "content": ""}]},), "Message 0 of the input cannot be read: Unexpected"),
        (({"messages": [{"role": "user"}]},), "Expected a message of LangChain, a text, a pair such as ('user', 'hi')"),
        ((ask(), "t1"), "'config' is a value of type str; expected {'configurable': {'thread_id': ...}}"),
        ((ask(), {"configurable": "t1"}), "'configurable' is a value of type str; expected {'thread_id': ...}"),
        ((ask(), {"durability": "synch"}), "'durability' is 'synch'; expected one of exit, async, sync"),
        ((ask(), {"durability": 5}), "'durability' is 5; expected one of exit, async, sync"),
        (
            (ask(), None, {"keepcontent": True}),
            "'keepcontent' is no option of an execution; did you mean 'keep_content'",
        ),
        ((ask(), None, {"x": True}), "'x' is no option of an execution; known are callbacks, keep_content"),
        ((ask(), None, {"keep_content": "x"}), "'keep_content' is 'x'; expected True or False"),
        ((ask(), None, {"callbacks": 5}), "'callbacks' is a value of type int; expected a mapping with functions"),
        (
            (ask(), None, {"callbacks": {"handleToolBegin": print}}),
            "'handle_tool_begin' is no callback of an execution; did you mean 'handle_tool_end'",
        ),
        (
            (ask(), None, {"callbacks": {"handle_tool_end": 5}}),
            "The callback 'handle_tool_end' is of type int; expected a function",
        ),
        ((ask(), None, 5), "'options' is a value of type int; expected a mapping with callbacks or keep_content"),
    ],
)
async def test_what_an_execution_cannot_start_from_is_refused(given: Any, said: str) -> None:
    run = await make()
    with pytest.raises(ConfigurationError) as raised:
        await run.process_stream(*given)
    assert said in str(raised.value)
    assert not run.running


@pytest.mark.parametrize("saver", [None, in_memory_saver()])
async def test_a_turn_without_messages_is_refused_where_there_is_nothing_to_answer(saver: Any) -> None:
    run = await make(saver)
    with pytest.raises(ConfigurationError, match="no messages, and there is no conversation before it on the thread"):
        await run.process_stream({"messages": []}, THREAD)
    assert not run.usage.total.model_calls


async def test_a_turn_without_messages_goes_on_from_the_conversation_of_its_thread() -> None:
    saver = in_memory_saver()
    await (await make(saver)).process_stream(ask(), THREAD)
    run = await make(saver)
    await run.process_stream({"messages": []}, THREAD)
    assert [message.content for message in run.get_run_messages()] == ["Fine."]


@pytest.mark.parametrize("saver", [None, in_memory_saver()])
@pytest.mark.parametrize("thread_id", ["", ["t"], {}, 1.5, True, b"t"])
async def test_a_thread_whose_name_is_no_name_is_refused(thread_id: Any, saver: Any) -> None:
    run = await make(saver)
    config = {"configurable": {"thread_id": thread_id}}
    for execute in (run.process_stream, run.resume):
        with pytest.raises(ConfigurationError, match=r"\['thread_id'\] is .*; expected the name of the thread"):
            await execute(ask(), config)
    with pytest.raises(ConfigurationError, match=r"\['thread_id'\] is "):
        run.start(ask(), config)
    assert not run.running


@pytest.mark.parametrize("thread_id", [7, UUID(int=7)])
async def test_numbers_and_uuids_name_threads_as_their_texts_do(thread_id: Any) -> None:
    run = await make(in_memory_saver())
    await run.process_stream(ask(), {"configurable": {"thread_id": thread_id}})
    assert run.thread_id == str(thread_id)


@pytest.mark.parametrize("config", [{"thread_id": "t"}, {"threadId": "t"}, {"configurable": {"threadId": "t"}}])
async def test_a_thread_that_is_named_in_the_wrong_place_is_refused_where_it_matters(config: Any) -> None:
    run = await make(in_memory_saver())
    with pytest.raises(ConfigurationError, match=r"name it as config\['configurable'\]\['thread_id'\]"):
        await run.process_stream(ask(), config)
    with pytest.raises(ConfigurationError, match=r"name it as config\['configurable'\]\['thread_id'\]"):
        run.start(ask(), config)
    assert not run.running
    await run.process_stream(ask(), {**config, **THREAD})


async def test_events_are_watched_from_a_number() -> None:
    run = await make()
    with pytest.raises(ConfigurationError, match="'after_seq' is '3'; expected the number of an event"):
        run.attach(cast("Any", "3"))


@pytest.mark.parametrize("results", [None, "sunny", {"toolCallId": "1"}])
async def test_results_that_are_no_list_are_refused(results: Any) -> None:
    async def early(_: Any) -> None: ...

    with pytest.raises(ValueError, match=r"resolve\(\) was given a value of type .*; expected a list of results"):
        ToolExecuteRequest({}, early).resolve(results)


@pytest.mark.parametrize("message", ["Be brief.", {"role": "user"}, {"content": None}])
async def test_results_that_inject_what_is_no_message_are_refused(message: Any) -> None:
    async def early(_: Any) -> None: ...

    result = {"toolCallId": "1", "content": "Sunny", "injectedMessages": [message]}
    with pytest.raises(ValueError, match="An injected message is a mapping whose 'content' is"):
        ToolExecuteRequest({}, early).resolve([result])


@pytest.mark.parametrize(
    ("given", "contents"),
    [
        ("hi", ["hi"]),
        (("user", "hi"), ["hi"]),
        ([("user", "hi"), ("assistant", "Hello.")], ["hi", "Hello."]),
        (("hi", "Are you there?", "?"), ["hi", "Are you there?", "?"]),
        ({"role": "user", "content": "hi"}, ["hi"]),
    ],
)
def test_messages_may_be_given_in_every_form_that_langchain_takes(given: Any, contents: list[str]) -> None:
    assert [message.content for message in messages_of({"messages": given})] == contents


@pytest.mark.parametrize("error", [asyncio.CancelledError("the tool was cancelled"), StopIteration("no more")])
async def test_a_refusal_that_would_read_as_something_else_fails_the_run_as_one(error: BaseException) -> None:
    async def early(_: Any) -> None: ...

    request = ToolExecuteRequest({}, early)
    request.reject(error)
    with pytest.raises(RuntimeError, match=f"{type(error).__name__}: {error}") as raised:
        await request.answered()
    assert raised.value.__cause__ is error


async def test_a_result_that_is_still_being_told_when_its_run_is_cancelled_is_over_with_it() -> None:
    telling, over = asyncio.Event(), asyncio.Event()

    async def early(_: Any) -> None:
        telling.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            over.set()

    request = ToolExecuteRequest({}, early)
    request.on_result({"toolCallId": "1", "content": "Sunny"})
    waiting = asyncio.create_task(request.answered())
    await asyncio.wait_for(telling.wait(), 5)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert over.is_set()


@pytest.mark.parametrize("payload", [{"type": ["a", "list"]}, {"type": None}, ["no", "mapping"]])
def test_a_question_of_a_tools_own_kind_takes_any_answer(payload: Any) -> None:
    check_answer(payload, object())


def test_an_answer_with_keys_of_several_types_is_refused_in_words() -> None:
    payload = {"type": "ask_user_question", "question": {"question": "Where?"}}
    with pytest.raises(InvalidAnswerError, match=r"'Where\?' is a mapping with \[1, 'a'\]"):
        check_answer(payload, {1: "x", "a": "y"})


async def test_a_conversation_in_pairs_is_remembered() -> None:
    model = ScriptedChatModel(replies=["Nothing to keep."])
    memory = LongTermMemory(InMemoryStore(), ("m", "u"))
    await remember([("user", "I like tea.")], memory, {"agent_id": "a", "model": model}, run_id="r")
    assert "User: I like tea." in str(model.requests[0])


def test_a_memory_without_a_store_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="The store of a LongTermMemory is a value of type NoneType"):
        LongTermMemory(cast("Any", None), ("m",))


def test_a_hook_that_is_no_function_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="The hook of Stop is a value of type int; expected a function"):
        HookRegistry().register("Stop", cast("Any", 5))


async def test_an_unknown_way_to_a_title_is_refused() -> None:
    run = await make()
    with pytest.raises(
        ConfigurationError, match="method is 'funcs'; expected one of completion, structured, functions"
    ):
        await run.generate_title(
            provider="openai:m",
            client_options={"apiKey": "k"},
            input_text="",
            content_parts=[],
            title_method=cast("Any", "funcs"),
        )


def test_a_handler_of_an_event_that_is_nearly_known_is_warned_of_and_kept(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        handlers = EventHandlerRegistry({"on_mesage_delta": print, "my_event": print, "on_message_delta": print})
    (warning,) = caplog.messages
    assert "'on_mesage_delta'" in warning
    assert "did you mean 'on_message_delta'?" in warning
    assert handlers.events == {"on_mesage_delta", "my_event", "on_message_delta"}


def test_a_name_that_is_near_to_two_events_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    EventHandlerRegistry({"on_chain_sta": print})
    (warning,) = caplog.messages
    assert "did you mean 'on_chain_start'?" in warning


def test_of_a_handler_that_every_run_registers_one_warning_is_enough(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        EventHandlerRegistry({"on_run_stepp": print})
    (warning,) = caplog.messages
    assert "did you mean 'on_run_step'?" in warning


async def test_options_may_be_spelled_as_on_the_wire() -> None:
    told: list[str] = []
    agent = {"tools": [get_weather]}
    run = await run_of(calls(("get_weather", {"city": "Rome"})), "Fine.", agent=agent, skip_cleanup=True)
    options: Any = {"keepContent": True, "callbacks": {"handleToolStart": lambda graph, call: told.append(call["id"])}}
    await run.process_stream(ask(), None, options)
    assert told == ["call_1"]


async def test_half_an_emoji_of_a_browser_does_not_end_a_turn() -> None:
    run = await run_of("Fine.", compile_options={"checkpointer": in_memory_saver()})
    await run.process_stream(ask("Hi \ud83d"), THREAD)
    (request,) = requests_of(run)
    assert request.messages[0].content == "Hi \ufffd"
