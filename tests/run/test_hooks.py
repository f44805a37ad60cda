"""Hooks: what they are told, what they may decide, and what becomes of those that fail."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Mapping
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool

from stategraph.errors import ConfigurationError
from stategraph.run.hooks import HookEvents, HookOutput, HookRegistry
from tests.run.hosting import THREAD, WEATHER, Host, ask, calls, get_weather, requests_of, run_of, sunny

pytestmark = pytest.mark.anyio

ROUND = (calls(("get_weather", {"city": "Rome"})), "Done.")


def says(**output: Any) -> Any:
    def hook(happened: Mapping[str, Any]) -> dict[str, Any]:
        return output

    return hook


def registry(**hooks: Any) -> HookRegistry:
    made = HookRegistry()
    for event, hook in hooks.items():
        made.register(event, hook)
    return made


async def weather_run(hooks: HookRegistry, host: Host | None = None, **config: Any) -> Any:
    return await run_of(*ROUND, host=host, agent={"tools": [get_weather]}, hooks=hooks, **config)


async def test_hooks_are_called_at_their_points_in_order_with_what_happened() -> None:
    seen: list[Mapping[str, Any]] = []
    hooks = registry(**dict.fromkeys(HookEvents, seen.append))
    run = await weather_run(hooks)
    await run.process_stream(ask("weather?"), THREAD)
    assert [each["hook_event_name"] for each in seen] == [
        "RunStart",
        "UserPromptSubmit",
        "PreToolUse",
        "PostToolUse",
        "PostToolBatch",
        "Stop",
    ]
    start, prompt, before, after, batch, stop = seen
    assert {each["runId"] for each in seen} == {"r"}
    assert {each["threadId"] for each in seen} == {"t"}
    assert [message.content for message in start["messages"]] == ["weather?"]
    assert prompt["prompt"] == "weather?"
    assert (before["toolName"], before["toolInput"], before["toolUseId"], before["turn"], before["agentId"]) == (
        "get_weather",
        {"city": "Rome"},
        "call_1",
        0,
        "a",
    )
    assert before["stepId"].startswith("step_")
    assert (after["toolOutput"], after["status"], after["stepId"]) == ("Sunny in Rome", "success", before["stepId"])
    assert batch["entries"] == [
        {
            "toolName": "get_weather",
            "toolInput": {"city": "Rome"},
            "toolUseId": "call_1",
            "toolOutput": "Sunny in Rome",
            "status": "success",
        }
    ]
    assert [type(message) for message in stop["messages"]] == [AIMessage, ToolMessage, AIMessage]
    assert stop["stopReason"] is None


async def test_a_failure_is_told_to_stop_failure_and_not_to_stop() -> None:
    seen: list[Mapping[str, Any]] = []
    hooks = registry(Stop=seen.append, StopFailure=seen.append)
    run = await run_of(ValueError("no model"), hooks=hooks)
    with pytest.raises(ValueError, match="no model"):
        await run.process_stream(ask())
    (failed,) = seen
    assert failed["hook_event_name"] == "StopFailure"
    assert str(failed["error"]) == "no model"


async def test_the_strictest_decision_counts_and_its_reason() -> None:
    hooks = registry()
    hooks.register("PreToolUse", [says(decision="allow", reason="fine"), says(decision="deny", reason="not today")])
    hooks.register("PreToolUse", says(decision="ask", reason="hm"))
    host = Host()
    run = await weather_run(hooks, host)
    await run.process_stream(ask())
    result = run.get_run_messages()[1]
    assert (result.content, result.status) == ("Blocked: not today", "error")
    assert "on_tool_start" not in [event for event, _ in host.rows]
    assert ("on_run_step_completed", "Blocked: not today") in host.steps()


async def test_asking_without_a_person_to_ask_is_denying() -> None:
    run = await weather_run(registry(PreToolUse=says(decision="ask", reason="needs approval")))
    await run.process_stream(ask())
    assert run.get_run_messages()[1].content == "Blocked: needs approval"
    assert run.get_interrupts() == []


async def test_a_hook_changes_arguments_and_result() -> None:
    hooks = registry(
        PreToolUse=says(updated_input={"city": "Oslo"}), PostToolUse=says(updatedOutput={"weather": "secret"})
    )
    host = Host()
    run = await weather_run(hooks, host)
    await run.process_stream(ask())
    assert run.get_run_messages()[1].content == '{"weather":"secret"}'
    (done,) = [data["result"]["tool_call"] for event, data in host.rows if event == "on_run_step_completed"]
    assert (done["args"], done["output"]) == ('{"city":"Oslo"}', '{"weather":"secret"}')


async def test_hooks_see_calls_of_the_hosts_tools_before_and_after_the_host_does() -> None:
    order: list[str] = []

    def note(word: str) -> Any:
        return lambda happened: order.append(word)

    hooks = registry(PreToolUse=note("before"), PostToolUse=note("after"), PostToolBatch=note("batch"))

    def execute(data: Any) -> None:
        order.append("host")
        sunny(data)

    host = Host(on_tool_execute=execute, on_run_step_completed=note("completed"))
    run = await run_of(*ROUND, host=host, agent={"tool_definitions": [WEATHER]}, hooks=hooks)
    await run.process_stream(ask())
    assert order == ["before", "host", "after", "completed", "batch"]


async def test_context_and_messages_of_hooks_reach_the_model_and_the_callers_list_stays_as_it_is() -> None:
    hooks = registry(
        RunStart=says(additional_context="It is Monday."),
        UserPromptSubmit=says(additionalContext="The user is tired."),
        PostToolUse=says(additional_context="Weather is public."),
        PostToolBatch=says(injected_messages=[{"role": "user", "content": "Be brief.", "isMeta": True}]),
    )
    given = ask("weather?")
    run = await weather_run(hooks)
    await run.process_stream(given)
    first, second = (request.messages for request in requests_of(run))
    assert [message.content for message in first] == ["weather?", "It is Monday.\n\nThe user is tired."]
    assert first[1].additional_kwargs["source"] == "hook"
    assert [message.content for message in second[-2:]] == ["Be brief.", "Weather is public."]
    assert len(given["messages"]) == 1
    assert [type(message) for message in run.get_run_messages()] == [
        AIMessage,
        ToolMessage,
        HumanMessage,
        HumanMessage,
        AIMessage,
    ]


@pytest.mark.parametrize("message", [{}, {"role": "user"}, {"content": 3}, {"content": None}])
async def test_a_hook_that_injects_what_is_no_message_has_failed(message: Any) -> None:
    host = Host()
    run = await weather_run(registry(PostToolBatch=says(injected_messages=[message])), host)
    await run.process_stream(ask())
    assert run.get_run_messages()[-1].content == "Done."
    (told,) = [data["message"] for event, data in host.rows if event == "on_agent_log" and data["level"] == "error"]
    assert "An injected message is a mapping whose 'content' is a text" in told


@pytest.mark.parametrize(
    ("event", "output", "reason"),
    [
        ("UserPromptSubmit", {"decision": "deny"}, "prompt_denied"),
        ("UserPromptSubmit", {"decision": "ask"}, "prompt_requires_approval"),
        ("RunStart", {"prevent_continuation": True, "stop_reason": "closed"}, "closed"),
        ("UserPromptSubmit", {"preventContinuation": True}, "preventContinuation"),
    ],
)
async def test_a_turn_that_hooks_block_does_not_start(event: str, output: Any, reason: str) -> None:
    stopped: list[Any] = []
    run = await weather_run(registry(**{event: says(**output)}, Stop=stopped.append))
    assert await run.process_stream(ask()) is None
    assert run.get_halt_reason() == reason
    assert requests_of(run) == []
    assert run.get_run_messages() == []
    assert stopped == []


@pytest.mark.parametrize("event", ["PostToolUse", "PostToolBatch"])
async def test_a_hook_of_tools_ends_the_turn_after_the_batch_and_what_was_brought_stays(event: str) -> None:
    host = Host()
    run = await weather_run(registry(**{event: says(prevent_continuation=True, stop_reason="enough")}), host)
    parts = await run.process_stream(ask())
    assert run.get_halt_reason() == "enough"
    assert len(requests_of(run)) == 1
    assert [type(message) for message in run.get_run_messages()] == [AIMessage, ToolMessage]
    assert [part["type"] for part in parts] == ["text", "tool_call"]
    assert host.steps()[-1] == ("on_run_step_closed", "completed")


async def test_a_hook_that_ends_the_turn_before_a_call_keeps_it_from_running() -> None:
    run = await weather_run(registry(PreToolUse=says(preventContinuation=True, stopReason="over")))
    await run.process_stream(ask())
    assert run.get_halt_reason() == "over"
    assert run.get_run_messages()[1].content == "Blocked: over"
    assert len(requests_of(run)) == 1


async def test_a_pattern_chooses_tools_and_once_means_once() -> None:
    seen: list[str] = []

    @tool
    def add(a: int, b: int) -> int:
        """Adds."""
        return a + b

    hooks = HookRegistry()
    hooks.register("PreToolUse", lambda happened: seen.append(happened["toolName"]), pattern="^get_")
    hooks.register("PreToolUse", {"hooks": [lambda happened: seen.append("once")], "once": True})
    leave = hooks.register("PreToolUse", lambda happened: seen.append("left"))
    leave()
    answers = (calls(("get_weather", {"city": "A"}), ("add", {"a": 1, "b": 2})), "Done.")
    run = await run_of(*answers, agent={"tools": [get_weather, add]}, hooks=hooks)
    await run.process_stream(ask())
    assert sorted(seen) == ["get_weather", "once"]


async def test_a_deciding_hook_that_fails_or_talks_nonsense_denies(caplog: pytest.LogCaptureFixture) -> None:
    def broken(happened: Mapping[str, Any]) -> None:
        raise RuntimeError("database gone")

    host = Host()
    run = await weather_run(registry(PreToolUse=broken), host)
    await run.process_stream(ask())
    assert "broken' of PreToolUse failed with RuntimeError: database gone" in run.get_run_messages()[1].content
    assert "database gone" in caplog.text
    logged = [data for event, data in host.rows if event == "on_agent_log" and data["level"] == "error"]
    assert logged[0]["scope"] == "hooks"
    run = await weather_run(registry(PreToolUse=says(decission="allow")))
    await run.process_stream(ask())
    assert "did you mean 'decision'?" in run.get_run_messages()[1].content


async def test_an_observing_hook_that_fails_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def cancelled(happened: Mapping[str, Any]) -> None:
        raise asyncio.CancelledError

    run = await weather_run(registry(PostToolUse=cancelled, Stop=says(decision="perhaps")))
    await run.process_stream(ask())
    assert run.get_run_messages()[1].content == "Sunny in Rome"
    assert "PostToolUse failed with CancelledError" in caplog.text
    assert "Stop failed with ConfigurationError" in caplog.text


async def test_a_hook_that_takes_too_long_is_left_and_denies(caplog: pytest.LogCaptureFixture) -> None:
    release = threading.Event()

    async def slow(happened: Mapping[str, Any]) -> None:
        await asyncio.Event().wait()

    def slow_thread(happened: Mapping[str, Any]) -> None:
        release.wait(10)

    for hook in (slow, slow_thread):
        hooks = HookRegistry()
        hooks.register("PreToolUse", {"hooks": [hook], "timeout": 20})
        run = await weather_run(hooks)
        await run.process_stream(ask())
        assert "took longer than 0.02 s" in run.get_run_messages()[1].content
    release.set()


async def test_a_hook_may_return_its_output_as_a_value_from_an_object() -> None:
    class Policy:
        async def __call__(self, happened: Mapping[str, Any]) -> HookOutput:
            return HookOutput(decision="deny", reason="policy")

    run = await weather_run(registry(PreToolUse=Policy()))
    await run.process_stream(ask())
    assert run.get_run_messages()[1].content == "Blocked: policy"


def test_registrations_that_make_no_sense_are_refused() -> None:
    hooks = HookRegistry()
    for event, given, problem in (
        ("PreToolUsed", print, "no hook event 'PreToolUsed'"),
        ("PreToolUse", {"hooks": []}, "hooks"),
        ("PreToolUse", {"hooks": [print], "patern": "x"}, "did you mean 'pattern'"),
        ("PreToolUse", {"hooks": [print], "pattern": "("}, "pattern"),
        ("Stop", {"hooks": [print], "pattern": "x"}, "about none"),
        ("Stop", {"hooks": [print], "timeout_s": 0}, "timeout_s"),
    ):
        with pytest.raises(ConfigurationError, match=problem):
            hooks.register(event, given)
    with pytest.raises(ConfigurationError, match="belong into the registration"):
        hooks.register("PreToolUse", {"hooks": [print]}, once=True)


@pytest.fixture(autouse=True)
def _logs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "stategraph.run.hooks")


async def test_what_a_hook_does_to_what_it_is_given_changes_no_call() -> None:
    def meddle(happened: Mapping[str, Any]) -> None:
        happened["toolInput"]["city"] = "Oslo"

    run = await weather_run(registry(PreToolUse=meddle, PostToolUse=meddle))
    await run.process_stream(ask("weather?"), THREAD)
    answer, result, _ = run.get_run_messages()
    assert isinstance(answer, AIMessage)
    assert (answer.tool_calls[0]["args"], result.content) == ({"city": "Rome"}, "Sunny in Rome")


async def test_hooks_that_hang_leave_the_threads_of_others_alone() -> None:
    over = threading.Event()
    hooks = HookRegistry()
    # More than the loop's own pool has threads.
    hooks.register("RunStart", [lambda _: over.wait() and None] * 40, timeout_s=0.05)
    try:
        await hooks.call(HookEvents.RUN_START, {})
        async with asyncio.timeout(10):
            assert await asyncio.to_thread(lambda: "free") == "free"
    finally:
        over.set()


async def test_when_a_run_is_cancelled_all_hooks_have_ended_before_it_goes_on() -> None:
    begun, ended = asyncio.Event(), list[str]()

    async def waits(name: str, rounds: int) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(rounds):
                await asyncio.sleep(0)
            ended.append(name)

    async def quick(happened: Mapping[str, Any]) -> None:
        await waits("quick", 0)

    async def slow(happened: Mapping[str, Any]) -> None:
        await waits("slow", 5)

    hooks = HookRegistry()
    hooks.register("Stop", [quick, slow])
    calling = asyncio.ensure_future(hooks.call(HookEvents.STOP, {}))
    await begun.wait()
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    assert ended == ["quick", "slow"]
