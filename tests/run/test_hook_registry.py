"""What hooks say together, and what a gate makes of it for the calls of one answer: without a run."""

from __future__ import annotations

import asyncio
import json
from itertools import count
from typing import Any

import pytest
from langchain_core.messages import HumanMessage, ToolCall, ToolMessage

from stategraph.agent.facts import Logged, Place
from stategraph.agent.ports import Allow, Answer, Remarks
from stategraph.errors import ConfigurationError
from stategraph.run.events.step_list import StepList
from stategraph.run.events.steps import StepTracker
from stategraph.run.hooks.approval import HookGate
from stategraph.run.hooks.hook_registry import UNCHECKED, HookEvents, HookRegistration, HookRegistry, Outcome
from stategraph.run.questions import Approve, Edit, Reject, Respond

PRE, POST = HookEvents.PRE_TOOL_USE, HookEvents.POST_TOOL_USE


async def said(*outputs: Any, event: HookEvents = PRE, tool: str | None = "n") -> Outcome:
    """What hooks that return these say together."""
    registry = HookRegistry()
    for output in outputs:
        registry.register(event, lambda happened, output=output: output)
    return await registry.call(event, {}, tool)


# -- what hooks say ------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("decisions", "together"),
    [
        ([], None),
        ([None], None),
        (["allow"], "allow"),
        (["allow", "ask"], "ask"),
        (["deny", "ask", "allow"], "deny"),
        ([None, "allow", None], "allow"),
    ],
)
async def test_the_strictest_decision_counts(decisions: Any, together: Any) -> None:
    assert (await said(*({"decision": each} for each in decisions))).decision == together


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("event", "stricter", "milder"),
    [
        (PRE, "allow", None),
        (PRE, "ask", "allow"),
        (PRE, "deny", "ask"),
        (HookEvents.STOP, "continue", None),
        (HookEvents.STOP, "block", "continue"),
    ],
)
async def test_of_two_decisions_the_stricter_counts_in_either_order(event: Any, stricter: Any, milder: Any) -> None:
    for order in ((stricter, milder), (milder, stricter)):
        outcome = await said(*({"decision": each, "reason": f"because {each}"} for each in order), event=event)
        assert (outcome.decision, outcome.reason) == (stricter, f"because {stricter}")


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("event", "output", "why", "decision"),
    [
        ("RunStart", {"decision": "deny"}, "nothing is decided at this point", None),
        ("PostToolUse", {"decision": "deny"}, "nothing is decided at this point", None),
        ("PostToolUse", {"decision": "ask"}, "nothing is decided at this point", None),
        ("PostToolUse", {"updatedInput": {}}, "which only BeforeModel and PreToolUse may", None),
        ("Stop", {"updatedOutput": "x"}, "which only AfterModel and BeforeModel and PostToolUse", None),
        ("PreToolUse", {"updatedOutput": "x"}, "which only AfterModel and BeforeModel and PostToolUse", "deny"),
        ("BeforeModel", {"updatedInput": {"messages": "str"}}, "expected a list with messages", "deny"),
        ("BeforeModel", {"updatedInput": {"messages": []}}, "expected a list with messages", "deny"),
        ("BeforeModel", {"updatedInput": {"messages": None}}, "expected a list with messages", "deny"),
        ("BeforeModel", {"updatedInput": {"options": 5}}, "expected a mapping", "deny"),
    ],
)
async def test_what_has_no_meaning_at_its_point_is_logged_and_fails_closed_where_hooks_decide(
    event: str, output: Any, why: str, decision: Any, caplog: pytest.LogCaptureFixture
) -> None:
    outcome = await said({"additionalContext": "x", **output}, event=HookEvents(event))
    (error,) = outcome.errors
    assert why in error and caplog.messages == [error]
    assert (outcome.decision, outcome.contexts, outcome.updated_input) == (decision, (), None)


@pytest.mark.anyio
async def test_to_allow_what_cannot_be_decided_is_no_nonsense() -> None:
    assert (await said({"decision": "allow"}, event=POST)).errors == ()


@pytest.mark.anyio
async def test_the_reason_is_that_of_the_first_hook_that_decided_so() -> None:
    outcome = await said(
        {"decision": "allow", "reason": "fine"},
        {"decision": "deny"},
        {"decision": "deny", "reason": "no"},
        {"decision": "deny", "reason": "never"},
    )
    assert (outcome.decision, outcome.reason) == ("deny", "no")


@pytest.mark.anyio
async def test_what_a_person_may_decide_is_what_all_who_ask_allow() -> None:
    async def allowed(*several: Any) -> Any:
        return (await said(*({"decision": "ask", "allowed_decisions": each} for each in several))).allowed_decisions

    assert await allowed(None) == ("approve", "reject", "edit", "respond")
    assert await allowed(["edit", "approve"]) == ("approve", "edit")
    assert await allowed(["edit", "approve"], ["approve", "reject"], None) == ("approve",)
    assert await allowed(["edit"], ["approve"]) == ("reject",)
    only_who_asks = await said({"decision": "allow", "allowed_decisions": ["edit"]}, {"decision": "ask"})
    assert only_who_asks.allowed_decisions == ("approve", "reject", "edit", "respond")


@pytest.mark.anyio
async def test_changes_are_those_of_the_last_and_words_those_of_all() -> None:
    outcome = await said(
        {"updatedInput": {"x": 1}, "additionalContext": "a", "injectedMessages": [{"role": "user", "content": "hi"}]},
        {"updated_input": {"x": 2}, "additional_context": ""},
        {"additional_context": "b", "prevent_continuation": True},
        {"prevent_continuation": True, "stop_reason": "later"},
    )
    assert outcome.updated_input == {"x": 2}
    assert outcome.contexts == ("a", "b")
    assert [message.content for message in outcome.injected] == ["hi"]
    assert outcome.halt == "preventContinuation"
    assert (await said({"prevent_continuation": True, "stop_reason": "mine"})).halt == "mine"
    assert (await said({"stop_reason": "mine"})).halt is None
    assert (await said({"updated_output": 0}, event=POST)).updated_output == (0,)
    assert (await said({}, event=POST)).updated_output is None


@pytest.mark.anyio
async def test_each_hook_is_given_the_name_of_its_event_and_a_copy_of_what_happened() -> None:
    registry, seen = HookRegistry(), []

    def look(happened: Any) -> None:
        seen.append(dict(happened))
        happened["x"] = 2

    registry.register(PRE, [look, look])
    await registry.call(PRE, {"x": 1}, "n")
    assert seen == [{"hook_event_name": PRE, "x": 1}] * 2


@pytest.mark.anyio
async def test_a_hook_that_fails_at_a_point_of_decision_denies_and_elsewhere_is_noted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(happened: Any) -> None:
        raise ValueError("no")

    for event, decision in ((PRE, "deny"), (POST, None)):
        registry = HookRegistry()
        registry.register(event, fail)
        outcome = await registry.call(event, {}, "n")
        assert outcome.decision == decision
        (error,) = outcome.errors
        assert error.startswith("The hook '")
        assert error.endswith(f"fail' of {event} failed with ValueError: no")
        assert outcome.reason == (UNCHECKED if decision else None)
    assert len(caplog.records) == 2


@pytest.mark.anyio
@pytest.mark.parametrize("in_ms", [False, True])
async def test_a_hook_that_takes_longer_than_it_may_denies(in_ms: bool) -> None:
    async def hang(happened: Any) -> None:
        await asyncio.Event().wait()

    registry = HookRegistry()
    registry.register(PRE, {"hooks": [hang], **({"timeout": 10} if in_ms else {"timeout_s": 0.01})})
    outcome = await registry.call(PRE, {}, "n")
    assert outcome.decision == "deny"
    assert outcome.errors[0].endswith("took longer than 0.01 s")
    assert HookRegistration(hooks=(hang,)).limit_s == 30


@pytest.mark.anyio
async def test_a_run_that_is_cancelled_while_a_hook_works_is_cancelled_and_the_hook_has_not_failed() -> None:
    begun = asyncio.Event()

    async def hang(happened: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    registry = HookRegistry()
    registry.register(PRE, hang)
    calling = asyncio.create_task(registry.call(PRE, {}, "n"))
    await asyncio.wait_for(begun.wait(), 10)
    calling.cancel()
    await asyncio.wait((calling,), timeout=10)
    assert calling.cancelled()


@pytest.mark.anyio
async def test_a_hooks_own_timeout_and_cancellation_are_its_failures() -> None:
    async def late(happened: Any) -> None:
        raise TimeoutError("mine")

    async def cancelled(happened: Any) -> None:
        raise asyncio.CancelledError

    registry = HookRegistry()
    registry.register(PRE, [late, cancelled])
    outcome = await registry.call(PRE, {}, "n")
    assert [("TimeoutError: mine" in error, "CancelledError" in error) for error in outcome.errors] == [
        (True, False),
        (False, True),
    ]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("event", "output", "problem"),
    [
        (PRE, {"decision": "block"}, "the decision is 'block', expected 'allow', 'ask' or 'deny'"),
        (HookEvents.STOP, {"decision": "deny"}, "the decision is 'deny', expected 'continue' or 'block'"),
        (PRE, {"decision": "maybe"}, "decision"),
        (PRE, {"desicion": "deny"}, "desicion"),
        (PRE, 7, "failed with ConfigurationError"),
        (PRE, {"decision": "ask", "allowed_decisions": []}, "allowed"),
    ],
)
async def test_nonsense_is_a_failure(event: HookEvents, output: Any, problem: str) -> None:
    outcome = await said(output, event=event)
    (error,) = outcome.errors
    assert problem.lower() in error.lower()


@pytest.mark.anyio
async def test_a_hook_that_goes_on_by_itself_says_nothing_else() -> None:
    outcome = await said({"async": True, "decision": "deny", "additional_context": "x"})
    assert outcome == Outcome()


@pytest.mark.anyio
async def test_a_pattern_is_found_in_the_name_of_the_tool_and_once_means_once() -> None:
    registry, seen = HookRegistry(), []
    registry.register(PRE, lambda happened: seen.append("weather"), pattern="weather$")
    registry.register(PRE, lambda happened: seen.append("once"), once=True)
    take_back = registry.register(PRE, lambda happened: seen.append("all"))
    for tool, called in (("get_weather", ["all", "once", "weather"]), ("weather_get", ["all"]), (None, ["all"])):
        await registry.call(PRE, {}, tool)
        assert sorted(seen) == called  # the hooks of one event run side by side
        seen.clear()
    take_back()
    take_back()
    await registry.call(PRE, {}, "get_weather")
    assert seen == ["weather"]
    assert registry.has(PRE)
    assert not registry.has(POST)


def hook(happened: Any) -> None:
    """Say nothing."""


@pytest.mark.parametrize(
    ("event", "given", "options", "message"),
    [
        ("Nothing", hook, {}, "There is no hook event 'Nothing'; expected one of "),
        (PRE, 7, {}, "The hook of PreToolUse is a value of type int; expected a function, a list of functions"),
        (PRE, "hook", {}, "is a value of type str"),
        (PRE, [], {}, "hooks"),
        (PRE, {"hooks": [hook]}, {"once": True}, "belong into the registration"),
        (PRE, {"hooks": [hook]}, {"pattern": "x"}, "belong into the registration"),
        (PRE, {"hooks": [hook]}, {"timeout_s": 1}, "belong into the registration"),
        (PRE, hook, {"timeout_s": 0}, "timeout"),
        (PRE, hook, {"pattern": "("}, "pattern"),
        (
            HookEvents.STOP,
            hook,
            {"pattern": "x"},
            "A pattern chooses tools or agents, and Stop is about none: leave it out",
        ),
    ],
)
def test_registrations_that_make_no_sense_are_refused(event: Any, given: Any, options: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        HookRegistry().register(event, given, **options)


# -- a gate --------------------------------------------------------------

AT = Place("a", "a", "agent=a", {"thread_id": "t"})


def call(number: int, **args: Any) -> ToolCall:
    return ToolCall(name="n", args=args, id=f"c{number}", type="tool_call")


class Gated:
    """A gate, what it was told of failures, and the answers of a person."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, asks: bool = False, answers: Any = None) -> None:
        self.hooks = HookRegistry()
        self.heard: list[Any] = []
        self.asked: list[Any] = []
        ids = count()
        tracker = StepTracker(StepList("r", new_id=lambda prefix: f"{prefix}{next(ids)}", now_ms=lambda: 0))

        async def hear(fact: Any) -> None:
            self.heard.append(fact)

        def ask(payload: Any, read: Any) -> Any:
            self.asked.append(payload)
            return answers

        monkeypatch.setattr("stategraph.run.hooks.approval.questions.ask", ask)
        monkeypatch.setattr("stategraph.run.hooks.approval.get_config", lambda: {"configurable": {}})
        self.gate = HookGate("r", self.hooks, tracker, hear, asks=asks)

    def on(self, event: HookEvents, answer: Any) -> None:
        """Register a hook: what it says, or a function of the id of the call."""
        self.hooks.register(event, lambda happened: answer(happened) if callable(answer) else answer)


@pytest.mark.anyio
async def test_calls_run_where_no_hook_says_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    gated = Gated(monkeypatch)
    assert await gated.gate.before(AT, [call(1), call(2)]) == [Allow(call(1)), Allow(call(2))]
    reviewed = await gated.gate.finish(AT, [call(1), call(2)], [], [])
    assert (list(reviewed.injected), reviewed.halt) == ([], None)


@pytest.mark.anyio
async def test_hooks_are_told_all_about_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    gated, seen = Gated(monkeypatch), []
    gated.on(PRE, seen.append)
    await gated.gate.before(AT, [call(1, x=[1])])
    assert seen == [
        {
            "hook_event_name": PRE,
            "runId": "r",
            "threadId": "t",
            "agentId": "a",
            "executingAgentId": "a",
            "toolName": "n",
            "toolInput": {"x": [1]},
            "toolUseId": "c1",
            "stepId": "",
            "turn": 0,
        }
    ]


@pytest.mark.anyio
async def test_each_call_is_decided_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    gated = Gated(monkeypatch)
    says: Any = {
        "c1": {"decision": "deny", "reason": "not this"},
        "c2": {"decision": "deny"},
        "c3": {"updated_input": {"x": 2}},
        "c4": {"decision": "ask"},
    }
    gated.on(PRE, lambda happened: says[happened["toolUseId"]])
    first, second, third, fourth = await gated.gate.before(AT, [call(1), call(2), call(3, x=1), call(4)])
    assert isinstance(first, Answer)
    assert (first.text, first.status) == ("Blocked: not this", "error")
    assert isinstance(second, Answer)
    assert second.text == "Blocked: A hook does not allow this call."
    assert third == Allow(call(3, x=2))
    assert isinstance(fourth, Answer)
    assert gated.asked == []


@pytest.mark.anyio
async def test_a_person_is_asked_about_the_calls_that_hooks_ask_about(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {
        "c1": Approve(),
        "c2": Reject(reason="no"),
        "c3": Edit(updated_input={"x": 9}),
        "c4": Respond(response_text="R"),
        "c5": Reject(),
    }
    gated = Gated(monkeypatch, asks=True, answers=answers)
    gated.on(
        PRE,
        lambda happened: (
            {"decision": "ask", "reason": "sure?", "allowed_decisions": ["approve"]}
            if happened["toolUseId"] != "c0"
            else None
        ),
    )
    verdicts = await gated.gate.before(AT, [call(number) for number in range(6)])
    assert verdicts[0] == Allow(call(0))
    assert verdicts[1] == Allow(call(1))
    assert [(each.text, each.status) for each in verdicts if isinstance(each, Answer)] == [
        ("Blocked: no", "error"),
        ("R", "success"),
        ("Blocked: A person rejected this call.", "error"),
    ]
    assert verdicts[3] == Allow(call(3, x=9))
    (payload,) = gated.asked
    assert (payload["type"], payload["hook_session_id"]) == ("tool_approval", "r")
    assert payload["action_requests"][0] == {"tool_call_id": "c1", "name": "n", "arguments": {}, "description": "sure?"}
    assert payload["review_configs"][0] == {"action_name": "n", "tool_call_id": "c1", "allowed_decisions": ["approve"]}
    assert len(payload["action_requests"]) == 5


@pytest.mark.anyio
async def test_a_turn_that_is_halted_runs_none_of_the_calls_and_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    gated = Gated(monkeypatch, asks=True)
    says: Any = {
        "c1": {"decision": "ask"},
        "c2": {"prevent_continuation": True, "stop_reason": "enough"},
        "c3": {"decision": "deny", "reason": "not this"},
    }
    gated.on(PRE, lambda happened: says[happened["toolUseId"]])
    verdicts: Any = await gated.gate.before(AT, [call(1), call(2), call(3)])
    assert [each.text for each in verdicts] == ["Blocked: enough", "Blocked: enough", "Blocked: not this"]
    assert gated.asked == []
    reviewed = await gated.gate.finish(AT, [call(1), call(2), call(3)], [], [])
    assert reviewed.halt == "enough"


@pytest.mark.anyio
async def test_a_result_is_shown_to_hooks_and_may_be_put_in_other_words(monkeypatch: pytest.MonkeyPatch) -> None:
    gated, seen = Gated(monkeypatch), []

    def look(happened: Any) -> Any:
        seen.append(
            (happened["hook_event_name"], happened["status"], happened.get("toolOutput"), happened.get("error"))
        )
        return {"updated_output": {"a": 1}, "additional_context": "told"}

    gated.on(POST, look)
    gated.on(HookEvents.POST_TOOL_USE_FAILURE, look)
    await gated.gate.before(AT, [call(1)])
    message = ToolMessage("out", tool_call_id="c1")
    shown, remarks = await gated.gate.after(AT, call(1), message)
    assert (shown.content, message.content) == ('{"a":1}', "out")
    assert remarks == Remarks(("told",), (), None)
    failed, _ = await gated.gate.after(AT, call(2), ToolMessage("bad", tool_call_id="c2", status="error"))
    assert failed.content == '{"a":1}'
    assert seen == [
        (POST, "success", "out", None),
        (HookEvents.POST_TOOL_USE_FAILURE, "error", None, "bad"),
    ]
    silent = Gated(monkeypatch)
    assert await silent.gate.after(AT, call(1), message) == (message, None)


@pytest.mark.anyio
async def test_a_call_that_was_denied_is_told_as_that_and_one_that_a_person_answered_as_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gated = Gated(monkeypatch, asks=True, answers={"c2": Respond(response_text="R")})
    denied: list[Any] = []
    gated.on(PRE, lambda happened: {"decision": "deny" if happened["toolUseId"] == "c1" else "ask", "reason": "why"})
    gated.on(HookEvents.PERMISSION_DENIED, lambda happened: denied.append((happened["toolUseId"], happened["reason"])))
    gated.on(POST, lambda happened: denied.append("shown"))
    await gated.gate.before(AT, [call(1), call(2)])
    for number, text in ((1, "Blocked: why"), (2, "R")):
        message = ToolMessage(text, tool_call_id=f"c{number}")
        shown, _ = await gated.gate.after(AT, call(number), message)
        assert shown is message
    assert denied == [("c1", "why")]


@pytest.mark.anyio
async def test_the_end_of_a_batch_brings_together_what_all_hooks_said(monkeypatch: pytest.MonkeyPatch) -> None:
    gated, batches = Gated(monkeypatch), []
    gated.on(PRE, {"additional_context": "before"})

    def batch(happened: Any) -> Any:
        batches.append(happened["entries"])
        return {"additional_context": "batch", "injected_messages": [{"role": "user", "content": "inject"}]}

    gated.on(HookEvents.POST_TOOL_BATCH, batch)
    await gated.gate.before(AT, [call(1)])
    good = ToolMessage("out", tool_call_id="c1")
    bad = ToolMessage("bad", tool_call_id="c2", status="error")
    after = Remarks(("after",), (HumanMessage("mine"),), "halt")
    reviewed = await gated.gate.finish(AT, [call(1), call(2), call(3)], [good, bad], [after])
    assert list(reviewed.messages) == [good, bad]
    *injected, context = reviewed.injected
    assert [message.content for message in injected] == ["mine", "inject"]
    text = str(context.content)
    assert text.index("before") < text.index("after") < text.index("batch")
    assert reviewed.halt == "halt"
    ((first, second),) = batches
    assert (first["toolUseId"], first["toolOutput"], first["status"]) == ("c1", "out", "success")
    assert (second["toolUseId"], second["error"], second["status"]) == ("c2", "bad", "error")
    again = await gated.gate.finish(AT, [call(1)], [], [])
    assert "before" not in str(again.injected)


@pytest.mark.anyio
async def test_hooks_that_fail_are_told_as_errors_of_the_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    gated = Gated(monkeypatch)

    def fail(happened: Any) -> None:
        raise ValueError("no")

    gated.on(PRE, fail)
    gated.on(POST, fail)
    await gated.gate.before(AT, [call(1)])
    await gated.gate.after(AT, call(9), ToolMessage("x", tool_call_id="c9"))
    assert [(type(fact), fact.level, fact.scope, fact.detail) for fact in gated.heard] == [
        (Logged, "error", "hooks", False)
    ] * 2


@pytest.mark.anyio
@pytest.mark.parametrize(
    "says",
    [
        None,
        {"decision": "allow"},
        {"decision": "deny", "reason": "not this"},
        {"decision": "ask", "reason": "sure?", "allowed_decisions": ["approve", "edit"]},
        {"decision": "ask"},
        {"updated_input": {"x": 2}},
        {"additional_context": "told"},
        {"injected_messages": [{"role": "user", "content": "mine"}]},
        {"prevent_continuation": True, "stop_reason": "enough"},
    ],
)
async def test_what_hooks_said_holds_also_where_it_was_stored(says: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def start_task(work: Any, given: Any) -> Any:
        positional, named = given
        return json.loads(json.dumps(await work(*positional, **named), default=stored.append))

    async def outcome() -> Any:
        gated = Gated(monkeypatch, asks=True, answers={"c1": Approve()})
        gated.on(PRE, says)
        verdicts = await gated.gate.before(AT, [call(1, x=1)])
        reviewed = await gated.gate.finish(AT, [call(1, x=1)], [], [])
        return verdicts, [message.content for message in reviewed.injected], reviewed.halt, gated.asked

    stored: list[Any] = []
    at_once = await outcome()
    monkeypatch.setattr("stategraph.run.hooks.approval.stores", lambda config: True)
    monkeypatch.setattr("stategraph.run.hooks.approval.start_task", start_task)
    if says is None or "injected_messages" not in says:
        assert await outcome() == at_once
        assert stored == []
    monkeypatch.setattr("stategraph.run.hooks.approval.start_task", lambda work, given: work(*given[0], **given[1]))
    assert await outcome() == at_once


def test_a_misspelled_event_is_told_the_nearest_one() -> None:
    with pytest.raises(ConfigurationError, match="There is no hook event 'BeforModel'; did you mean 'BeforeModel'"):
        HookRegistry().register("BeforModel", print)
