"""A run from end to end, on a scripted model."""

from __future__ import annotations

import asyncio
import json
from itertools import count
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolCall, ToolMessage
from langchain_core.tools import tool

from stategraph.agent.facts import ModelCall, Place, ToolAnswered
from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.engine.tasks import threads
from stategraph.errors import AbortError, ConfigurationError, GraphRecursionError, HandlerError
from stategraph.run.abort import AbortController
from stategraph.run.events.step_list import StepList
from stategraph.run.events.steps import StepTracker
from stategraph.run.hooks.hook_registry import HookRegistry
from stategraph.run.run import Run
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from tests.run.hosting import THREAD, Host, ask, get_weather

pytestmark = pytest.mark.anyio


@tool
def boom(x: str) -> str:
    """Fails."""
    raise ValueError(f"kaboom {x}")


async def make(model: Any, host: Host | None = None, saver: Any = None, **agent: Any) -> Run:
    graph = {
        "agents": [{"agent_id": "a", "model": model, **agent}],
        "compile_options": {"checkpointer": saver},
    }
    handlers = {} if host is None else host.handlers()
    return await Run.create({"run_id": "r", "graph_config": graph, "custom_handlers": handlers, "return_content": True})


async def test_a_turn_of_async_models_and_tools_takes_no_worker_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    @tool
    async def look_up(x: str) -> str:
        """Look something up."""
        return f"found {x}"

    def refuse() -> Any:
        raise AssertionError("a worker thread was asked for")

    model = ScriptedChatModel(replies=[script.reply(script.call("look_up", {"x": "it"})), "Fine."])
    run = await make(model, tools=[look_up])
    monkeypatch.setattr(threads, "pool", refuse)
    await run.process_stream(ask())
    assert [message.content for message in run.get_run_messages()] == ["", "found it", "Fine."]


async def test_a_tool_round_is_told_step_by_step() -> None:
    model = ScriptedChatModel(replies=[script.reply(script.call("get_weather", {"city": "Rome"})), "Fine."])
    host = Host()
    run = await make(model, host, tools=[get_weather])
    parts = await run.process_stream(ask())
    assert host.steps() == [
        ("on_run_step", (0, "message_creation")),
        ("on_run_step_closed", "completed"),
        ("on_run_step", (1, "tool_calls")),
        ("on_run_step_completed", "Sunny in Rome"),
        ("on_run_step_closed", "completed"),
        ("on_run_step", (2, "message_creation")),
        ("on_message_delta", "Fine."),
        ("on_run_step_closed", "completed"),
    ]
    assert [part["type"] for part in parts or ()] == ["text", "tool_call", "text"]
    assert [type(message) for message in run.get_run_messages()] == [AIMessage, ToolMessage, AIMessage]


async def test_a_failing_tool_is_told_to_the_model_and_the_run_goes_on() -> None:
    model = ScriptedChatModel(replies=[script.reply(script.call("boom", {"x": "y"})), "Sorry."])
    run = await make(model, tools=[boom])
    await run.process_stream(ask())
    result = run.get_run_messages()[1]
    assert isinstance(result, ToolMessage)
    assert result.status == "error"
    assert "kaboom y" in str(result.content)


async def test_a_failing_handler_fails_the_run_under_its_own_name_and_closes_the_steps() -> None:
    def fail(data: Any) -> None:
        raise RuntimeError("no")

    host = Host(on_message_delta=fail)
    run = await make(ScriptedChatModel(replies=["Hello."]), host)
    with pytest.raises(HandlerError, match=r"Host\._handle.*on_message_delta.*RuntimeError: no"):
        await run.process_stream(ask())
    assert host.steps()[-1] == ("on_run_step_closed", "failed")


async def test_an_abort_keeps_the_text_so_far_and_marks_it() -> None:
    controller = AbortController()
    gate = script.Gate()
    reply = script.Reply((script.Text("one "), script.Text("two "), script.Hold(gate), script.Text("three")))
    host = Host(on_message_delta=lambda data: controller.abort() if "two" in str(data) else None)
    saver = in_memory_saver()
    run = await make(ScriptedChatModel(replies=[reply]), host, saver)
    config = {"configurable": {"thread_id": "t"}, "signal": controller.signal}
    with pytest.raises(AbortError):
        await run.process_stream(ask(), config)
    (cut,) = run.get_run_messages()
    assert cut.content == "one two "
    assert cut.additional_kwargs == {"incomplete": "aborted"}
    assert host.steps()[-1] == ("on_run_step_closed", "cancelled")
    state = await run.graph.compiled.aget_state({"configurable": {"thread_id": "t"}})
    assert [message.content for message in state.values["messages"]] == ["hi", "one two "]
    assert state.next == ()


async def test_a_thread_goes_on_after_its_run_was_cancelled_between_call_and_result() -> None:
    started = asyncio.Event()

    @tool
    async def wait_forever() -> str:
        """Never ends."""
        started.set()
        await asyncio.Event().wait()
        return ""

    saver = in_memory_saver()
    config = {"configurable": {"thread_id": "t"}}
    first = await make(
        ScriptedChatModel(replies=[script.reply(script.call("wait_forever", {}))]), None, saver, tools=[wait_forever]
    )
    task = asyncio.create_task(first.process_stream(ask(), config))
    await asyncio.wait_for(started.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    model = ScriptedChatModel(replies=["Back."])
    second = await make(model, None, saver, tools=[wait_forever])
    await second.process_stream(ask("again"), config)
    sent = [type(message) for message in model.requests[0].messages]
    assert sent == [HumanMessage, AIMessage, ToolMessage, HumanMessage]
    assert [message.content for message in second.get_run_messages()] == ["Back."]


async def test_too_many_steps_end_the_run_with_what_it_brought() -> None:
    replies = [script.reply(script.call("get_weather", {"city": "A"})) for _ in range(5)]
    run = await make(ScriptedChatModel(replies=replies), tools=[get_weather])
    with pytest.raises(GraphRecursionError):
        await run.process_stream(ask(), {"recursionLimit": 5})
    assert [type(message) for message in run.get_run_messages()] == [AIMessage, ToolMessage] * 2 + [
        AIMessage,
        ToolMessage,
    ]


async def test_a_configuration_without_a_name_agents_or_a_graph_is_refused() -> None:
    for given, problem in (
        ({"graph_config": {"agents": []}}, "Run ID not provided"),
        ({"run_id": "r"}, "Graph config not provided"),
        ({"run_id": "r", "graph_config": {"type": "standard", "agents": []}}, "At least one agent must be provided"),
        ({"runId": "r", "graphConfig": {"agents": [{"agentId": "a", "provider": "x"}], "edgez": []}}, "edgez"),
    ):
        with pytest.raises(ConfigurationError, match=problem):
            await Run.create(given)


async def test_handlers_that_hold_the_run_up_are_counted() -> None:
    host = Host()
    run = await make(ScriptedChatModel(replies=["Hello there."]), host)
    await run.process_stream(ask())
    by_event = {each.event: each for each in run.statistics()}
    assert by_event["on_run_step"].calls == 1
    assert by_event["on_message_delta"].longest_s <= by_event["on_message_delta"].total_s


async def test_a_later_run_of_a_thread_is_taken_up_with_its_own_steps_and_not_those_of_an_earlier_one() -> None:
    def always_ask(given: Any) -> Any:
        return {"decision": "ask", "reason": "sure?"}

    saver = in_memory_saver()
    config = {"configurable": {"thread_id": "t"}}
    rounds = [script.reply(script.call("get_weather", {"city": "A"})) for _ in range(4)]
    first = await make(ScriptedChatModel(replies=[*rounds, "Done."]), None, saver, tools=[get_weather])
    await first.process_stream(ask(), config)

    hooks = HookRegistry()
    hooks.register("PreToolUse", always_ask)
    model = ScriptedChatModel(replies=[script.reply(script.call("get_weather", {"city": "B"})), "Fine."])
    settings = {
        "graph_config": {
            "agents": [{"agent_id": "a", "model": model, "tools": [get_weather]}],
            "compile_options": {"checkpointer": saver},
        },
        "hooks": hooks,
        "human_in_the_loop": {"enabled": True},
    }
    paused = await Run.create({"run_id": "r", **settings})
    await paused.process_stream(ask("again"), config)
    assert paused.get_interrupt(), paused.get_run_messages()
    (waiting,) = [step for step in paused.graph.get_run_steps() if step["type"] == "tool_calls"]

    host = Host()
    elsewhere = await Run.create({"run_id": "r", **settings, "custom_handlers": host.handlers()})
    await elsewhere.resume([{"type": "approve"}], config)
    (completed,) = [data for event, data in host.rows if event == "on_run_step_completed"]
    assert completed["result"]["id"] == waiting["id"]
    assert completed["result"]["index"] == 0
    (answer,) = [data for event, data in host.rows if event == "on_run_step"]
    assert answer["index"] == waiting["index"] + 1
    assert [type(message) for message in elsewhere.get_run_messages()] == [AIMessage, ToolMessage, AIMessage]


async def test_a_run_whose_steps_were_stored_by_another_version_goes_on_without_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hooks, host = HookRegistry(), Host()
    hooks.register("PreToolUse", lambda _: {"decision": "ask"})
    model = ScriptedChatModel(replies=[script.reply(script.call("get_weather", {"city": "B"})), "Fine."])
    settings = {
        "run_id": "r",
        "graph_config": {
            "agents": [{"agent_id": "a", "model": model, "tools": [get_weather]}],
            "compile_options": {"checkpointer": in_memory_saver()},
        },
        "hooks": hooks,
        "human_in_the_loop": {"enabled": True},
    }
    paused = await Run.create(settings)
    await paused.process_stream(ask(), THREAD)
    monkeypatch.setattr("stategraph.run.events.listener._FORMAT", 2)
    elsewhere = await Run.create({**settings, "custom_handlers": host.handlers()})
    await elsewhere.resume([{"type": "approve"}], THREAD)
    (completed,) = [data["result"] for event, data in host.rows if event == "on_run_step_completed"]
    assert (completed["id"], completed["tool_call"]["output"]) == ("", "Sunny in B")
    assert [data["index"] for event, data in host.rows if event == "on_run_step"] == [0]


async def test_a_run_on_a_thread_can_be_executed_again() -> None:
    saver = in_memory_saver()
    config = {"configurable": {"thread_id": "t", "run_id": "r"}}
    model = ScriptedChatModel(replies=["One.", "Two."])
    run = await make(model, None, saver)
    await run.process_stream(ask(), config)
    await run.process_stream(ask("again"), config)
    assert [message.content for message in model.requests[1].messages] == ["hi", "One.", "again"]
    assert [message.content for message in run.get_run_messages()] == ["Two."]


async def test_a_run_says_which_tools_its_turn_brought_up() -> None:
    @tool(response_format="content_and_artifact")
    def tool_search() -> tuple[str, Any]:
        """Finds tools."""
        return "found", {"tool_references": [{"tool_name": "get_weather"}]}

    run = await make(
        ScriptedChatModel(replies=[script.reply(script.call("tool_search")), "Done."]), tools=[tool_search]
    )
    await run.process_stream(ask())
    assert run.get_discovered_tools() == ("get_weather",)


async def test_what_a_handler_does_to_its_metadata_is_seen_by_no_other_event() -> None:
    seen: list[dict[str, Any]] = []

    def note(event: str, data: Any, metadata: Any, graph: Any) -> None:
        seen.append(dict(metadata))
        metadata.clear()

    run = await make(ScriptedChatModel(replies=["One two three."]))
    run.handler_registry.register("on_message_delta", note)
    run.handler_registry.register("on_chat_model_end", note)
    await run.process_stream(ask())
    assert len(seen) > 2
    assert {each["agentId"] for each in seen} == {"a"}
    kept = [event.metadata or {} async for event in run.attach() if event.event == "on_message_delta"]
    assert [each.get("agentId") for each in kept] == ["a"] * len(kept)


async def test_a_chunk_of_nothing_but_text_is_told_as_any_other() -> None:
    at = Place("a", "a", "agent=a", {})
    told = []
    for kwargs in ({}, {"extra": 1}):
        tracker = StepTracker(StepList("r", new_id=lambda prefix: prefix, now_ms=lambda: 0))
        call = ModelCall(at, "p", "m", [], 0)
        texts = ["He", "llo", " <think>hm", "</think>", " there", "."]
        chunks = [AIMessageChunk(text, additional_kwargs=kwargs) for text in texts]
        told.append([row for chunk in chunks for row in tracker.chunk(call, chunk)])
    assert told[0] == told[1]
    assert [event for event, _ in told[0]].count("on_message_delta") == 4


async def test_what_is_stored_of_steps_does_not_grow_with_the_rounds_of_a_turn() -> None:
    sizes = []
    for length in (2, 12):
        rounds = [script.reply(script.call("get_weather", {"city": "A"}, id=f"call_{n}")) for n in range(length)]
        model = ScriptedChatModel(replies=[*rounds, "Fine."])
        run = await make(model, saver=in_memory_saver(), tools=[get_weather])
        await run.process_stream(ask(), {**THREAD, "durability": "sync"})
        history = [state async for state in run.graph.compiled.aget_state_history(THREAD)]
        memories = [state.values["memory"] for state in history if state.values.get("memory")]
        assert memories[0]["opened"] == 2 * length + 1
        sizes.append(max(len(json.dumps(each)) for each in memories))
    assert sizes[1] < sizes[0] + 20


def test_another_process_goes_on_with_what_is_open_and_the_next_index() -> None:
    at = Place("a", "a", "agent=a", {})

    def tracker() -> StepTracker:
        return StepTracker(StepList("r", new_id=lambda prefix: f"{prefix}{next(ids)}", now_ms=lambda: 0))

    ids, first, second = count(), tracker(), tracker()
    made = [ToolCall(name="get_weather", args={}, id=f"call_{number}") for number in range(3)]
    call = ModelCall(at, "p", "m", [], 0)
    answer = AIMessage("", tool_calls=made)
    opened = [data for event, data in first.chunk(call, answer) if event == "on_run_step"]
    first.number(at, answer)
    list(first.end(call, answer))
    list(first.answer(ToolAnswered(at, made[0], ToolMessage("x", tool_call_id="call_0"), "x")))
    second.recall(json.loads(json.dumps(first.memory())))
    assert [step["id"] for step in second.steps] == [step["id"] for step in opened[2:]]
    assert second.turn(at, made[2]) == 2
    (_, completed), (_, closed) = second.answer(ToolAnswered(at, made[1], ToolMessage("y", tool_call_id="call_1"), "y"))
    assert (completed["result"]["id"], closed["id"]) == (opened[2]["id"], opened[2]["id"])
    (_, fresh), *_ = second.chunk(ModelCall(at, "p", "m", [], 0), AIMessage("Fine."))
    assert fresh["index"] == len(opened) == 4
    assert [data["index"] for _, data in second.sweep("cancelled")] == [3, 4]


async def test_calls_that_take_the_same_id_in_every_answer_are_told_apart() -> None:
    rounds = [script.reply(script.call("get_weather", {"city": city}, id="call_0")) for city in ("A", "B")]
    host = Host()
    run = await make(ScriptedChatModel(replies=[*rounds, "Fine."]), host, tools=[get_weather])
    await run.process_stream(ask())
    completed = [data["result"] for event, data in host.rows if event == "on_run_step_completed"]
    assert [result["index"] for result in completed] == [0, 1]
    assert [result["tool_call"]["output"] for result in completed] == ["Sunny in A", "Sunny in B"]
    opened = [data["id"] for event, data in host.rows if event == "on_run_step" and data["type"] == "tool_calls"]
    assert [result["id"] for result in completed] == opened
    closed = [data["index"] for event, data in host.rows if event == "on_run_step_closed"]
    assert closed == [0, 1, 2, 3, 4]


async def test_a_limited_context_is_kept_to_without_a_counter_of_the_hosts() -> None:
    model = ScriptedChatModel(replies=["Fine."])
    run = await make(model, max_context_tokens=100)
    await run.process_stream({"messages": [HumanMessage("old " * 200), AIMessage("Yes."), HumanMessage("new")]})
    assert [message.content for message in model.requests[0].messages] == ["Yes.", "new"]
