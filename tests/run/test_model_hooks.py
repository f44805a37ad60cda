"""Hooks around models: what they are told, change, answer, refuse and hold back, and what readers hear of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from langchain_core.messages import AIMessage, SystemMessage

from stategraph import AgentInputs, AgentRuntime
from stategraph.errors import ConfigurationError
from stategraph.run.hooks.hook_registry import HookRegistry
from stategraph.testing import ScriptedChatModel, call, reply, script
from tests.agent.counting import count, history
from tests.run.hosting import THREAD, Host, ask, calls, get_weather, requests_of, run_of

pytestmark = pytest.mark.anyio


def says(**output: Any) -> Any:
    def hook(happened: Mapping[str, Any]) -> dict[str, Any]:
        return output

    return hook


def registry(event: str, hook: Any, **how: Any) -> HookRegistry:
    made = HookRegistry()
    made.register(event, hook, **how)
    return made


def said(run: Any) -> list[Any]:
    return [message.content for message in run.get_run_messages()]


def deltas(host: Host) -> list[str]:
    return [data["delta"]["content"][0]["text"] for event, data in host.rows if event == "on_message_delta"]


def judged(host: Host) -> list[dict[str, Any]]:
    return [data for event, data in host.rows if event == "on_guardrail"]


async def test_hooks_are_told_what_is_sent_and_what_came_back() -> None:
    seen: list[Mapping[str, Any]] = []
    hooks = registry("BeforeModel", seen.append)
    hooks.register("AfterModel", seen.append)
    host = Host()
    run = await run_of(script.reply("Hello.", usage=(3, 4)), host=host, hooks=hooks, agent={"instructions": "Sys"})
    await run.process_stream(ask("hi"), THREAD)
    before, after = seen
    assert [(each.type, each.content) for each in before["messages"]] == [("system", "Sys"), ("human", "hi")]
    assert (before["agentId"], before["threadId"], before["options"], before["tokens"]) == ("a", "t", {}, None)
    assert (after["text"], after["message"].usage_metadata["total_tokens"], after["partial"]) == ("Hello.", 7, False)
    assert judged(host) == []


async def test_before_model_changes_what_is_sent_and_not_the_conversation() -> None:
    def mask(happened: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "updatedInput": {"messages": [SystemMessage("Be kind."), ("user", "***")], "options": {"temperature": 0}},
            "additionalContext": "It is Monday.",
        }

    host = Host()
    run = await run_of("Hello.", host=host, hooks=registry("BeforeModel", mask))
    await run.process_stream(ask("my name is Ada"), THREAD)
    (request,) = requests_of(run)
    sent = [(each.type, each.content) for each in request.messages]
    assert sent == [("system", "Be kind."), ("human", "***"), ("human", "It is Monday.")]
    assert request.options["temperature"] == 0
    assert said(run) == ["Hello."]
    (event,) = judged(host)
    name = "test_before_model_changes_what_is_sent_and_not_the_conversation.<locals>.mask"
    assert event == {"runId": "r", "agentId": "a", "hook": "BeforeModel", "name": name, "outcome": "changed"}


async def test_before_model_answers_itself() -> None:
    host = Host()
    run = await run_of(host=host, hooks=registry("BeforeModel", says(updated_output="From the cache.")))
    parts = await run.process_stream(ask(), THREAD)
    assert requests_of(run) == []
    assert (said(run), run.get_halt_reason()) == (["From the cache."], None)
    assert parts == host.content.content_parts == [{"type": "text", "text": "From the cache."}]


@pytest.mark.parametrize(
    ("output", "reason", "answer"),
    [
        ({"decision": "deny", "reason": "off topic"}, "model_call_denied", ["Blocked: off topic"]),
        ({"decision": "deny", "updated_output": "Ask about weather."}, "model_call_denied", ["Ask about weather."]),
        ({"prevent_continuation": True, "stop_reason": "quota"}, "quota", []),
        ({"prevent_continuation": True, "updated_output": "Later."}, "preventContinuation", ["Later."]),
    ],
)
async def test_before_model_refuses_and_the_turn_ends(output: Any, reason: str, answer: list[str]) -> None:
    stops: list[Any] = []
    host = Host()
    hooks = registry("BeforeModel", says(**output, details={"score": 0.9}))
    hooks.register("Stop", stops.append)
    run = await run_of(host=host, hooks=hooks)
    await run.process_stream(ask(), THREAD)
    assert requests_of(run) == []
    assert (said(run), run.get_halt_reason(), stops[0]["stopReason"]) == (answer, reason, reason)
    (event,) = judged(host)
    assert event["outcome"] == ("denied" if "decision" in output else "ended")
    assert event["details"] == {"score": 0.9}


async def test_after_model_replaces_an_answer_that_nobody_has_seen() -> None:
    host = Host()
    run = await run_of(
        script.reply("The code is 1234.", usage=(3, 4)),
        host=host,
        hooks=registry("AfterModel", says(updated_output="*")),
    )
    await run.process_stream(ask(), THREAD)
    (answer,) = run.get_run_messages()
    assert isinstance(answer, AIMessage) and answer.usage_metadata is not None
    assert (answer.content, answer.usage_metadata["total_tokens"]) == ("*", 7)
    assert deltas(host) == ["*"]
    assert "1234" not in str(host.rows)


async def test_an_answer_that_is_approved_is_told_in_the_pieces_that_came() -> None:
    plain, held = Host(), Host()
    await (await run_of("One two three.", host=plain)).process_stream(ask(), THREAD)
    hooks = registry("AfterModel", says(decision="allow"))
    await (await run_of("One two three.", host=held, hooks=hooks)).process_stream(ask(), THREAD)
    assert held.steps() == plain.steps()
    assert [each["outcome"] for each in judged(held)] == ["allowed"]


async def test_a_denied_answer_ends_the_turn_and_its_tools_do_not_run() -> None:
    host = Host()
    hooks = registry("AfterModel", says(decision="deny", reason="leak"))
    run = await run_of(calls(("get_weather", {"city": "Rome"})), host=host, hooks=hooks, agent={"tools": [get_weather]})
    await run.process_stream(ask(), THREAD)
    assert (said(run), run.get_halt_reason()) == (["Blocked: leak"], "answer_denied")
    assert not {"on_tool_start", "on_run_step_completed"} & {event for event, _ in host.rows}
    assert host.content.content_parts == [{"type": "text", "text": "Blocked: leak"}]


async def test_tools_of_an_answer_whose_text_is_replaced_run() -> None:
    reply = script.reply("Secret.", script.call("get_weather", {"city": "Rome"}, id="call_1"))
    hooks = registry("AfterModel", lambda told: {"updated_output": "*"} if told["text"] == "Secret." else None)
    run = await run_of(reply, "Done.", hooks=hooks, agent={"tools": [get_weather]})
    await run.process_stream(ask(), THREAD)
    assert said(run) == ["*", "Sunny in Rome", "Done."]


async def test_sentences_are_told_once_each_is_approved() -> None:
    told: list[tuple[str, str]] = []
    host = Host()

    def check(happened: Mapping[str, Any]) -> dict[str, Any] | None:
        assert happened["partial"]
        told.append((happened["before"], happened["text"]))
        return {"updated_output": "Nobody. "} if "Ada" in happened["text"] else None

    run = await run_of("Hi there. I am Ada. And you", host=host, hooks=registry("AfterModel", check, hold="sentence"))
    await run.process_stream(ask(), THREAD)
    assert told == [("", "Hi there. "), ("Hi there. ", "I am Ada. "), ("Hi there. Nobody. ", "And you")]
    assert deltas(host) == ["Hi there. ", "Nobody. ", "And you"]
    assert said(run) == ["Hi there. Nobody. And you"]
    assert "Ada" not in str(host.rows)


async def test_a_denied_sentence_stops_the_model() -> None:
    host = Host()
    deny = {"decision": "deny", "reason": "a name"}
    hooks = registry("AfterModel", lambda told: deny if "Ada" in told["text"] else None, hold="sentence")
    run = await run_of("Hi there. I am Ada. And so on. And on.", host=host, hooks=hooks)
    await run.process_stream(ask(), THREAD)
    assert deltas(host) == ["Hi there. ", "Blocked: a name"]
    assert (said(run), run.get_halt_reason()) == (["Hi there. Blocked: a name"], "answer_denied")
    assert host.content.content_parts == [{"type": "text", "text": "Hi there. Blocked: a name"}]
    assert [event for event, _ in host.rows].count("on_run_step_closed") == 1


async def test_reasoning_and_calls_pass_once_the_text_before_them_has() -> None:
    reply = script.reply(
        script.Think("Hm, well."), "I look.", script.call("get_weather", {"city": "Rome"}, id="call_1")
    )
    plain, held = Host(), Host()
    hooks = registry("AfterModel", says(), hold="sentence")
    for host, more in ((plain, {}), (held, {"hooks": hooks})):
        run = await run_of(reply, "Done.", host=host, agent={"tools": [get_weather]}, **more)
        await run.process_stream(ask(), THREAD)
        assert said(run) == ["I look.", "Sunny in Rome", "Done."]
    assert plain.content.content_parts == held.content.content_parts


async def test_a_hook_that_holds_back_nothing_sees_what_was_read() -> None:
    host = Host()
    hooks = registry("AfterModel", says(updated_output="*"), hold="nothing")
    run = await run_of("One two.", host=host, hooks=hooks)
    await run.process_stream(ask(), THREAD)
    assert ("".join(deltas(host)), said(run)) == ("One two.", ["*"])


async def test_hooks_of_sentences_see_the_whole_where_another_holds_back_the_answer() -> None:
    seen: list[Any] = []
    hooks = registry("AfterModel", lambda told: seen.append((told["partial"], told["text"])), hold="sentence")
    hooks.register("AfterModel", says())
    run = await run_of("One. Two.", hooks=hooks)
    await run.process_stream(ask(), THREAD)
    assert seen == [(False, "One. Two.")]


async def summarising(hooks: HookRegistry, *replies: Any, host: Host) -> Any:
    agent = {"instructions": "You are a.", "max_context_tokens": 320, "summarization_enabled": True}
    run = await run_of(*replies, host=host, agent=agent, token_counter=count, hooks=hooks)
    await run.process_stream({"messages": history()})
    return run


async def test_summaries_are_masked_and_reviewed_too() -> None:
    def mask(told: Mapping[str, Any]) -> dict[str, Any] | None:
        return {"updatedInput": {"messages": ["masked"]}} if told["offRecord"] else None

    host = Host()
    hooks = registry("BeforeModel", mask)
    hooks.register("AfterModel", lambda told: {"updated_output": "Short."} if told["offRecord"] else None)
    run = await summarising(hooks, "What was said.", "Fine.", host=host)
    summary, answer = requests_of(run)
    assert [each.content for each in summary.messages] == ["masked"]
    assert "Short." in str(answer.messages[1].content)
    assert "What was said." not in str(host.rows)
    assert said(run) == ["Fine."]


async def test_a_summary_that_is_denied_is_none_and_the_turn_goes_on() -> None:
    host = Host()
    hooks = registry("BeforeModel", lambda told: {"decision": "deny"} if told["offRecord"] else None)
    run = await summarising(hooks, "Fine.", host=host)
    assert (said(run), run.get_halt_reason()) == (["Fine."], None)
    (complete,) = [data for event, data in host.rows if event == "on_summarize_complete"]
    assert "SummaryRefusedError" in complete["error"]


@pytest.mark.parametrize("event", ["BeforeModel", "AfterModel"])
async def test_a_hook_that_fails_denies(event: str) -> None:
    async def hang(happened: Mapping[str, Any]) -> None:
        await asyncio.sleep(60)

    def fail(happened: Mapping[str, Any]) -> None:
        raise KeyError("secret")

    for hook in (hang, fail, says(decision="ask"), says(updated_input={"model": "x"})):
        host = Host()
        run = await run_of("Hello.", host=host, hooks=registry(event, hook, timeout_s=0.05))
        await run.process_stream(ask(), THREAD)
        assert said(run) == ["Blocked: it could not be checked"]
        (judgement,) = judged(host)
        assert judgement["outcome"] == "failed"
        assert "Hello" not in str(deltas(host))


async def test_a_pattern_chooses_agents() -> None:
    for pattern, answer in (("^b$", "Hello."), ("^a$", "*")):
        run = await run_of("Hello.", hooks=registry("AfterModel", says(updated_output="*"), pattern=pattern))
        await run.process_stream(ask(), THREAD)
        assert said(run) == [answer]


async def test_what_makes_no_sense_is_refused_when_it_is_registered() -> None:
    with pytest.raises(ConfigurationError, match="'hold' is for answers"):
        registry("BeforeModel", print, hold="sentence")
    with pytest.raises(ConfigurationError, match="about none"):
        registry("Stop", print, pattern="x")


@pytest.mark.parametrize("hold", ["answer", "sentence"])
async def test_an_answer_that_breaks_off_while_all_of_it_is_held_is_asked_for_again(hold: str) -> None:
    host, agent = Host(), {"model_retry": {"initial_interval_s": 0}}
    replies = script.reply("One tw", script.Drop()), "Fine."
    run = await run_of(*replies, host=host, agent=agent, hooks=registry("AfterModel", says(), hold=hold))
    await run.process_stream(ask(), THREAD)
    assert (said(run), "".join(deltas(host))) == (["Fine."], "Fine.")


async def test_an_answer_of_which_a_sentence_was_told_is_not_asked_for_again() -> None:
    host, agent = Host(), {"model_retry": {"initial_interval_s": 0}}
    replies = script.reply("One. Tw", script.Drop()), "Fine."
    run = await run_of(*replies, host=host, agent=agent, hooks=registry("AfterModel", says(), hold="sentence"))
    with pytest.raises(ConnectionResetError):
        await run.process_stream(ask(), THREAD)
    assert "".join(deltas(host)) == "One. "


async def test_an_answer_that_is_cut_off_while_it_is_held_is_known_to_nobody() -> None:
    reply = script.reply("One. Two. Thr", script.Drop())
    for hold, text in (("answer", ""), ("sentence", "One. Two. ")):
        host = Host()
        run = await run_of(reply, host=host, hooks=registry("AfterModel", says(), hold=hold))
        with pytest.raises(ConnectionResetError):
            await run.process_stream(ask(), THREAD)
        assert "".join(deltas(host)) == text
        assert said(run) == ([text] if text else [])


async def test_hooks_that_are_registered_while_a_run_goes_on_are_called_from_then_on() -> None:
    hooks = HookRegistry()
    seen: list[Any] = []

    def register() -> str:
        """Register hooks."""
        for event in ("BeforeModel", "AfterModel"):
            hooks.register(event, lambda about, *_: seen.append(about["hook_event_name"]))
        return "registered"

    agent = AgentInputs(
        agent_id="a", model=ScriptedChatModel(replies=[reply(call("register")), "done"]), tools=(register,)
    )
    async with AgentRuntime() as runtime:
        run = await runtime.create_run(run_id="r", agents=[agent], hooks=hooks)
        await run.process_stream({"messages": [("user", "hi")]}, {"configurable": {"thread_id": "t"}})
    assert seen == ["BeforeModel", "AfterModel"]
