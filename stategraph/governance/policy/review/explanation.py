"""Explanations: for each rule of a policy, whether it decided, matched, or why it did not.

Explanations quote conditions and what CEL says about them, so they are for those who may see the snapshot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stategraph.governance.policy import cel, points
from stategraph.governance.policy.conditions import terms
from stategraph.governance.policy.rules import CompiledRule, RulePolicy, variables_at
from stategraph.governance.policy.verdict import Decision, InterventionPoint, Snapshot

Finding = Literal["decided", "matched", "undecided", "not_matched", "other_tool", "other_point"]


@dataclass(frozen=True, slots=True)
class RuleFinding:
    """Finding about one rule.

    Attributes:
        rule: Its name.
        finding: `decided`: it is the rule that decided. `matched`: it matches too, after the one that decided.
            `undecided`: it is neither true nor false; the decision is to deny if it comes first. `not_matched`: its
            condition is false. `other_tool`, `other_point`: it is for others.
        detail: A sentence with the reason.
    """

    rule: str
    finding: Finding
    detail: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """Reasons for the verdict of a policy.

    Attributes:
        point: The point.
        evaluation: The verdict and what goes on.
        findings: One for each rule, in their order.
    """

    point: InterventionPoint
    evaluation: points.Evaluation
    findings: tuple[RuleFinding, ...]


def explain(policy: RulePolicy, point: InterventionPoint, snapshot: Snapshot) -> Explanation:
    """Decide, and say of each rule what it had to do with it; never raises."""
    evaluation = points.evaluate(policy, point, snapshot)
    try:
        facts = policy.facts(point, snapshot)
    except Exception as error:  # it is no snapshot; the verdict says the rest
        text = f"the snapshot cannot be read: {type(error).__name__}"
        findings = [RuleFinding(each.name, "undecided", text) for each in policy.document.rules]
        return Explanation(point, evaluation, tuple(findings))
    compiled = {each.rule.name: each for each in policy.rules_at(point)}
    decided: str | None = None
    found = list[RuleFinding]()
    for rule in policy.document.rules:
        each = compiled.get(rule.name)
        if each is None:
            found.append(RuleFinding(rule.name, "other_point", f"it is for {', '.join(rule.at)}"))
            continue
        finding = _finding(each, facts, snapshot, decided)
        if finding.finding in ("decided", "undecided") and decided is None:
            decided = rule.name
        found.append(finding)
    return Explanation(point, evaluation, tuple(found))


def as_text(explanation: Explanation) -> str:
    """Return an explanation as lines for people."""
    verdict = explanation.evaluation.verdict
    lines = [f"{explanation.point.value}: {verdict.decision.value}"]
    if verdict.rule is not None:
        lines[0] += f", by rule {verdict.rule!r}"
    elif verdict.reason is None or not verdict.reason.startswith("runtime_error:"):
        lines[0] += ", by default"
    if not verdict.enforced:
        lines[0] += " (evaluate_only: not enforced)"
    if verdict.reason:
        lines.append(f"  reason: {verdict.reason}")
    if verdict.message:
        lines.append(f"  message: {verdict.message}")
    if verdict.approval is not None:
        terms = verdict.approval
        who = ", ".join(terms.approvers) or "anyone whom the host lets vote"
        lines.append(f"  approval: {terms.quorum} of {who}, within {terms.expires_s:g} s")
    if verdict.decision is Decision.TRANSFORM and verdict.transform is not None:
        lines.append(f"  changes: {verdict.transform.path}")
    if verdict.labels:
        lines.append(f"  labels: {', '.join(sorted(verdict.labels))}")
    width = max((len(each.rule) for each in explanation.findings), default=0)
    lines += [f"  {each.rule:<{width}}  {each.finding}: {each.detail}" for each in explanation.findings]
    return "\n".join(lines)


def _finding(each: CompiledRule, facts: cel.Facts, snapshot: Snapshot, decided: str | None) -> RuleFinding:
    name = each.rule.name
    tool = snapshot.get("tool")
    id = tool.get("id") if isinstance(tool, dict) else None
    if each.rule.tools and isinstance(id, str) and not each.for_tool(id):
        return RuleFinding(name, "other_tool", f"{id} is none of {', '.join(each.rule.tools)}")
    holds = each.holds(facts)
    if holds is True:
        what = "its condition is true" if each.rule.when else "it has no condition"
        if decided is None:
            return RuleFinding(name, "decided", what)
        return RuleFinding(name, "matched", f"{what}, but {decided!r} comes before it")
    if holds is False:
        return RuleFinding(name, "not_matched", _false_terms(each, facts))
    what = f"its condition is neither true nor false: {holds.text}"
    return RuleFinding(name, "undecided", what if decided is None else f"{what}; but {decided!r} comes before it")


def _false_terms(each: CompiledRule, facts: cel.Facts) -> str:
    """Return the terms of a condition that are false, or that have no value."""
    found = list[str]()
    for term in terms(each.rule.when or "true"):
        holds = cel.compile(term, variables_at(each.rule.at)).holds(facts)
        if holds is False:
            found.append(f"{term} is false")
        elif holds is not True:
            found.append(f"{term} has no value")
    return "; ".join(found)
