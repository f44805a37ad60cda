"""Policy files: what is read, and that an error names the file, the rule and the field."""

from __future__ import annotations

import json

import pytest

from stategraph.governance.context import Budget
from stategraph.governance.errors import PolicyError
from stategraph.governance.policy.files import load_policy, parse_policy
from stategraph.governance.policy.flow import Flow
from tests.governance.policies import HEAD, policy

RULE = "at: [pre_tool_call], then: {decision: allow}"


def refused(spec: str) -> str:
    """Return why a spec is refused."""
    with pytest.raises(PolicyError) as caught:
        policy(spec)
    return str(caught.value)


def rule(body: str) -> str:
    return f"rules: [{{name: mail, {body}}}]"


def then(body: str) -> str:
    return rule(f"at: [input], then: {{{body}}}")


def when(condition: str) -> str:
    return rule(f"at: [input], when: {json.dumps(condition)}, then: {{decision: deny}}")


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (
            "mode: enforced",
            "p.yaml: spec.mode is 'enforced'; expected one of enforce, evaluate_only; did you mean 'enforce'?",
        ),
        ("rule: []", "p.yaml: spec.rule is not a known field; did you mean 'rules'?"),
        ("rules: {}", "p.yaml: spec.rules is dict; expected a list of rules"),
        ("rules: [allow]", "p.yaml: rule 1: is 'allow'; expected an object with fields"),
        (f"rules: [{{{RULE}}}]", "p.yaml: rule 1: name is not there; it is required"),
        (f"rules: [{{name: a, {RULE}}}, {{name: a, {RULE}}}]", "p.yaml: rule 'a': name is used by an earlier rule"),
        (rule("then: {decision: allow}"), "p.yaml: rule 'mail': at is not there; it is required"),
        (
            rule("at: pre_tool_call, then: {decision: allow}"),
            "rule 'mail': at is 'pre_tool_call'; expected a list of texts",
        ),
        (rule("at: [pre_tool_cal], then: {decision: allow}"), "did you mean 'pre_tool_call'?"),
        (rule("at: [input, input], then: {decision: allow}"), "rule 'mail': at names 'input' twice"),
        (rule("at: [input]"), "rule 'mail': then is not there; it is required"),
        (rule("at: [input], then: allow"), "rule 'mail': then is 'allow'; expected an object with fields"),
        (then("decision: block"), "rule 'mail': then.decision is 'block'; expected one of allow, deny,"),
        (then("decision: deny, quorum: 2"), "then.quorum belongs to the decision escalate"),
        (then("decision: allow, path: $policy_target"), "then.path belongs to the decision transform"),
        (then('decision: deny, reason: "runtime_error:x"'), "then.reason is 'runtime_error:x'; reasons that"),
        (then("decision: deny, labels: [secret]"), "then.labels is given, but what is denied"),
        (then("decision: escalate, quorum: 0"), "then.quorum is 0; expected a whole number from 1"),
        (then("decision: escalate, approvers: [user:a], quorum: 2"), "then.quorum is 2; then.approvers names fewer"),
        (then("decision: escalate, quorum: true"), "then.quorum is True; expected a whole number"),
        (then("decision: escalate, expires: soon"), "then.expires is 'soon'; expected a duration such as"),
        (then("decision: escalate, expires: 31d"), "up to 30d"),
        (then("decision: escalate, approvers: [security]"), "then.approvers names 'security'; expected role:"),
        (then("decision: transform, path: $snap.input, value: 1"), "a transform may only change $policy_target"),
        (then("decision: transform, path: text, value: 1"), "then.path cannot be read: 'text' is no path"),
        (then("decision: transform, path: $policy_target"), "then.value or with is required"),
        (then("decision: transform, path: $policy_target, value: 1, with: redact"), "and not both"),
        (then("decision: transform, path: $policy_target, with: redakt"), "did you mean 'redact'?"),
        (then("decision: transform, path: $policy_target, with: redact"), "pass redact="),
        (
            rule('at: [input], tools: ["mcp:*"], then: {decision: deny}'),
            "rule 'mail': tools is given, but the rule is also at input",
        ),
        (
            when("args.x == 1"),
            "rule 'mail': when: line 1, column 5: undeclared reference to 'args.x'; known at its points: agent,",
        ),
        (
            rule("at: [pre_tool_call, input], when: args.x == 1, then: {decision: deny}"),
            "undeclared reference to 'args.x'",
        ),
        (when("1 +"), "rule 'mail': when: line 1, column 4: Syntax error"),
        (when("1 + 1"), "when: the expression is of type INT; a condition is true or false"),
        (when("now() > 1"), "undeclared reference to 'now'"),
        (when("(" * 64 + "true" + ")" * 64), "when: the expression is nested too deeply; at most 32"),
        (when(f"'{'x' * 5000}' == ''"), "when: the expression is longer than 4,096 bytes"),
        ("defaults: {reed: allow}", "spec.defaults.reed is not a known field; did you mean 'read'?"),
        ("defaults: {pre_tool_call: allow}", "spec.defaults.pre_tool_call is not a known field"),
        (
            "defaults: {read: transform}",
            "spec.defaults.read is 'transform'; expected one of allow, deny, warn, escalate",
        ),
        ("budgets: {per_run: {tokens: 1.5}}", "spec.budgets.per_run.tokens is 1.5; expected a whole number from 0"),
        ("budgets: {per_run: {usd: -1}}", "spec.budgets.per_run.usd is -1; expected a number from 0"),
        ("budgets: {per_run: {wall: 1:30}}", "spec.budgets.per_run.wall is '1:30'; expected a duration"),
        ("budgets: {tokens: 1}", "spec.budgets.tokens is not a known field"),
        ("flow: {clearance: {'mcp:*': top}}", "spec.flow.clearance.mcp:* is 'top'; expected one of public, internal"),
        ("flow: {clearance: {}, produces: {'mcp:*': [top]}}", "names 'top', which is none of the levels"),
        ("flow: {levels: [public]}", "spec.flow.clearance is not there"),
        ("data: [1]", "spec.data is [1]; expected an object with fields"),
        ("data: {n: 9007199254740992}", "p.yaml: This value has no canonical form in JSON"),
        ("mode: &a enforce\ndata: {x: *a}", "p.yaml, line 6, column 13: aliases (*name) are not read"),
        ("mode: enforce\nmode: evaluate_only", "p.yaml, line 6, column 3: the key 'mode' is written twice"),
        ("data: {1: x}", "the key '1' is no text; write it in quotes"),
        ("data: !!python/name:os.system ''", "could not determine a constructor"),
        ("data: {x: !!binary aGk=}", "is no plain value"),
        ("data: [", "p.yaml, line "),
    ],
)
def test_an_error_names_the_file_the_rule_and_the_field(spec, says) -> None:
    assert says in refused(spec)


@pytest.mark.parametrize(
    ("condition", "says"),
    [
        ("args.cents <= data.smal", "there is no 'data.smal'; did you mean 'data.small'?"),
        ('data["smal"] == 1', "there is no 'data.smal'; did you mean"),
        ("data.limits.x > 1", "there is no 'data.limits.x'; 'data.limits' has day"),
        ('tool.nam == "refund"', "there is no 'tool.nam'; did you mean 'tool.name'?"),
        ('tool.nam.startsWith("re")', "there is no 'tool.nam'"),
        ('args.a == "x" || !("x" in principal.role)', "there is no 'principal.role'; did you mean"),
        ("has(agent.name)", "there is no 'agent.name'; 'agent' has id, version"),
        ("args.to.exists(t, t == session.user)", "there is no 'session.user'"),
    ],
)
def test_a_name_that_a_fixed_part_cannot_have_is_an_error_of_the_file(condition, says) -> None:
    text = rule(f"at: [pre_tool_call], when: {json.dumps(condition)}, then: {{decision: deny}}")
    assert f"p.yaml: rule 'mail': when: {says}" in refused(f"data: {DATA}\n{text}")


DATA = "{small: 5, known: [{to: eve}], limits: {day: 5}}"


@pytest.mark.parametrize(
    "condition",
    [
        "args.data.smal == 1 && args.tool.nam == 2",
        "data.limits.day > 1 && data.known[0].address == 1",
        "principal.claims.team.name == 'a' && principal.on_behalf_of.exists(p, p.user_id == 'ann')",
        "args.rows.exists(tool, tool.nam == 1)",
        "'data.smal' == args.x // tool.nam",
        "tool.name.startsWith('a') && resource.x.y && annotations.z && tool[args.field] == 'a'",
        "data.known.all(each, each.to != args.to)",
    ],
)
def test_names_that_may_exist_are_no_error_of_the_file(condition) -> None:
    text = rule(f"at: [pre_tool_call], when: {json.dumps(condition)}, then: {{decision: deny}}")
    assert policy(f"data: {DATA}\n{text}").document.rules[0].when == condition


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "p.yaml: is empty; expected an object with fields"),
        ("a\n", "p.yaml: is 'a'; expected an object"),
        (HEAD.replace("v1", "v2"), "p.yaml: apiVersion is 'stategraph.dev/v2'; expected one of stategraph.dev/v1"),
        (HEAD.replace("kind: Policy", "kind: Polcy"), "p.yaml: kind is 'Polcy'; expected one of Policy; did you mean"),
        (HEAD, "p.yaml: spec is not there; it is required"),
        (HEAD.replace("{name: p}", "{}") + "spec: {}", "p.yaml: metadata.name is not there"),
        (HEAD + "spec: {}\n---\na: b\n", "expected a single document"),
    ],
)
def test_a_file_that_is_no_policy_is_refused(text, says) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_policy(text, source="p.yaml")
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read: No such file"),
        (b"\xff", "is not UTF-8"),
        (b"#" * 1_100_000, "larger than 1,048,576 bytes"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, content, says) -> None:
    file = tmp_path / "policy.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(PolicyError, match=r"policy\.yaml: the file") as caught:
        load_policy(file)
    assert says in str(caught.value)


def test_what_a_file_says() -> None:
    document = parse_policy(
        """
apiVersion: stategraph.dev/v1
kind: Policy
metadata: {name: default, namespace: acme, description: no and yes}
spec:
  mode: evaluate_only
  budgets: {per_run: {tokens: 200000, usd: 2.50, tool_calls: 100, wall: 20m}, on_limit: deny}
  flow: {clearance: {"mcp:mail/*": internal}, unlabelled: public, produces: {"mcp:vault/*": [secret]}}
  data: {country: no, list: [1, 2.5, -3, null, true]}
"""
    ).document
    assert (document.name, document.namespace, document.mode) == ("default", "acme", "evaluate_only")
    assert document.budget == Budget(200_000, 2.5, 100, 1200.0, "deny")
    assert document.flow == Flow(
        clearance={"mcp:mail/*": "internal"}, unlabelled="public", produces={"mcp:vault/*": ("secret",)}
    )
    assert document.data == {"country": "no", "list": [1, 2.5, -3, None, True]}


def test_json_is_yaml(tmp_path) -> None:
    file = tmp_path / "policy.json"
    file.write_text('{"apiVersion": "stategraph.dev/v1", "kind": "Policy", "metadata": {"name": "p"}, "spec": {}}')
    assert load_policy(file).name == "p"


def test_a_thousand_rules_are_the_most() -> None:
    lines = "\n".join(f"- {{name: r{n}, {RULE}}}" for n in range(1001))
    assert "spec.rules has 1,001 rules; at most 1,000" in refused(f"rules:\n{lines}")
