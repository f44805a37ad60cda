"""Policies and snapshots that the tests of policies share."""

from __future__ import annotations

from typing import Any

from stategraph.governance.policy.files import parse_policy
from stategraph.governance.policy.rules import RulePolicy

HEAD = "apiVersion: stategraph.dev/v1\nkind: Policy\nmetadata: {name: p}\n"


def policy(spec: str, **named: Any) -> RulePolicy:
    """Return the policy of a spec, given as the lines below `spec:`."""
    lines = "\n".join(f"  {line}" for line in spec.strip("\n").splitlines())
    return parse_policy(f"{HEAD}spec:\n{lines}\n" if lines.strip() else f"{HEAD}spec: {{}}\n", source="p.yaml", **named)


def rules(*rules: str, **named: Any) -> RulePolicy:
    """Return a policy of rules, each a line of YAML in braces."""
    return policy("rules:\n" + "\n".join(f"  - {{name: r{n}, {rule}}}" for n, rule in enumerate(rules, 1)), **named)


COMMON: dict[str, Any] = {
    "principal": {"org_id": "acme", "user_id": "ann", "roles": ["support"], "claims": {}, "on_behalf_of": []},
    "agent": {"id": "desk", "version": "3"},
    "session": {"id": "thread-1", "locale": None},
    "ifc": {"labels": []},
    "resource": {},
}


def call(tool: str = "refund", risk: str = "write", source: str = "mcp:billing", **more: Any) -> dict[str, Any]:
    """Return a snapshot of `pre_tool_call`; `args` and the common fields can be given."""
    facts = {
        "id": f"{source}/{tool}@1",
        "name": tool,
        "kind": source.partition(":")[0],
        "source": source.partition(":")[2],
        "version": "1",
        "risk": risk,
        "trust": "verified",
        "idempotent": False,
        "digest": "0" * 64,
    }
    return {**COMMON, "tool": facts, "args": {"cents": 100}, **more}
