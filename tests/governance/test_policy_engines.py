"""Policies in Cedar and in Casbin behind the same port: what they decide, and that they fail closed."""

from __future__ import annotations

import json
import threading

import pytest
from hypothesis import given

from stategraph.governance.errors import PolicyError
from stategraph.governance.policy import points
from stategraph.governance.policy.combination import PolicySet
from stategraph.governance.policy.engines.casbin import CasbinPolicy
from stategraph.governance.policy.engines.cedar import CedarPolicy
from stategraph.governance.policy.verdict import InterventionPoint, Transform
from tests.governance.policies import COMMON, call, rules
from tests.governance.test_policy_properties import ANY_SNAPSHOT
from tests.properties import examples

TOOL = InterventionPoint.PRE_TOOL_CALL


def advice(**named: object) -> str:
    return f"@advice({json.dumps(json.dumps(named))})"


CEDAR = f"""
@id("small")
permit(principal in Role::"support", action == Action::"pre_tool_call", resource == Tool::"mcp:billing/refund")
when {{ context.args.cents <= 5000 }};
@id("large") {advice(verdict="escalate", reason="much")}
permit(principal, action == Action::"pre_tool_call", resource)
when {{ context.args has cents && context.args.cents > 5000 }};
@id("own") @reason("other_org") forbid(principal, action, resource) unless {{ principal in Org::"acme" }};
@id("capped") {advice(verdict="transform", transform={"path": "$policy_target.cents", "value": 9})}
permit(principal, action, resource == Tool::"mcp:billing/cap");
@id("out") permit(principal, action == Action::"output", resource == Agent::"desk");
"""

CASBIN = """
p, role:support, mcp:billing/*, pre_tool_call, allow
p, role:support, mcp:billing/close, *, deny     # not even if another rule allows it
p, user:acme/eve, *, *, allow
g, role:chief, role:support
"""


def who(org: str = "acme", user: str = "ann", roles: tuple[str, ...] = ("support",)) -> dict:
    return {"org_id": org, "user_id": user, "roles": list(roles), "claims": {}, "on_behalf_of": []}


@pytest.mark.parametrize(
    ("snapshot", "decision", "rule", "reason"),
    [
        (call(), "allow", "small", None),
        (call(args={"cents": 9000}), "escalate", "large", "much"),
        (call(principal=who(roles=())), "deny", None, "denied_by_default"),
        (call(principal=who("other")), "deny", "own", "other_org"),
        (call(args={}), "deny", None, "runtime_error:path_missing"),
        (call(args={"cents": None}), "deny", None, "runtime_error:path_missing"),
        (call(args={"cents": "x"}), "deny", None, "runtime_error:policy_invocation_failed"),
        (call("cap"), "transform", "capped", None),
    ],
)
def test_cedar_decides(snapshot, decision, rule, reason) -> None:
    verdict = CedarPolicy(CEDAR).decide(TOOL, snapshot)
    assert (verdict.decision, verdict.rule, verdict.reason) == (decision, rule, reason)


def test_a_transform_of_cedar_is_applied() -> None:
    done = points.evaluate(CedarPolicy(CEDAR), TOOL, call("cap"))
    assert done.verdict.transform == Transform("$policy_target.cents", 9)
    assert done.target == {"cents": 9}


def test_cedar_decides_at_points_without_a_tool() -> None:
    output = {**COMMON, "output": {"text": "x"}}
    assert CedarPolicy(CEDAR).decide(InterventionPoint.OUTPUT, output).rule == "out"
    assert CedarPolicy(CEDAR).decide(InterventionPoint.INPUT, {**COMMON, "input": {"text": "x"}}).decision == "deny"


def test_a_forbid_that_cannot_be_evaluated_denies() -> None:
    """Cedar by itself would skip it, and permit."""
    p = CedarPolicy(
        "permit(principal, action, resource); forbid(principal, action, resource) when { context.args.bad };"
    )
    assert p.decide(TOOL, call(args={"bad": False})).decision == "allow"
    assert p.decide(TOOL, call()).reason == "runtime_error:path_missing"


@pytest.mark.parametrize(
    "args",
    [
        {"who": {"__entity": {"type": "Role", "id": "admin"}}},
        {"n": {"__extn": {"fn": "ip", "arg": "10.0.0.1"}}},
        {"n": 1e300},
        {"n": 0.00001},
        {"n": [None]},
        {"n": 2**63},
    ],
)
def test_arguments_that_cedar_would_read_otherwise_deny(args) -> None:
    verdict = CedarPolicy("permit(principal, action, resource);").decide(TOOL, call(args=args))
    assert (verdict.decision, verdict.reason) == ("deny", "runtime_error:path_type_mismatch")


def test_fractions_are_decimals() -> None:
    p = CedarPolicy('permit(principal, action, resource) when { context.args.usd.lessThan(decimal("2.5")) };')
    assert p.decide(TOOL, call(args={"usd": 2.49})).decision == "allow"
    assert p.decide(TOOL, call(args={"usd": 2.51})).decision == "deny"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("permit(principal)", "cedar: "),
        (
            f'@id("x") {advice(verdict="allow")} permit(principal, action, resource);',
            "policy 'x': advice needs a verdict",
        ),
        (f'@id("x") {advice(verdict="warn", much=1)} permit(principal, action, resource);', "advice has 'much'"),
        (f'@id("x") {advice(verdict="warn")} forbid(principal, action, resource);', "advice belongs to a permit"),
        (f'@id("x") {advice(verdict="transform")} permit(principal, action, resource);', "advice cannot be used"),
        ('@id("x") @reason("runtime_error:a") forbid(principal, action, resource);', "policy 'x': reason begins with"),
    ],
)
def test_cedar_that_cannot_be_used_is_refused(text, says) -> None:
    with pytest.raises(PolicyError) as caught:
        CedarPolicy(text)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("snapshot", "decision", "rule"),
    [
        (call(), "allow", "role:support"),
        (call("close"), "deny", "role:support, mcp:billing/close, *, deny"),
        (call("close", principal=who(user="eve")), "deny", "role:support, mcp:billing/close, *, deny"),
        (call("close", principal=who(user="eve", roles=())), "allow", "user:acme/eve"),
        (call(principal=who("other", "eve", ())), "deny", None),
        (call(principal=who(roles=("chief",))), "allow", "role:chief"),
        (call(source="mcp:mail"), "deny", None),
    ],
)
def test_casbin_decides(snapshot, decision, rule) -> None:
    verdict = CasbinPolicy(CASBIN).decide(TOOL, snapshot)
    assert (verdict.decision, verdict.rule) == (decision, rule)
    assert verdict.reason == ("denied_by_default" if (decision, rule) == ("deny", None) else None)


@pytest.mark.parametrize(
    "text", ["p, role:a, x", "p, role:a, x, y, maybe", "q, a, b", "g, a", "p, , x, y, allow", 'p, "role:a, x']
)
def test_a_rule_of_casbin_that_cannot_be_read_is_named(text) -> None:
    with pytest.raises(PolicyError, match="casbin, line 2: found"):
        CasbinPolicy(f"# rules\n{text}")


def test_a_model_of_casbin_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(PolicyError, match="casbin: "):
        CasbinPolicy("", model="garbage")


@pytest.mark.parametrize("make", [lambda: CedarPolicy(CEDAR), lambda: CasbinPolicy(CASBIN)])
def test_the_digest_is_that_of_the_text(make) -> None:
    assert make().digest == make().digest
    assert len({CedarPolicy(CEDAR).digest, CedarPolicy(CEDAR + " ").digest, CasbinPolicy(CASBIN).digest}) == 3


@pytest.mark.parametrize("policy", [CedarPolicy(CEDAR), CasbinPolicy(CASBIN)], ids=["cedar", "casbin"])
def test_a_point_that_there_is_not_denies(policy) -> None:
    assert policy.decide("somewhere", call()).reason == "runtime_error:intervention_point_unknown"


@given(ANY_SNAPSHOT)
@examples(60)
def test_any_snapshot_has_one_verdict(snapshot) -> None:
    for policy in (CedarPolicy(CEDAR), CasbinPolicy(CASBIN)):
        verdict = policy.decide(TOOL, snapshot)
        assert verdict == policy.decide(TOOL, snapshot)
        assert verdict.decision == "deny"


def test_casbin_decides_in_many_threads() -> None:
    policy, wrong = CasbinPolicy(CASBIN), list[object]()

    def ask(role: str, decision: str) -> None:
        for _ in range(100):
            verdict = policy.decide(TOOL, call(principal=who(roles=(role,))))
            if verdict.decision != decision:
                wrong.append(verdict)

    threads = [threading.Thread(target=ask, args=each) for each in [("chief", "allow"), ("x", "deny"), ("y", "deny")]]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert wrong == []


def test_engines_decide_together() -> None:
    asks = rules("at: [pre_tool_call], when: args.cents > 50, then: {decision: escalate}")
    together = PolicySet({"cedar": CedarPolicy(CEDAR), "casbin": CasbinPolicy(CASBIN), "rules": asks})
    assert together.decide(TOOL, call()).decision == "escalate"
    assert together.decide(TOOL, call(principal=who("other"))).rule == "cedar/own"


def test_a_policy_on_trial_enforces_nothing() -> None:
    for policy in (CedarPolicy("", enforce=False), CasbinPolicy("", enforce=False)):
        assert policy.decide(TOOL, call()).lets_pass
