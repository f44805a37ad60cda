"""Policies: decisions of one rule and of a hundred, evaluation with identities, other engines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.governance.rows import Row, microseconds
from stategraph.governance.policy import points
from stategraph.governance.policy.document import Outcome, PolicyDocument, Rule
from stategraph.governance.policy.engines.casbin import CasbinPolicy
from stategraph.governance.policy.engines.cedar import CedarPolicy
from stategraph.governance.policy.rules import RulePolicy
from stategraph.governance.policy.verdict import Decision, InterventionPoint, Policy

TOOL = InterventionPoint.PRE_TOOL_CALL

SNAPSHOT: Mapping[str, Any] = {
    "principal": {
        "org_id": "acme",
        "user_id": "ann",
        "roles": ["support"],
        "claims": {"iss": "https://login.example.org"},
        "on_behalf_of": [],
    },
    "agent": {"id": "desk", "version": "3"},
    "session": {"id": "thread-1", "locale": "en"},
    "tool": {
        "id": "mcp:billing/refund@1",
        "name": "refund",
        "kind": "mcp",
        "source": "billing",
        "version": "1",
        "risk": "write",
        "trust": "verified",
        "idempotent": False,
        "digest": "0" * 64,
    },
    "args": {"cents": 100, "to": "ann@example.org", "note": "as agreed"},
    "ifc": {"labels": []},
    "resource": {},
}

REFUND = 'tool.id.startsWith("mcp:billing/refund") && args.cents <= 5000 && "support" in principal.roles'


def of_rules(conditions: list[str]) -> RulePolicy:
    """Return a policy of conditions, each of which allows."""
    rules = tuple(Rule(f"r{n}", (TOOL,), Outcome(Decision.ALLOW), each) for n, each in enumerate(conditions))
    return RulePolicy(PolicyDocument("bench", "0" * 64, rules=rules))


def deciding(policy: Policy, rule: str) -> Callable[[int], float]:
    """Return what measures decisions of a policy, once it is seen that this rule makes them."""
    verdict = policy.decide(TOOL, SNAPSHOT)
    assert verdict.rule == rule, verdict
    return lambda rounds: microseconds(lambda: policy.decide(TOOL, SNAPSHOT), rounds, calls=300)


def rows() -> list[Row]:
    """Return the rows."""
    one = of_rules([REFUND])
    fields = [f"args.cents == {n}" for n in range(1, 100)] + ["args.cents == 100"]
    tools = [f'tool.name == "tool_{n}" && args.cents <= 5000' for n in range(99)] + [REFUND]
    cedar = CedarPolicy(
        '@id("r0") permit(principal in Role::"support", action, resource == Tool::"mcp:billing/refund") '
        "when { context.args.cents <= 5000 };"
    )
    casbin = CasbinPolicy("p, role:support, mcp:billing/refund*, pre_tool_call, allow")
    return [
        Row("decide, 1 rule", deciding(one, "r0"), most=25),
        Row("decide, 100 rules, all evaluated", deciding(of_rules(fields), "r99"), most=500),
        Row("decide, 100 rules, by the index of tools", deciding(of_rules(tools), "r99"), most=60),
        Row("decide, 1 policy of Cedar", deciding(cedar, "r0")),
        Row("decide, 1 rule of Casbin", deciding(casbin, "role:support")),
        Row(
            "evaluate, 1 rule: limits, verdict, identities",
            lambda rounds: microseconds(lambda: points.evaluate(one, TOOL, SNAPSHOT), rounds, calls=200),
        ),
    ]
