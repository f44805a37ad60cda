"""Evaluation at points: snapshots, identities, transforms, annotators, and verdicts of other engines."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stategraph.governance.actions import ActionRequest, RunRef
from stategraph.governance.capability import Capability
from stategraph.governance.context import AgentRef, Principal, RuntimeSessionContext
from stategraph.governance.policy import paths, points, snapshot
from stategraph.governance.policy.limits import Limits
from stategraph.governance.policy.normalization import verdict_of
from stategraph.governance.policy.reasons import DecisionFailed
from stategraph.governance.policy.verdict import ApprovalTerms, Decision, InterventionPoint, Transform, Verdict
from tests.governance.policies import call, rules

TOOL, RESULT = InterventionPoint.PRE_TOOL_CALL, InterventionPoint.POST_TOOL_CALL

BOSS = Principal("acme", "eve", frozenset({"chief"}))
CONTEXT = RuntimeSessionContext(
    Principal("acme", "ann", frozenset({"support", "agent"}), {"iss": "x"}, BOSS), AgentRef("desk", "3"), "thread-1"
)
REFUND = Capability(
    id="mcp:billing/refund@1",
    kind="mcp",
    name="refund",
    input_schema={"type": "object"},
    version="1",
    source="billing",
    digest="0" * 64,
)
REQUEST = ActionRequest("refund", {"cents": 5}, "call-1", RunRef("run-1", "t"), CONTEXT, labels=frozenset({"b", "a"}))


@pytest.mark.parametrize(
    ("text", "root", "steps"),
    [
        ("$policy_target", "policy_target", ()),
        ("$policy_target.a-b.c[0]", "policy_target", ("a-b", "c", 0)),
        ('$snap["a.b"]["\\"é"][10]', "snap", ("a.b", '"é', 10)),
        ("$.input", "snap", ("input",)),
    ],
)
def test_paths_that_can_be_read(text, root, steps) -> None:
    path = paths.parse(text)
    assert (path.root, path.steps, path.text) == (root, steps, text)


@pytest.mark.parametrize(
    "text", ["", "a", "$a.", "$a..b", "$a[", "$a[-1]", "$a[01]", "$a['b']", "$a.b c", "$a[*]", "$a.1"]
)
def test_what_is_no_path_is_refused(text) -> None:
    with pytest.raises(ValueError, match="is no path: expected"):
        paths.parse(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("$x.b", "path_missing"),
        ("$x.a[3]", "path_missing"),
        ("$x.a.b", "path_type_mismatch"),
        ("$x[0]", "path_type_mismatch"),
        ("$x.t.u", "path_type_mismatch"),
        ("$x.t[0]", "path_type_mismatch"),
    ],
)
def test_a_path_to_nothing_is_said(text, reason) -> None:
    value = {"a": [1, {"b": 2}], "t": "text"}
    with pytest.raises(DecisionFailed) as caught:
        paths.resolve(paths.parse(text), value)
    assert caught.value.reason == f"runtime_error:{reason}"
    with pytest.raises(DecisionFailed):
        paths.replaced(paths.parse(text), value, 1)


def test_a_replacement_leaves_the_original_as_it_was() -> None:
    value = {"a": [1, {"b": 2}]}
    assert paths.replaced(paths.parse("$x.a[1].b"), value, 3) == {"a": [1, {"b": 3}]}
    assert value == {"a": [1, {"b": 2}]}


def test_the_snapshot_of_a_call() -> None:
    found = snapshot.tool_call_snapshot(REQUEST, REFUND, resource={"emails": ("x",)})
    assert found["principal"] == {
        "org_id": "acme",
        "user_id": "ann",
        "roles": ["agent", "support"],
        "claims": {"iss": "x"},
        "on_behalf_of": [{"org_id": "acme", "user_id": "eve", "roles": ["chief"], "claims": {}}],
    }
    assert (found["args"], found["ifc"], found["resource"]) == (
        {"cents": 5},
        {"labels": ["a", "b"]},
        {"emails": ["x"]},
    )
    assert found["tool"]["id"] == REFUND.id


def test_the_same_action_has_the_same_identity_and_another_one_has_another() -> None:
    def identity(request=REQUEST, capability=REFUND) -> str:
        return points.enforced_identity(TOOL, snapshot.tool_call_snapshot(request, capability))

    same = {
        identity(),
        identity(replace(REQUEST, call_id="call-2")),
        identity(replace(REQUEST, run=RunRef("run-2"))),
        identity(replace(REQUEST, view_digest="1" * 64)),
        points.evaluate(
            rules("at: [pre_tool_call], then: {decision: allow}"), TOOL, snapshot.tool_call_snapshot(REQUEST, REFUND)
        ).enforced_identity,
    }
    assert len(same) == 1
    others = {
        identity(replace(REQUEST, arguments={"cents": 6})),
        identity(replace(REQUEST, arguments={"cents": "5"})),
        identity(replace(REQUEST, labels=frozenset())),
        identity(replace(REQUEST, context=replace(CONTEXT, session_id="other"))),
        identity(replace(REQUEST, context=replace(CONTEXT, principal=BOSS))),
        identity(capability=REFUND.model_copy(update={"digest": "1" * 64})),
        identity(capability=REFUND.model_copy(update={"id": "mcp:billing/refund@2"})),
    }
    assert len(others | same) == 8


ANY = "at: [pre_tool_call], then: {{decision: {}}}"
NEVER = points.Setup(identify=lambda verdict: False)


def test_identities_are_made_only_where_they_are_wanted_and_always_of_what_is_escalated() -> None:
    allow, ask = rules(ANY.format("allow")), rules(ANY.format("escalate"))
    assert points.evaluate(allow, TOOL, call(), NEVER) == replace(
        points.evaluate(allow, TOOL, call()), input_identity=None, enforced_identity=None
    )
    assert points.evaluate(ask, TOOL, call(), NEVER) == points.evaluate(ask, TOOL, call())
    changing = rules(CENTS)
    whole = points.evaluate(changing, TOOL, call())
    assert points.evaluate(changing, TOOL, call(), points.Setup(identify=lambda verdict: True)) == whole
    unnamed = points.evaluate(changing, TOOL, call(), NEVER)
    assert (unnamed.target, unnamed.input_identity, unnamed.enforced_identity) == (whole.target, None, None)


@pytest.mark.parametrize("wrong", [float("nan"), float("-inf"), 2**53, -(2**53), [{"deep": [float("inf")]}], "\ud800"])
def test_what_has_no_identity_is_denied_also_where_none_is_wanted(wrong) -> None:
    allow = rules(ANY.format("allow"))
    for setup in (points.OWN, NEVER):
        verdict = points.evaluate(allow, TOOL, call(args={"cents": 1, "to": wrong}), setup).verdict
        assert (verdict.decision, verdict.reason) == ("deny", "runtime_error:path_type_mismatch")
    for right in (2**53 - 1, -(2**53) + 1, True, 0.5):
        assert points.evaluate(allow, TOOL, call(args={"cents": 1, "to": right}), NEVER).verdict.lets_pass


def test_identity_of_what_is_no_action_is_refused() -> None:
    for wrong in ({}, {"args": float("nan")}, {"args": {1: 2}}):
        with pytest.raises(ValueError):
            points.enforced_identity(TOOL, wrong)
    with pytest.raises(ValueError, match=r"\$policy_target\.to"):
        points.enforced_identity(TOOL, call(), Transform("$policy_target.to", 1))


SNAPSHOTS = {
    InterventionPoint.AGENT_STARTUP: snapshot.startup_snapshot(CONTEXT, ["b", "a"], "0" * 64),
    InterventionPoint.INPUT: snapshot.text_snapshot(InterventionPoint.INPUT, CONTEXT, "hello", labels=["public"]),
    InterventionPoint.PRE_MODEL_CALL: snapshot.model_request_snapshot(
        CONTEXT, [{"role": "user", "content": "hi"}], model="m", tools=["refund"]
    ),
    InterventionPoint.POST_MODEL_CALL: snapshot.model_response_snapshot(
        snapshot.model_request_snapshot(CONTEXT, [], model="m"),
        "done",
        [{"name": "refund", "args": {"cents": 1}, "id": "c"}],
    ),
    TOOL: snapshot.tool_call_snapshot(REQUEST, REFUND),
    RESULT: snapshot.tool_result_snapshot(REQUEST, REFUND, [{"type": "text", "text": "ok"}]),
    InterventionPoint.OUTPUT: snapshot.text_snapshot(
        InterventionPoint.OUTPUT, CONTEXT, [{"type": "text", "text": "x"}]
    ),
    InterventionPoint.AGENT_SHUTDOWN: snapshot.shutdown_snapshot(CONTEXT, "failed", error="ValueError"),
}
CONDITIONS = {
    InterventionPoint.AGENT_STARTUP: 'startup.capabilities == ["a", "b"]',
    InterventionPoint.INPUT: 'input.text == "hello" && ifc.labels == ["public"]',
    InterventionPoint.PRE_MODEL_CALL: 'request.messages[0].content == "hi" && "refund" in request.tools',
    InterventionPoint.POST_MODEL_CALL: 'response.text == "done" && response.tool_calls[0].args.cents == 1',
    TOOL: 'tool.kind == "mcp" && args.cents == 5 && agent.version == "3"',
    RESULT: 'result.content[0].text == "ok" && result.status == "success" && args.cents == 5',
    InterventionPoint.OUTPUT: 'output.content[0].text == "x" && session.id == "thread-1"',
    InterventionPoint.AGENT_SHUTDOWN: 'shutdown.status == "failed" && principal.on_behalf_of[0].user_id == "eve"',
}


@pytest.mark.parametrize("point", list(InterventionPoint))
def test_each_point_has_its_snapshot_and_its_target(point) -> None:
    p = rules(f"at: [{point.value}], when: '{CONDITIONS[point]}', then: {{decision: warn}}")
    done = points.evaluate(p, point, SNAPSHOTS[point])
    assert done.verdict.decision == "warn", done.verdict
    assert done.target == SNAPSHOTS[point][snapshot.TARGETS[point]]
    assert done.policy_input["policy_target"]["path"] == f"$snap.{snapshot.TARGETS[point]}"
    assert list(done.policy_input) == ["intervention_point", "policy_target", "snapshot", "annotations", "tool"]


def test_a_text_belongs_to_two_points() -> None:
    with pytest.raises(ValueError, match="pre_tool_call has no text"):
        snapshot.text_snapshot(TOOL, CONTEXT, "x")


@pytest.mark.parametrize("content", ["text", [{"type": "text", "text": "x"}], {"a": 1}, 5, None])
def test_content_comes_back_as_it_was(content) -> None:
    assert snapshot.content_of(snapshot.content_facts(content)) == content


CENTS = "at: [pre_tool_call], then: {decision: transform, path: $policy_target.cents, value: 1}"


def test_a_transform_changes_what_goes_on_and_its_identity() -> None:
    before = call()
    done = points.evaluate(rules(CENTS), TOOL, before)
    assert (done.target, done.transformed, before["args"]) == ({"cents": 1}, True, {"cents": 100})
    assert done.enforced_identity == points.enforced_identity(TOOL, before, Transform("$policy_target.cents", 1))
    assert done.enforced_identity != points.evaluate(rules(CENTS), TOOL, call(args={"cents": 7})).enforced_identity
    assert done.input_identity == points.enforced_identity(TOOL, before)


def test_a_transform_that_is_not_enforced_is_checked_and_not_applied() -> None:
    trial = points.Setup(enforce=False)
    done = points.evaluate(rules(CENTS), TOOL, call(), trial)
    assert (done.verdict.decision, done.verdict.enforced, done.transformed) == ("transform", False, False)
    assert done.enforced_identity == done.input_identity
    assert points.evaluate(rules(CENTS), TOOL, call(args={}), trial).verdict.reason == "runtime_error:transform_invalid"


def test_a_transform_that_makes_the_snapshot_too_large_denies() -> None:
    p = rules(f"at: [pre_tool_call], then: {{decision: transform, path: $policy_target.cents, value: {'x' * 900}}}")
    done = points.evaluate(p, TOOL, call(), points.Setup(limit=Limits(snapshot_bytes=1000)))
    assert done.verdict.reason == "runtime_error:resource_limit_exceeded"


def test_a_snapshot_that_is_too_deep_denies() -> None:
    deep: list = []
    for _ in range(70):
        deep = [deep]
    done = points.evaluate(rules(CENTS), TOOL, call(args={"cents": deep}))
    assert (done.verdict.reason, done.policy_input) == ("runtime_error:resource_limit_exceeded", None)


@pytest.mark.parametrize("levels", [300, 900, 20_000])
def test_a_snapshot_of_content_that_is_nested_without_end_denies(levels) -> None:
    nested = {}
    for _ in range(levels):
        nested = [nested]
    facts = {**call(), "result": snapshot.content_facts([nested])}
    verdict = points.evaluate(rules("at: [post_tool_call], then: {decision: allow}"), "post_tool_call", facts).verdict
    assert (verdict.decision, verdict.reason) == (Decision.DENY, "runtime_error:resource_limit_exceeded")


def asking(annotate, **limits) -> points.Setup:
    place = replace(points.POINTS[TOOL], annotations={"pii": paths.parse("$policy_target.cents")})
    return points.Setup(points={TOOL: place}, annotate=annotate, limit=Limits(**limits))


def test_annotations_are_read_by_conditions_and_belong_to_the_identity() -> None:
    p = rules("at: [pre_tool_call], when: annotations.pii.found, then: {decision: deny, reason: pii}")
    found = points.evaluate(p, TOOL, call(), asking(lambda name, value, given: {"found": value == 100}))
    assert found.verdict.reason == "pii"
    clean = points.evaluate(p, TOOL, call(), asking(lambda name, value, given: {"found": False}))
    assert (clean.verdict.decision, clean.input_identity == found.input_identity) == ("escalate", False)


@pytest.mark.parametrize(
    ("output", "limits", "reason"),
    [
        ({"reason": "runtime_error:x"}, {}, "annotation_failed"),
        ({"text": "x" * 100}, {"annotation_bytes": 50}, "annotation_failed"),
        (object(), {}, "annotation_failed"),
        ({}, {"annotators": 0}, "resource_limit_exceeded"),
    ],
)
def test_an_annotation_that_cannot_be_used_denies(output, limits, reason) -> None:
    p = rules("at: [pre_tool_call], then: {decision: allow}")
    done = points.evaluate(p, TOOL, call(), asking(lambda name, value, given: output, **limits))
    assert (done.verdict.decision, done.verdict.reason) == ("deny", f"runtime_error:{reason}")


def test_an_annotator_that_nobody_calls_denies() -> None:
    done = points.evaluate(rules("at: [pre_tool_call], then: {decision: allow}"), TOOL, call(), asking(None))
    assert done.verdict.reason == "runtime_error:annotation_failed"


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (None, "policy_output_invalid"),
        ({"decision": "allow", "more": 1}, "policy_output_invalid"),
        ({"decision": ["allow"]}, "policy_output_invalid"),
        ({"decision": "allow", "reason": 1}, "policy_output_invalid"),
        ({"decision": "allow", "message": []}, "policy_output_invalid"),
        ({"decision": "deny", "reason": "runtime_error:x"}, "policy_output_invalid"),
        ({"decision": "allow", "evidence": "x"}, "policy_output_invalid"),
        ({"decision": "allow", "result_labels": "x"}, "policy_output_invalid"),
        ({"decision": "allow", "result_labels": [1]}, "policy_output_invalid"),
        ({"decision": "allow", "transform": {}}, "policy_output_invalid"),
        ({"decision": "transform"}, "policy_output_invalid"),
        ({"decision": "transform", "transform": 1}, "policy_output_invalid"),
        ({"decision": "transform", "transform": {"path": "$policy_target"}}, "transform_invalid"),
        ({"decision": "transform", "transform": {"path": 1, "value": 1}}, "transform_invalid"),
        ({"decision": "transform", "transform": {"path": "x", "value": 1}}, "transform_invalid"),
        ({"decision": "transform", "transform": {"path": "$tool", "value": 1}}, "transform_target_forbidden"),
        ({"decision": "allow", "approval": {}}, "policy_output_invalid"),
        ({"decision": "escalate", "approval": []}, "policy_output_invalid"),
        ({"decision": "escalate", "approval": {"approvers": "x"}}, "policy_output_invalid"),
        ({"decision": "escalate", "approval": {"quorum": True}}, "policy_output_invalid"),
        ({"decision": "escalate", "approval": {"expires_s": 0}}, "policy_output_invalid"),
        ({"decision": "escalate", "approval": {"expires_s": 10**8}}, "policy_output_invalid"),
        ({"decision": "allow", "message": "x" * 70_000}, "resource_limit_exceeded"),
        ({"decision": object()}, "policy_output_invalid"),
    ],
)
def test_a_verdict_that_cannot_be_used_is_refused(output, reason) -> None:
    with pytest.raises(DecisionFailed) as caught:
        verdict_of(output)
    assert caught.value.reason == f"runtime_error:{reason}"


def test_a_verdict_of_another_engine() -> None:
    approval = {"approvers": ["role:x"], "quorum": 2, "expires_s": 60}
    output = {"decision": "escalate", "reason": "r", "message": "m", "approval": approval, "result_labels": ["a"]}
    assert verdict_of(output) == Verdict(
        Decision.ESCALATE, "r", "m", approval=ApprovalTerms(("role:x",), 2, 60.0), labels=frozenset({"a"})
    )


class Silent:
    """A policy that cannot say what it is."""

    @property
    def digest(self) -> str:
        raise RuntimeError("hunter2")

    def decide(self, point, snapshot, /) -> Verdict:
        raise RuntimeError("hunter2")


def test_a_policy_that_raises_denies() -> None:
    done = points.evaluate(Silent(), TOOL, call())
    assert (done.verdict.decision, done.verdict.reason) == ("deny", "runtime_error:policy_invocation_failed")
    assert "hunter2" not in done.verdict.message
    assert done.enforced_identity == points.enforced_identity(TOOL, call())


@pytest.mark.parametrize("point", [None, 1, [], "nowhere"])
def test_a_point_that_there_is_not_denies(point) -> None:
    done = points.evaluate(rules(CENTS), point, call())
    assert done.verdict.reason == "runtime_error:intervention_point_unknown"


def test_only_what_was_escalated_is_confirmed() -> None:
    done = points.evaluate(rules("at: [pre_tool_call], then: {decision: deny, reason: no}"), TOOL, call())
    assert points.confirmed(done, done.enforced_identity) is done.verdict
