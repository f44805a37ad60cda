"""Explanations and tables of cases: which rule decided, and why not the others."""

from __future__ import annotations

import pytest

from stategraph.governance.errors import PolicyError
from stategraph.governance.policy.conditions import terms
from stategraph.governance.policy.review.cases import load_cases, merged, run_cases
from stategraph.governance.policy.review.explanation import as_text, explain
from stategraph.governance.policy.review.linting import warnings
from stategraph.governance.policy.verdict import InterventionPoint
from tests.governance.policies import call, policy

TOOL = InterventionPoint.PRE_TOOL_CALL
POLICY = """
rules:
  - {name: input-only, at: [input], then: {decision: deny}}
  - {name: mail, at: [pre_tool_call], tools: ["mcp:mail/*"], then: {decision: deny}}
  - {name: large, at: [pre_tool_call], when: 'tool.name == "refund" && args.cents > 5000', then: {decision: escalate}}
  - {name: small, at: [pre_tool_call], when: args.cents <= 5000, then: {decision: allow}}
  - {name: unknown, at: [pre_tool_call], when: args.to == "x", then: {decision: deny}}
  - {name: all, at: [pre_tool_call], then: {decision: warn}}
  - {name: output, at: [output], then: {decision: warn, labels: [a, b]}}
"""


def test_each_rule_is_accounted_for() -> None:
    found = explain(policy(POLICY), TOOL, call())
    assert [(each.rule, each.finding) for each in found.findings] == [
        ("input-only", "other_point"),
        ("mail", "other_tool"),
        ("large", "not_matched"),
        ("small", "decided"),
        ("unknown", "undecided"),
        ("all", "matched"),
        ("output", "other_point"),
    ]
    lines = as_text(found).splitlines()
    assert lines[0] == "pre_tool_call: allow, by rule 'small'"
    assert lines[3].split(None, 1) == ["large", "not_matched: args.cents > 5000 is false"]
    assert "'small' comes before it" in lines[6]


def test_the_rule_that_cannot_be_decided_decides() -> None:
    found = explain(policy(POLICY), TOOL, call(args={}))
    assert found.evaluation.verdict.rule == "large"
    by_name = {each.rule: each for each in found.findings}
    assert by_name["large"].finding == "undecided"
    assert 'Key not found in map : "cents"' in by_name["large"].detail
    assert "reason: runtime_error:path_missing" in as_text(found)


@pytest.mark.parametrize("snapshot", [None, [], "x", {1: 2}, {}, {"tool": 1}])
def test_what_is_no_snapshot_is_explained_too(snapshot) -> None:
    found = explain(policy(POLICY), TOOL, snapshot)
    assert found.evaluation.verdict.decision == "deny"
    assert "deny" in as_text(found)


def test_decisions_by_default_and_on_trial_are_said() -> None:
    found = explain(policy("mode: evaluate_only"), TOOL, call(risk="destructive"))
    assert as_text(found).splitlines()[0] == "pre_tool_call: deny, by default (evaluate_only: not enforced)"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("a && b", ["a", "b"]),
        ("a&&(b && c)&& d", ["a", "(b && c)", "d"]),
        ("a && b || c", ["a && b || c"]),
        ("a ? b && c : d", ["a ? b && c : d"]),
        ('a == \'&&\' && b == "\\"&&" && c', ["a == '&&'", 'b == "\\"&&"', "c"]),
        ("a == r'\\' && b == 'c || d'", ["a == r'\\'", "b == 'c || d'"]),
        ("a == b'\\'' && b", ["a == b'\\''", "b"]),
        ("a == 'not ended && b", ["a == 'not ended && b"]),
        ("a && [b || c][0]", ["a", "[b || c][0]"]),
        ("a // x && y\n && b", ["a // x && y", "b"]),
        ('a == """&& " &&""" && b', ['a == """&& " &&"""', "b"]),
    ],
)
def test_the_terms_of_a_conjunction(source, found) -> None:
    assert terms(source) == found


CASES = """
apiVersion: stategraph.dev/v1
kind: PolicyCases
snapshot:
  tool: {id: "mcp:billing/refund@1", name: refund, risk: write}
  args: {cents: 100}
cases:
  - {name: small, expect: {decision: allow, rule: small, matched: [small, all]}}
  - {name: large, snapshot: {args: {cents: 6000}}, expect: {decision: escalate, quorum: 1, approvers: []}}
  - {name: wrong, snapshot: {args: {cents: 6000}}, expect: {decision: allow}}
  - {name: text, at: input, snapshot: {input: {text: x}}, expect: {decision: deny, target: {text: x}}}
  - {name: labels, at: output, expect: {decision: warn, labels: [b, a]}, snapshot: {output: {text: x}}}
"""


def test_a_table_of_cases(tmp_path) -> None:
    file = tmp_path / "cases.yaml"
    file.write_text(CASES)
    results = run_cases(policy(POLICY), load_cases(file))
    assert [(each.case.name, each.differences) for each in results] == [
        ("small", ()),
        ("large", ()),
        ("wrong", ("decision: expected 'allow', found 'escalate'",)),
        ("text", ()),
        ("labels", ()),
    ]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("cases:", "rows:"), "cases.yaml: rows is not a known field"),
        (("expect: {decision: allow, rule", "expect: {rule"), "case 1 ('small'): expect.decision is not there"),
        (("at: input", "at: inputs"), "case 4 ('text'): at is 'inputs'; expected one of agent_startup"),
        (("rule: small,", "rul: small,"), "case 1 ('small'): expect.rul is not a known field; did you mean 'rule'?"),
        (("kind: PolicyCases", "kind: Policy"), "kind is 'Policy'; expected one of PolicyCases"),
    ],
)
def test_an_error_in_a_table_names_the_case_and_the_field(tmp_path, change, says) -> None:
    file = tmp_path / "cases.yaml"
    file.write_text(CASES.replace(*change))
    with pytest.raises(PolicyError) as caught:
        load_cases(file)
    assert says in str(caught.value)


def test_snapshots_are_merged_field_by_field() -> None:
    assert merged({"a": {"b": 1, "c": [1]}, "d": 1}, {"a": {"c": [2]}, "d": {}}) == {"a": {"b": 1, "c": [2]}, "d": {}}


def test_warnings_about_rules_that_never_decide() -> None:
    document = policy(
        """
mode: evaluate_only
rules:
  - {name: a, at: [input], then: {decision: allow}}
  - {name: b, at: [input, output], then: {decision: deny}}
  - {name: c, at: [output], when: output.text == "", then: {decision: deny}}
  - {name: d, at: [pre_tool_call], tools: ["x:*"], then: {decision: deny}}
  - {name: e, at: [pre_tool_call], then: {decision: deny}}
"""
    ).document
    assert warnings(document) == (
        "rule 'c' never decides: 'b' before it always matches",
        "mode is evaluate_only: nothing is enforced",
    )
