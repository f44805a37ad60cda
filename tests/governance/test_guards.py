"""Policies around turns and models: what each verdict does to a run of an agent."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stategraph import AgentInputs, HookRegistry, create_run
from stategraph.governance.audit.event import AuditEvent
from stategraph.governance.context import AgentRef, Principal, RuntimeSessionContext
from stategraph.governance.errors import AuditUnavailable
from stategraph.governance.guards import guard
from stategraph.governance.labels import SqlLabels
from stategraph.governance.policy.combination import PolicySet
from stategraph.governance.policy.verdict import Decision, Verdict
from stategraph.governance.session import Session
from stategraph.testing import ScriptedChatModel, call, reply
from tests.governance.policies import policy, rules

CONTEXT = RuntimeSessionContext(Principal("acme", "ann", frozenset({"support"})), AgentRef("desk"), "thread-1")


class Log:
    """An audit log that keeps what it is told."""

    def __init__(self, error: Exception | None = None) -> None:
        self.events: list[AuditEvent] = []
        self.error = error

    async def record(self, event: AuditEvent, /, *, durable: bool = False) -> None:
        self.record_sync(event, durable=durable)

    def record_sync(self, event: AuditEvent, /, *, durable: bool = False) -> None:
        if self.error is not None:
            raise self.error
        self.events.append(event)


def run(p: Any, text: str = "hello", *replies: Any, **named: Any) -> tuple[Any, ScriptedChatModel, str]:
    """Run a turn under a policy; return the run, its model, and the text that a reader was told."""
    told: list[str] = []

    def hear(name: str, data: Any, *_: Any) -> None:
        told.extend(each["text"] for each in data["delta"]["content"])

    async def go() -> tuple[Any, ScriptedChatModel]:
        model = ScriptedChatModel(replies=list(replies) or ["the answer"])
        hooks = guard(p, **{"context": CONTEXT, **named})
        agent = AgentInputs(agent_id="desk", model=model)
        made = await create_run(run_id="r", agents=[agent], hooks=hooks, custom_handlers={"on_message_delta": hear})
        await made.process_stream({"messages": [("user", text)]})
        return made, model

    made, model = asyncio.run(go())
    return made, model, "".join(told)


def last(made: Any) -> str:
    return made.get_run_messages()[-1].content


def test_an_input_that_is_denied_begins_no_turn() -> None:
    p = rules('at: [input], when: input.text.contains("poem"), then: {decision: deny, message: Bills alone.}')
    made, model, _ = run(p, "a poem")
    assert (made.get_halt_reason(), len(model.requests)) == ("prompt_denied", 0)
    made, model, told = run(p, "a bill")
    assert (made.get_halt_reason(), len(model.requests), told) == (None, 1, "the answer")


def test_an_input_that_is_escalated_asks_a_person() -> None:
    made, model, _ = run(rules("at: [input], then: {decision: escalate}"))
    assert (made.get_halt_reason(), len(model.requests)) == ("prompt_requires_approval", 0)


def test_an_input_cannot_be_changed_so_it_is_denied() -> None:
    made, model, _ = run(rules("at: [input], then: {decision: transform, path: $policy_target.text, value: x}"))
    assert (made.get_halt_reason(), len(model.requests)) == ("prompt_denied", 0)


@pytest.mark.parametrize("decision", ["deny", "escalate"])
def test_a_model_that_must_not_be_called_is_not(decision) -> None:
    p = rules(f"at: [pre_model_call], when: size(request.messages) > 0, then: {{decision: {decision}, message: No.}}")
    made, model, _ = run(p)
    assert (made.get_halt_reason(), len(model.requests), last(made)) == ("model_call_denied", 0, "Blocked: No.")


def test_what_a_model_is_sent_is_redacted_and_the_conversation_is_not() -> None:
    def redact(value: Any) -> Any:
        return [{**each, "content": each["content"].replace("1234", "****")} for each in value]

    then = "then: {decision: transform, path: $policy_target.messages, with: redact}"
    made, model, _ = run(rules(f"at: [pre_model_call], {then}", redact=redact), "card 1234")
    assert made.get_halt_reason() is None
    assert [each.content for each in model.requests[0].messages] == ["card ****"]


@pytest.mark.parametrize(
    "change",
    [
        "path: $policy_target.model, value: another",
        "path: $policy_target.messages, value: []",
        "path: $policy_target.messages, value: 1",
        "path: '$policy_target.messages[0].role', value: system",
        "path: '$policy_target.messages[0].content', value: 5",
        "path: $policy_target, value: 1",
    ],
)
def test_a_change_of_a_request_that_has_no_place_denies(change) -> None:
    made, model, _ = run(rules(f"at: [pre_model_call], then: {{decision: transform, {change}}}"))
    assert (made.get_halt_reason(), len(model.requests)) == ("model_call_denied", 0)


@pytest.mark.parametrize("point", ["post_model_call", "output"])
def test_an_answer_that_is_denied_is_never_told(point) -> None:
    field = "response" if point == "post_model_call" else "output"
    p = rules(f'at: [{point}], when: {field}.text.contains("secret"), then: {{decision: deny, reason: leak}}')
    made, _, told = run(p, "hello", "the secret")
    assert (made.get_halt_reason(), "the secret" in told) == ("answer_denied", False)
    assert "secret" not in last(made)
    assert run(p, "hello", "the weather")[2] == "the weather"


@pytest.mark.parametrize("point", ["post_model_call", "output"])
def test_an_answer_is_replaced_by_what_the_policy_makes_of_it(point) -> None:
    p = rules(
        f"at: [{point}], then: {{decision: transform, path: $policy_target.text, with: redact}}",
        redact=lambda text: text.replace("Ada", "***"),
    )
    made, _, told = run(p, "hello", "It was Ada.")
    assert (told, last(made)) == ("It was ***.", "It was ***.")


def test_the_output_is_what_was_made_of_the_answer() -> None:
    p = policy(
        """
rules:
  - {name: mask, at: [post_model_call], then: {decision: transform, path: $policy_target.text, value: masked}}
  - {name: check, at: [output], when: output.text == "masked", then: {decision: allow}}
  - {name: else, at: [output], then: {decision: deny}}
"""
    )
    made, _, told = run(p)
    assert (made.get_halt_reason(), told) == (None, "masked")


@pytest.mark.parametrize("change", ["path: $policy_target.tool_calls, value: []", "path: $policy_target, value: {}"])
def test_a_change_of_an_answer_that_has_no_place_denies(change) -> None:
    made, _, _ = run(
        rules(f"at: [post_model_call], then: {{decision: transform, {change}}}"), "hello", reply(call("look_up"))
    )
    assert made.get_halt_reason() == "answer_denied"


@pytest.mark.parametrize("decision", ["deny", "escalate"])
def test_a_start_that_is_refused_ends_the_turn(decision) -> None:
    p = rules(f"at: [agent_startup], then: {{decision: {decision}, reason: closed}}")
    made, model, _ = run(p)
    assert (made.get_halt_reason(), len(model.requests)) == ("closed", 0)


def test_points_at_which_the_policy_only_allows_have_no_hooks() -> None:
    hooks = guard(rules("at: [pre_tool_call], then: {decision: deny}"), context=CONTEXT)
    events = ("RunStart", "UserPromptSubmit", "BeforeModel", "AfterModel", "Stop", "StopFailure")
    assert [each for each in events if hooks.has(each)] == []
    p = PolicySet({"a": policy(""), "b": policy("defaults: {output: warn}")})
    assert [each for each in events if guard(p, context=CONTEXT).has(each)] == ["AfterModel"]


class Always:
    """A policy of somebody else."""

    digest = "0" * 64

    def __init__(self, decision: str) -> None:
        self.decision = decision

    def decide(self, point, snapshot, /) -> Verdict:
        return Verdict(Decision(self.decision))


def test_a_policy_that_does_not_say_where_it_is_asked_is_asked_everywhere() -> None:
    log = Log()
    made, _, told = run(Always("allow"), audit=log)
    assert (made.get_halt_reason(), told) == (None, "the answer")
    assert [each.data["point"] for each in log.events] == [
        "agent_startup",
        "input",
        "pre_model_call",
        "post_model_call",
        "output",
        "agent_shutdown",
    ]
    assert {(each.tenant, each.principal, each.run_id) for each in log.events} == {("acme", "acme/ann", "r")}


def test_an_answer_that_calls_tools_is_not_the_output() -> None:
    log = Log()
    made, model, told = run(Always("allow"), "hello", reply(call("look_up")), "done", audit=log)
    assert (made.get_halt_reason(), len(model.requests), told) == (None, 2, "done")
    answers = [each.data["point"] for each in log.events if each.data["point"] in ("post_model_call", "output")]
    assert answers == ["post_model_call", "post_model_call", "output"]


def test_a_policy_on_trial_is_told_of_and_changes_nothing() -> None:
    log = Log()
    p = policy("mode: evaluate_only\nrules: [{name: r, at: [input, pre_model_call, output], then: {decision: deny}}]")
    made, _, told = run(p, audit=log)
    assert (made.get_halt_reason(), told) == (None, "the answer")
    assert [(each.decision, each.data["enforced"]) for each in log.events] == [("deny", False)] * 3


@pytest.mark.parametrize("point", ["agent_startup", "input", "pre_model_call", "output"])
def test_a_verdict_that_cannot_be_recorded_does_not_let_pass(point) -> None:
    p = rules(f"at: [{point}], then: {{decision: allow}}")
    made, _, told = run(p, audit=Log(AuditUnavailable("the log is away")))
    assert made.get_halt_reason() is not None
    assert "the answer" not in told


@pytest.mark.parametrize("point", ["agent_startup", "input", "pre_model_call", "output"])
def test_without_a_session_nothing_passes(point) -> None:
    made, _, told = run(rules(f"at: [{point}], then: {{decision: allow}}"), context=None)
    assert made.get_halt_reason() is not None
    assert "the answer" not in told


def test_the_session_of_the_run_says_who_acts() -> None:
    log = Log()

    async def go() -> Any:
        agent = AgentInputs(agent_id="desk", model=ScriptedChatModel(replies=["x"]))
        hooks = guard(Always("allow"), audit=log)
        made = await create_run(run_id="r", agents=[agent], hooks=hooks, session=Session(CONTEXT))
        await made.process_stream({"messages": [("user", "hello")]})
        return made

    assert asyncio.run(go()).get_halt_reason() is None
    assert {each.principal for each in log.events} == {"acme/ann"}


def test_models_are_asked_under_the_labels_of_the_conversation(tmp_path) -> None:
    labels = SqlLabels.from_url(f"sqlite:///{tmp_path / 'labels.db'}")
    p = policy(
        """
rules:
  - {name: cloud, at: [pre_model_call], when: '"secret" in ifc.labels', then: {decision: deny, reason: stays_here}}
  - {name: note, at: [post_model_call], then: {decision: allow, labels: [secret]}}
"""
    )
    try:
        assert run(p, labels=labels)[0].get_halt_reason() is None
        assert labels.read("acme", "thread-1") == {"secret"}
        assert run(p, labels=labels)[0].get_halt_reason() == "model_call_denied"
    finally:
        labels.close()


def test_hooks_of_the_host_stay() -> None:
    hooks = HookRegistry()
    hooks.register("BeforeModel", lambda happened: None)
    assert guard(rules("at: [output], then: {decision: deny}"), hooks, context=CONTEXT) is hooks
    assert hooks.has("BeforeModel")
    assert hooks.has("AfterModel")
