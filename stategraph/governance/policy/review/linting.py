"""Warnings about policies that can be read, but probably do not say what was meant."""

from __future__ import annotations

from stategraph.governance.policy.document import PolicyDocument
from stategraph.governance.policy.verdict import InterventionPoint


def warnings(document: PolicyDocument) -> tuple[str, ...]:
    """Return sentences about rules that can never decide, and about modes that enforce nothing."""
    found = list[str]()
    always = dict[InterventionPoint, str]()
    for rule in document.rules:
        hidden = {always[point] for point in rule.at if point in always}
        if hidden and all(point in always for point in rule.at):
            names = ", ".join(map(repr, sorted(hidden)))
            found.append(f"rule {rule.name!r} never decides: {names} before it always matches")
        if rule.when in (None, "true") and not rule.tools:
            for point in rule.at:
                always.setdefault(point, rule.name)
    if document.mode == "evaluate_only":
        found.append("mode is evaluate_only: nothing is enforced")
    return tuple(found)
