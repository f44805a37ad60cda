"""Hooks: what they are told, what they may decide, and what becomes of those that fail."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolCall, ToolMessage
from langchain_core.tools import tool

from stategraph.agent.facts import Place
from stategraph.agent.ports import Allow, Answer, Reviewed
from stategraph.agent.state import turn_of
from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.errors import ConfigurationError, HandlerError
from stategraph.run.hooks.hook_registry import HookEvents, HookOutput, HookRegistry
from stategraph.testing import script
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
        "BeforeModel",
        "AfterModel",
        "PreToolUse",
        "PostToolUse",
        "PostToolBatch",
        "BeforeModel",
        "AfterModel",
        "Stop",
        "StopFinalize",
    ]
    start, prompt, _, _, before, after, batch, _, _, stop, last = seen
    assert {each["runId"] for each in seen} == {"r"}
    assert {each["threadId"] for each in seen} == {"t"}
    assert {each["agentId"] for each in seen} == {"a"}
    assert {each["executingAgentId"] for each in (before, after, batch)} == {"a"}
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
            "stepId": before["stepId"],
            "turn": 0,
            "toolOutput": "Sunny in Rome",
            "status": "success",
        }
    ]
    assert [type(message) for message in stop["messages"]] == [AIMessage, ToolMessage, AIMessage]
    assert stop["stopReason"] is None
    assert (stop["stopHookActive"], stop["continuationCount"], stop["continuationBudgetRemaining"]) == (False, 0, 8)
    assert (last["continuationPlanned"], last["continuationPrevented"]) == (False, False)


async def test_a_failure_is_told_to_stop_failure_and_not_to_stop() -> None:
    seen: list[Mapping[str, Any]] = []
    hooks = registry(Stop=seen.append, StopFailure=seen.append)
    run = await run_of(ValueError("no model"), hooks=hooks)
    with pytest.raises(ValueError, match="no model"):
        await run.process_stream(ask())
    (failed,) = seen
    assert failed["hook_event_name"] == "StopFailure"
    assert (failed["error"], failed["lastAssistantMessage"]) == ("no model", None)
    assert type(failed["exception"]) is ValueError


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


class Limit:
    """A gate that lets calls about one city run, and notes what it is shown."""

    def __init__(self, city: str) -> None:
        self._city = city
        self.seen: list[Any] = []

    async def before(self, at: Place, given: Sequence[ToolCall], /) -> list[Allow | Answer]:
        self.seen += [each["args"] for each in given]
        return [
            Allow(each) if each["args"]["city"] == self._city else Answer(each, "elsewhere", "error") for each in given
        ]

    async def after(self, at: Place, call: ToolCall, message: ToolMessage, /) -> tuple[ToolMessage, None]:
        self.seen.append(message.content)
        return message, None

    async def finish(
        self, at: Place, given: Sequence[ToolCall], messages: Sequence[ToolMessage], remarks: Any, /
    ) -> Reviewed:
        return Reviewed(messages)


@pytest.mark.parametrize(("city", "result"), [("Oslo", "Sunny in Oslo"), ("Rome", "elsewhere")])
async def test_a_gate_decides_about_the_arguments_that_hooks_leave(city: str, result: str) -> None:
    seen: list[Mapping[str, Any]] = []
    hooks = registry(PreToolUse=says(updated_input={"city": "Oslo"}), PostToolBatch=seen.append)
    gate = Limit(city)
    run = await weather_run(hooks, tool_gates=[gate])
    await run.process_stream(ask("weather?"), THREAD)
    assert gate.seen == [{"city": "Oslo"}, result]
    assert [message.content for message in run.get_run_messages() if isinstance(message, ToolMessage)] == [result]
    assert seen[0]["entries"][0]["status"] == ("error" if result == "elsewhere" else "success")


async def test_what_is_no_gate_is_refused_when_the_run_is_made() -> None:
    with pytest.raises(ConfigurationError, match="tool_gates"):
        await weather_run(registry(), tool_gates=[print])


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


@pytest.mark.parametrize("decision", ["deny", "ask"])
async def test_the_reason_for_which_a_prompt_is_refused_is_for_the_host_to_read(decision: str) -> None:
    host, answer = Host(), says(decision=decision, reason="No medical advice.")
    run = await weather_run(registry(UserPromptSubmit=answer), host)
    assert run.get_halt_message() is None
    await run.process_stream(ask())
    assert run.get_halt_message() == "No medical advice."
    assert "medical" not in str(host.rows)
    run = await weather_run(registry(UserPromptSubmit=says(decision="allow", reason="Fine.")))
    await run.process_stream(ask())
    assert run.get_halt_message() is None


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
        raise RuntimeError("database gone: postgres://policy:hunter2222@10.0.0.5/policies")

    host = Host()
    run = await weather_run(registry(PreToolUse=broken), host)
    await run.process_stream(ask())
    assert run.get_run_messages()[1].content == "Blocked: it could not be checked"
    assert "broken' of PreToolUse failed with RuntimeError: database gone: postgres://policy:[redacted]@" in caplog.text
    assert "hunter2222" not in caplog.text + repr(host.rows)
    logged = [data for event, data in host.rows if event == "on_agent_log" and data["level"] == "error"]
    assert logged[0]["scope"] == "hooks"
    run = await weather_run(registry(PreToolUse=says(decission="allow")))
    await run.process_stream(ask())
    assert run.get_run_messages()[1].content == "Blocked: it could not be checked"
    assert "did you mean 'decision'?" in caplog.text


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
        assert run.get_run_messages()[1].content == "Blocked: it could not be checked"
        assert "took longer than 0.02 s" in caplog.text
        caplog.clear()
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


async def test_failures_and_denials_have_events_of_their_own() -> None:
    seen: list[Mapping[str, Any]] = []
    hooks = registry(
        **dict.fromkeys(("PostToolUse", "PostToolUseFailure", "PermissionDenied", "PostToolBatch"), seen.append)
    )
    hooks.register("PreToolUse", lambda happened: {"decision": "deny", "reason": "cold"} if happened["turn"] else None)
    run = await run_of(
        calls(("nope", {}), ("get_weather", {"city": "Rome"}), ("get_weather", {"city": "Oslo"})),
        "Done.",
        hooks=hooks,
        agent={"tools": [get_weather]},
    )
    await run.process_stream(ask(), THREAD)
    by_event = {str(each["hook_event_name"]): each for each in seen}
    assert {name: each.get("toolUseId") for name, each in by_event.items()} == {
        "PostToolUse": "call_2",
        "PostToolUseFailure": "call_1",
        "PermissionDenied": "call_3",
        "PostToolBatch": None,
    }
    assert 'Tool "nope" not found.' in by_event["PostToolUseFailure"]["error"]
    assert by_event["PermissionDenied"]["reason"] == "cold"
    assert [each["status"] for each in by_event["PostToolBatch"]["entries"]] == ["error", "success", "error"]
    assert ["toolOutput" in each for each in by_event["PostToolBatch"]["entries"]] == [False, True, False]


@pytest.mark.parametrize("saved", [False, True], ids=["", "saved"])
async def test_a_hook_of_stop_keeps_the_turn_going_with_what_it_injects(saved: bool) -> None:
    seen: list[Mapping[str, Any]] = []

    def go_on(happened: Mapping[str, Any]) -> dict[str, Any] | None:
        seen.append(happened)
        again = {"decision": "block", "injectedMessages": [{"role": "user", "content": "And Oslo?", "source": "steer"}]}
        return again if happened["continuationCount"] == 0 else None

    hooks = registry(Stop=go_on, StopFinalize=seen.append)
    options = {"checkpointer": in_memory_saver()} if saved else {}
    run = await run_of("Rome is sunny.", "Oslo is not.", hooks=hooks, compile_options=options)
    parts = await run.process_stream(ask("weather?"), THREAD)
    assert [(message.type, message.content) for message in run.get_run_messages()] == [
        ("ai", "Rome is sunny."),
        ("human", "And Oslo?"),
        ("ai", "Oslo is not."),
    ]
    assert [part["text"] for part in parts or ()] == ["Rome is sunny.", "Oslo is not."]
    second = requests_of(run)[1].messages
    assert [message.content for message in second] == ["weather?", "Rome is sunny.", "And Oslo?"]
    assert [each["continuationCount"] for each in seen] == [0, 0, 1, 1]
    assert [each["stopHookActive"] for each in seen] == [False, False, True, True]
    assert (seen[1]["continuationPlanned"], seen[3]["continuationPlanned"]) == (True, False)
    assert run.get_halt_reason() is None


HALF = "half of an emoji: \ud83d"
WHOLE = "half of an emoji: \ufffd"


@pytest.mark.parametrize("saved", [False, True])
@pytest.mark.parametrize("output", [{"updatedInput": {"city": HALF}}, {"decision": "deny", "reason": HALF}])
async def test_what_a_hook_says_can_be_stored_and_sent(saved: bool, output: dict[str, Any]) -> None:
    run = await weather_run(
        registry(PreToolUse=says(**output), PostToolBatch=says(preventContinuation=True, stopReason=HALF)),
        compile_options={"checkpointer": in_memory_saver() if saved else None},
    )
    await run.process_stream(ask(), THREAD)
    result = run.get_run_messages()[1].content
    assert result in (f"Sunny in {WHOLE}", f"Blocked: {WHOLE}")
    assert run.get_halt_reason() == WHOLE


@pytest.mark.parametrize("saved", [False, True])
async def test_arguments_that_cannot_be_copied_are_nonsense(saved: bool) -> None:
    run = await weather_run(
        registry(PreToolUse=says(updatedInput={"city": threading.Lock()})),
        compile_options={"checkpointer": in_memory_saver() if saved else None},
    )
    await run.process_stream(ask(), THREAD)
    assert run.get_run_messages()[1].content == "Blocked: it could not be checked"


async def test_hooks_of_stop_keep_a_turn_going_no_more_often_than_is_allowed() -> None:
    hooks = registry(Stop=says(decision="block", additionalContext="again"))
    run = await run_of("One.", "Two.", "Three.", hooks=hooks, max_stop_continuations=2)
    with pytest.raises(HandlerError, match="max_stop_continuations is 2"):
        await run.process_stream(ask())
    assert [message.content for message in run.get_run_messages()] == ["One.", "again", "Two.", "again", "Three."]


async def test_what_hooks_of_stop_say_may_end_the_turn_for_a_reason_of_their_own() -> None:
    run = await run_of("One.", hooks=registry(Stop=says(preventContinuation=True, stopReason="sealed")))
    await run.process_stream(ask())
    assert run.get_halt_reason() == "sealed"


async def test_a_hook_of_stop_finalize_that_fails_fails_the_run() -> None:
    def claim(_: Any) -> None:
        raise RuntimeError("the queue is gone")

    run = await run_of("One.", hooks=registry(StopFinalize=claim))
    with pytest.raises(HandlerError, match="the queue is gone"):
        await run.process_stream(ask())


async def test_a_text_that_stopped_at_its_limit_halts_the_turn_by_name() -> None:
    seen: list[Mapping[str, Any]] = []
    run = await run_of(script.reply("And then", finish_reason="length"), hooks=registry(Stop=seen.append))
    await run.process_stream(ask())
    assert (run.get_halt_reason(), seen[0]["stopReason"]) == ("output_truncated", "output_truncated")


@pytest.mark.parametrize("reason", ["stop", "content_filter", "CONTENT_FILTER"])
async def test_a_text_that_ended_by_itself_or_was_filtered_was_not_truncated(reason: str) -> None:
    run = await run_of(script.reply("And then", finish_reason=reason))
    assert await run.process_stream(ask()) == [{"type": "text", "text": "And then"}]
    assert run.get_halt_reason() is None


async def test_a_hook_that_goes_on_by_itself_decides_nothing() -> None:
    hooks = registry(PreToolUse=says(**{"async": True, "asyncTimeout": 5, "decision": "deny"}))
    run = await weather_run(hooks)
    await run.process_stream(ask())
    assert run.get_run_messages()[1].content == "Sunny in Rome"


@pytest.mark.parametrize(("event", "decision"), [("PreToolUse", "block"), ("Stop", "deny")])
async def test_a_decision_of_another_point_is_nonsense(
    event: str, decision: str, caplog: pytest.LogCaptureFixture
) -> None:
    run = await weather_run(registry(**{event: says(decision=decision)}))
    await run.process_stream(ask())
    assert f"the decision is '{decision}', expected" in caplog.text


@pytest.mark.parametrize("event", ["PreemptBoundary"])
def test_events_that_cannot_happen_here_are_refused_with_what_to_do_instead(event: str) -> None:
    with pytest.raises(ConfigurationError, match=f"'{event}' never happens: .* Stop"):
        HookRegistry().register(event, lambda _: None)


async def test_a_message_without_marks_of_its_own_does_not_begin_a_turn() -> None:
    hooks = registry(PostToolBatch=says(injectedMessages=[{"role": "user", "content": "be brief"}]))
    run = await weather_run(hooks)
    await run.process_stream(ask("weather?"), THREAD)
    injected = run.get_run_messages()[2]
    assert injected.additional_kwargs["injected"] is True
    assert injected.additional_kwargs["provenance"] == {"version": 1, "parts": [{"attribution": "synthetic"}]}
    assert len(turn_of([HumanMessage("weather?"), *run.get_run_messages()])) == 4


async def test_what_hooks_injected_is_kept_when_the_run_is_stopped_afterwards() -> None:
    hooks = registry(PostToolBatch=says(injectedMessages=[{"role": "user", "content": "be brief"}]))
    run = await run_of(ROUND[0], ValueError("no model"), agent={"tools": [get_weather]}, hooks=hooks)
    with pytest.raises(ValueError, match="no model"):
        await run.process_stream(ask(), THREAD)
    assert [message.content for message in run.get_run_messages()] == ["", "Sunny in Rome", "be brief"]
