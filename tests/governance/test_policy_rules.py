"""Policies of rules: which rule decides, what is recorded, and that what cannot be decided is denied."""

from __future__ import annotations

import json
import threading

import pytest

from stategraph.governance.policy.limits import Limits
from stategraph.governance.policy.verdict import ApprovalTerms, Decision, InterventionPoint, Transform
from tests.governance.policies import COMMON, call, policy, rules

TOOL, RESULT = InterventionPoint.PRE_TOOL_CALL, InterventionPoint.POST_TOOL_CALL
ALLOW = "then: {decision: allow}"
DENY = "then: {decision: deny, reason: no}"


def at(condition: str, then: str = ALLOW, point: str = "pre_tool_call") -> str:
    return f"at: [{point}], when: {json.dumps(condition)}, {then}"


def test_the_first_rule_that_matches_decides_and_all_that_match_are_recorded() -> None:
    p = rules(at("args.cents > 1000", DENY), at("args.cents > 10"), at("args.cents > 1", DENY))
    verdict = p.decide(TOOL, call())
    assert (verdict.decision, verdict.rule, verdict.matched) == (Decision.ALLOW, "r2", ("r2", "r3"))
    assert p.decide(TOOL, call(args={"cents": 2000})).matched == ("r1", "r2", "r3")
    assert verdict.policy_digest == p.digest


@pytest.mark.parametrize(
    ("risk", "decision"), [("read", "allow"), ("write", "escalate"), ("external", "escalate"), ("destructive", "deny")]
)
def test_without_a_rule_the_risk_of_the_tool_decides(risk, decision) -> None:
    verdict = rules(at("args.cents > 1000", DENY)).decide(TOOL, call(risk=risk))
    assert (verdict.decision, verdict.rule) == (decision, None)
    assert verdict.reason == ("denied_by_default" if decision == "deny" else None)
    assert verdict.approval == (ApprovalTerms() if decision == "escalate" else None)


def test_a_policy_sets_its_own_defaults() -> None:
    p = policy("defaults: {write: warn, output: deny}")
    assert p.decide(TOOL, call()).decision == "warn"
    assert p.decide(TOOL, call(risk="read")).decision == "allow"
    assert p.decide(InterventionPoint.OUTPUT, {**COMMON, "output": {"text": "x"}}).decision == "deny"
    assert p.decide(InterventionPoint.INPUT, {**COMMON, "input": {"text": "x"}}).decision == "allow"


@pytest.mark.parametrize("risk", ["", "harmless", "READ"])
def test_a_risk_that_is_none_denies(risk) -> None:
    verdict = policy("").decide(TOOL, call(risk=risk))
    assert (verdict.decision, verdict.reason) == ("deny", "runtime_error:path_type_mismatch")


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ("args.missing == 1", "path_missing"),
        ("!(args.missing == 1)", "path_missing"),
        ("args.missing != 1", "path_missing"),
        ("args.cents.deeper == 1", "path_type_mismatch"),
        ('args.cents > "a"', "path_type_mismatch"),
        ("args.cents", "path_type_mismatch"),
        ("args.cents / 0 == 1", "policy_invocation_failed"),
        ('tool.name.matches("[" + tool.name)', "policy_invocation_failed"),
        ("annotations.pii == true", "path_missing"),
    ],
)
@pytest.mark.parametrize("then", [ALLOW, DENY])
def test_a_condition_that_is_neither_true_nor_false_denies(condition, reason, then) -> None:
    verdict = rules(at(condition, then), at("true")).decide(TOOL, call())
    assert (verdict.decision, verdict.reason, verdict.rule) == ("deny", f"runtime_error:{reason}", "r1")
    assert verdict.matched == ()


def test_a_rule_that_cannot_be_decided_after_the_first_match_changes_nothing() -> None:
    verdict = rules(at("true"), at("args.missing == 1", DENY), at("true")).decide(TOOL, call())
    assert (verdict.decision, verdict.matched) == ("allow", ("r1", "r3"))


def test_a_message_never_quotes_the_snapshot() -> None:
    p = rules(at("args.lookup[args.key] == 1"))
    verdict = p.decide(TOOL, call(args={"lookup": {}, "key": "hunter2"}))
    assert verdict.decision == "deny"
    assert "hunter2" not in verdict.message


def test_has_asks_for_a_field_without_denying() -> None:
    p = rules(at("has(args.to) && args.to == 'x'", DENY), at("true"))
    assert p.decide(TOOL, call()).decision == "allow"
    assert p.decide(TOOL, call(args={"to": "x"})).decision == "deny"


@pytest.mark.parametrize("lacks", ["tool", "args", "principal", "ifc"])
def test_a_snapshot_that_lacks_a_field_denies(lacks) -> None:
    p = rules(at("args.cents > 0 && 'support' in principal.roles && size(ifc.labels) == 0 && tool.risk == 'write'"))
    assert p.decide(TOOL, call()).decision == "allow"
    verdict = p.decide(TOOL, {name: each for name, each in call().items() if name != lacks})
    assert (verdict.decision, verdict.reason) == ("deny", "runtime_error:path_missing")


@pytest.mark.parametrize("field", ["id", "name", "risk"])
@pytest.mark.parametrize("value", [None, 1, {}])
def test_a_tool_that_cannot_be_named_denies(field, value) -> None:
    snapshot = call()
    snapshot["tool"] = {**snapshot["tool"], field: value}
    p = rules('at: [pre_tool_call], tools: ["mcp:other/*"], then: {decision: deny}', at("true"))
    assert p.decide(TOOL, snapshot).reason == "runtime_error:path_missing"


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [("mcp:billing/*", True), ("mcp:billing/refund", True), ("*@1", True), ("*@2", False), ("mcp:mail/*", False)],
)
def test_a_rule_is_for_the_tools_that_it_names(pattern, matches) -> None:
    p = rules(f'at: [pre_tool_call], tools: ["{pattern}"], {ALLOW}')
    assert (p.decide(TOOL, call()).rule == "r1") is matches


def test_a_rule_without_a_condition_always_matches_at_its_points() -> None:
    p = rules(f"at: [input, output], {DENY}")
    assert p.decide(InterventionPoint.INPUT, {}).decision == "deny"
    assert p.decide(TOOL, call(risk="read")).decision == "allow"


def test_terms_of_an_approval() -> None:
    p = rules(at("true", "then: {decision: escalate, approvers: [role:security, user:eve], quorum: 2, expires: 1h}"))
    assert p.decide(TOOL, call()).approval == ApprovalTerms(("role:security", "user:eve"), 2, 3600.0)


def test_a_transform_sets_a_value_or_redacts_what_is_there() -> None:
    p = rules(at("tool.name == 'refund'", "then: {decision: transform, path: $policy_target.cents, value: 5}"))
    assert p.decide(TOOL, call()).transform == Transform("$policy_target.cents", 5)
    q = rules(
        "at: [post_tool_call], then: {decision: transform, path: $policy_target.text, with: redact}",
        redact=lambda text: text.replace("key", "***"),
    )
    assert q.decide(RESULT, call(result={"text": "a key"})).transform == Transform("$policy_target.text", "a ***")


def test_a_redaction_of_what_is_not_there_denies() -> None:
    q = rules("at: [post_tool_call], then: {decision: transform, path: $policy_target.text, with: redact}", redact=str)
    assert q.decide(RESULT, call(result={"content": []})).reason == "runtime_error:transform_invalid"


def test_a_redactor_that_raises_denies_and_its_words_are_not_repeated() -> None:
    def redact(value):
        raise ValueError(f"cannot redact {value}")

    q = rules("at: [post_tool_call], then: {decision: transform, path: $policy_target, with: redact}", redact=redact)
    verdict = q.decide(RESULT, call(result={"text": "hunter2"}))
    assert (verdict.decision, verdict.reason) == ("deny", "runtime_error:policy_invocation_failed")
    assert "hunter2" not in verdict.message


def test_constants_of_the_policy_are_read_as_data_and_cannot_be_given_by_a_snapshot() -> None:
    p = policy(f"data: {{most: 50}}\nrules: [{{name: r, at: [pre_tool_call], when: args.cents > data.most, {DENY}}}]")
    assert p.decide(TOOL, call(data={"most": 1000})).decision == "deny"


def test_evaluate_only_decides_the_same_and_enforces_nothing() -> None:
    verdict = policy(f"mode: evaluate_only\nrules: [{{name: r, at: [pre_tool_call], {DENY}}}]").decide(TOOL, call())
    assert (verdict.decision, verdict.enforced, verdict.lets_pass) == ("deny", False, True)


def test_the_digest_changes_with_what_is_decided_and_not_with_how_it_is_written() -> None:
    one = rules(at("args.cents > 1"))
    assert (
        rules("then: {decision: allow}, when: 'args.cents > 1', at: ['pre_tool_call'] # a comment\n   ").digest
        == one.digest
    )
    assert rules(at("args.cents > 2")).digest != one.digest
    assert rules(at("args.cents > 1"), at("false")).digest != one.digest


@pytest.mark.parametrize(
    ("snapshot", "reason"),
    [
        ("text", "path_type_mismatch"),
        ([], "path_type_mismatch"),
        (None, "path_type_mismatch"),
        ({**COMMON, 1: 2}, "path_type_mismatch"),
        (call(args=object()), "path_type_mismatch"),
        (call(args="\ud800"), "path_type_mismatch"),
        (call(args=2**70), "path_type_mismatch"),
        (call(args="x" * 300_000), "resource_limit_exceeded"),
    ],
)
def test_what_is_no_snapshot_denies(snapshot, reason) -> None:
    verdict = rules(at("true")).decide(TOOL, snapshot)
    assert (verdict.decision, verdict.reason) == ("deny", f"runtime_error:{reason}")


@pytest.mark.parametrize("point", ["somewhere", "", None, 7, []])
def test_a_point_that_there_is_not_denies(point) -> None:
    verdict = rules(at("true")).decide(point, call())
    assert (verdict.decision, verdict.reason.partition(":")[0]) == ("deny", "runtime_error")


def test_a_list_with_too_many_items_for_a_condition_denies() -> None:
    p = rules(at("args.all(x, x >= 0)"))
    assert p.decide(TOOL, call(args=[1] * 9_000)).decision == "allow"
    assert p.decide(TOOL, call(args=[1] * 11_000)).reason == "runtime_error:resource_limit_exceeded"


def test_rules_that_take_too_long_deny() -> None:
    p = rules(*[at(f"args.all(x, x >= {n} - {n})", DENY) for n in range(32)], limit=Limits(cpu_s=1e-9))
    assert p.decide(TOOL, call(args=[-1])).reason == "runtime_error:resource_limit_exceeded"


def test_one_policy_decides_in_many_threads() -> None:
    p = rules(*[at(f"args.cents == {n}", DENY) for n in range(20)])
    wrong = list[object]()

    def ask(cents: int) -> None:
        for _ in range(300):
            verdict = p.decide(TOOL, call(args={"cents": cents}, risk="read"))
            if verdict.rule != f"r{cents + 1}":
                wrong.append(verdict)

    threads = [threading.Thread(target=ask, args=(cents,)) for cents in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert wrong == []


def test_a_policy_says_at_which_points_it_does_anything_but_allow() -> None:
    assert [point for point in InterventionPoint if policy("").asks_at(point)] == [TOOL]
    more = policy("defaults: {output: warn}\nrules: [{name: r, at: [input], then: {decision: allow}}]")
    assert [point for point in InterventionPoint if more.asks_at(point)] == [
        InterventionPoint.INPUT,
        TOOL,
        InterventionPoint.OUTPUT,
    ]
    # Results are decided about by a rule, by a default of their own, and where a tool brings labels.
    for text in (
        "rules: [{name: r, at: [post_tool_call], then: {decision: allow}}]",
        "defaults: {post_tool_call: warn}",
        'flow: {clearance: {"mcp:mail/*": internal}, produces: {"mcp:vault/*": [secret]}}',
    ):
        assert policy(text).asks_at(RESULT)
