"""Policies of rules: the first rule that matches decides, all that match are recorded.

A rule whose condition is neither true nor false (a missing field, a wrong type) denies if it comes before a rule that
matches: what it would have decided is not known. After the first match rules are asked only for the record.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from stategraph.governance.capability import RISKS
from stategraph.governance.context import Budget
from stategraph.governance.errors import PolicyError
from stategraph.governance.policy import cel, limits, paths
from stategraph.governance.policy.conditions import Excludes, exclusion, matches
from stategraph.governance.policy.document import Outcome, PolicyDocument, Rule
from stategraph.governance.policy.flow import VIOLATION
from stategraph.governance.policy.names import unknown_name
from stategraph.governance.policy.reasons import DENIED_BY_DEFAULT, DecisionFailed, RuntimeReason, known_point
from stategraph.governance.policy.snapshot import COMMON, FIELDS, TARGETS, TOOL_POINTS, tool_key
from stategraph.governance.policy.verdict import (
    ApprovalTerms,
    Decision,
    InterventionPoint,
    Snapshot,
    Transform,
    Verdict,
)

ALWAYS_KNOWN: Final = ("annotations", "data", "point")
"""Names that conditions may use at every point, beside the fields of its snapshot."""

_CLOCK_EVERY: Final = 16  # rules; reading the clock of the thread takes a quarter of the time of a rule
_CACHED_TOOLS: Final = 1024
_NONE: Final[frozenset[str]] = frozenset()


def variables_at(points: tuple[InterventionPoint, ...]) -> frozenset[str]:
    """Return the names that a condition may use, given the points at which it applies."""
    each = [frozenset((*COMMON, *FIELDS[point], *ALWAYS_KNOWN)) for point in points]
    return frozenset.intersection(*each)


class CompiledRule:
    """A rule with its compiled condition.

    Attributes:
        rule: The rule.
        program: Its condition; None: it always matches.
        excludes: Tells for which tools it cannot match; None: it may match for any.
    """

    __slots__ = ("excludes", "program", "rule")

    def __init__(self, rule: Rule, source: str, data: Mapping[str, Any]) -> None:
        self.rule = rule
        self.excludes: Excludes | None = exclusion(rule.when, rule.tools)
        self.program: cel.Program | None = None
        if rule.when is not None:
            try:
                self.program = cel.compile(rule.when, variables_at(rule.at))
            except ValueError as error:
                raise PolicyError(f"{source}: rule {rule.name!r}: when: {error}") from None
            if (unknown := unknown_name(rule.when, data)) is not None:
                raise PolicyError(f"{source}: rule {rule.name!r}: when: {unknown}")

    def for_tool(self, id: str) -> bool:
        """Return whether the rule is for a tool, by its patterns."""
        return not self.rule.tools or matches(self.rule.tools, id)

    def holds(self, facts: cel.Facts) -> bool | cel.Failure:
        """Return whether the condition holds, whatever the tool is."""
        return True if self.program is None else self.program.holds(facts)


class RulePolicy:
    """A policy of rules; safe to use from several threads.

    Args:
        document: What its file says.
        redact: Removes secrets from JSON, for rules that transform `with: redact`.
        limit: The bounds of one decision.

    Attributes:
        document: What its file says.

    Raises:
        PolicyError: A condition cannot be compiled or reads a name that cannot exist, or a rule redacts and `redact` is
            None.
    """

    def __init__(
        self,
        document: PolicyDocument,
        *,
        redact: Callable[[Any], Any] | None = None,
        limit: limits.Limits = limits.DEFAULT,
    ) -> None:
        self.document = document
        self._redact = redact
        self._limit = limit
        self._enforced = document.mode == "enforce"
        if redact is None:
            for rule in document.rules:
                if rule.then.change is not None and rule.then.change.function == "redact":
                    raise PolicyError(
                        f"{document.source}: rule {rule.name!r}: then.with: the policy was loaded without a function "
                        "that redacts; pass redact="
                    )
        compiled = [CompiledRule(rule, document.source, document.data) for rule in document.rules]
        self._at = {point: tuple(each for each in compiled if point in each.rule.at) for point in InterventionPoint}
        self._for_tool: dict[tuple[InterventionPoint, str, str, str], tuple[CompiledRule, ...]] = {}

    @property
    def name(self) -> str:
        """The name of the policy."""
        return self.document.name

    @property
    def digest(self) -> str:
        """SHA-256 in hex over all that the decisions depend on beside the snapshot."""
        return self.document.digest

    @property
    def budget(self) -> Budget | None:
        """The limits over the tree of a run that the policy sets; None: none."""
        return self.document.budget

    def decide(self, point: InterventionPoint, snapshot: Snapshot, /) -> Verdict:
        """Decide; a failure is a verdict that denies, and is never raised."""
        matched = list[str]()
        try:
            return self._decide(point, snapshot, matched)
        except DecisionFailed as failed:
            return self._verdict(Decision.DENY, failed.reason.value, str(failed), failed.rule, matched)
        except Exception as error:  # whatever it is, nobody may act on it; its text may quote the snapshot
            message = f"The policy raised {type(error).__name__}"
            return self._verdict(Decision.DENY, RuntimeReason.POLICY_INVOCATION_FAILED.value, message, None, matched)

    def asks_at(self, point: InterventionPoint) -> bool:
        """Return whether the policy may do anything but allow at a point; if not, a host need not ask it there."""
        by_default = self.document.points.get(point, Decision.ALLOW)
        asked = point is InterventionPoint.PRE_TOOL_CALL or bool(self._at[point]) or by_default is not Decision.ALLOW
        flow = self.document.flow
        return asked or (point in TOOL_POINTS and flow is not None and bool(flow.produces))

    def rules_at(self, point: InterventionPoint) -> tuple[CompiledRule, ...]:
        """Return the rules of a point, in order."""
        return self._at[point]

    def facts(self, point: InterventionPoint, snapshot: Snapshot) -> cel.Facts:
        """Return what the conditions read.

        Raises:
            RuntimeError: They cannot read it.
        """
        return cel.facts({"annotations": {}, **snapshot, "point": point.value, "data": self.document.data})

    def _decide(self, point: InterventionPoint, snapshot: Snapshot, matched: list[str]) -> Verdict:
        point = known_point(point)
        limits.check_snapshot(snapshot, self._limit)
        flow = self.document.flow
        violation = flow.violation(snapshot) if flow and point is InterventionPoint.PRE_TOOL_CALL else None
        first = self._first_match(point, snapshot, matched)
        if violation is not None:
            return self._verdict(Decision.DENY, VIOLATION, f"Information flow: {violation}", None, matched)
        if first is None:
            return self._by_default(point, snapshot, matched)
        return self._by_rule(first, point, snapshot, matched)

    def _first_match(self, point: InterventionPoint, snapshot: Snapshot, matched: list[str]) -> Rule | None:
        """Return the rule that decides, and append the names of all that match.

        Raises:
            DecisionFailed: One before it could not be decided.
        """
        candidates = self._candidates(point, snapshot)
        if not candidates:
            return None
        facts = self.facts(point, snapshot)
        first: Rule | None = None
        begun = time.thread_time() if len(candidates) > _CLOCK_EVERY else 0.0
        for place, each in enumerate(candidates, 1):
            program = each.program
            holds = True if program is None else program.holds(facts)
            if holds is True:
                matched.append(each.rule.name)
                first = first or each.rule
            elif holds is not False and first is None:
                raise _undecided(each.rule, holds)
            if not place % _CLOCK_EVERY and time.thread_time() - begun > self._limit.cpu_s:
                raise DecisionFailed(
                    RuntimeReason.RESOURCE_LIMIT_EXCEEDED,
                    f"The rules took more than {self._limit.cpu_s:g} s of processor time",
                )
        return first

    def _candidates(self, point: InterventionPoint, snapshot: Snapshot) -> tuple[CompiledRule, ...]:
        """Return the rules that may match, given the tool where there is one."""
        rules = self._at[point]
        if point not in TOOL_POINTS:
            return rules
        key = (point, *tool_key(snapshot))
        found = self._for_tool.get(key)
        if found is None:
            found = tuple(each for each in rules if each.excludes is None or not each.excludes(*key[1:]))
            if len(self._for_tool) >= _CACHED_TOOLS:
                self._for_tool.clear()
            self._for_tool[key] = found
        return found

    def _by_default(self, point: InterventionPoint, snapshot: Snapshot, matched: list[str]) -> Verdict:
        if point is InterventionPoint.PRE_TOOL_CALL:
            risk = next((each for each in RISKS if each == tool_key(snapshot)[2]), None)
            if risk is None:
                expected = ", ".join(RISKS)
                raise DecisionFailed(RuntimeReason.PATH_TYPE_MISMATCH, f"tool.risk: expected one of {expected}")
            decision = self.document.risks[risk]
            message = f"No rule is for this action; by default {risk} is: {decision.value}"
        else:
            decision = self.document.points.get(point, Decision.ALLOW)
            message = f"No rule is for this; by default {point.value} is: {decision.value}"
        return self._verdict(
            decision,
            DENIED_BY_DEFAULT if decision is Decision.DENY else None,
            None if decision is Decision.ALLOW else message,
            None,
            matched,
            approval=ApprovalTerms() if decision is Decision.ESCALATE else None,
            labels=self._labels(decision, _NONE, point, snapshot),
        )

    def _by_rule(self, rule: Rule, point: InterventionPoint, snapshot: Snapshot, matched: list[str]) -> Verdict:
        then = rule.then
        return self._verdict(
            then.decision,
            then.reason,
            then.message,
            rule.name,
            matched,
            transform=self._transform(rule, then, point, snapshot),
            approval=then.approval,
            labels=self._labels(then.decision, then.labels, point, snapshot),
        )

    def _transform(self, rule: Rule, then: Outcome, point: InterventionPoint, snapshot: Snapshot) -> Transform | None:
        change = then.change
        if change is None:
            return None
        if change.function is None:
            return Transform(change.path.text, change.value)
        try:
            old = paths.resolve(change.path, snapshot.get(TARGETS[point]))
        except DecisionFailed as failed:
            raise DecisionFailed(RuntimeReason.TRANSFORM_INVALID, str(failed), rule.name) from failed
        assert self._redact is not None, "checked where the policy was made"
        return Transform(change.path.text, self._redact(old))

    def _labels(
        self, decision: Decision, labels: frozenset[str], point: InterventionPoint, snapshot: Snapshot
    ) -> frozenset[str]:
        """Return the labels of a rule and those of what the tool brings; what is denied brings nothing."""
        flow = self.document.flow
        if flow is None or not flow.produces or decision is Decision.DENY or point not in TOOL_POINTS:
            return labels
        return labels | flow.brought(snapshot)

    def _verdict(
        self,
        decision: Decision,
        reason: str | None,
        message: str | None,
        rule: str | None,
        matched: list[str],
        **more: Any,
    ) -> Verdict:
        return Verdict(
            decision=decision,
            reason=reason,
            message=message,
            rule=rule,
            matched=tuple(matched),
            policy_digest=self.document.digest,
            enforced=self._enforced,
            **more,
        )


def _undecided(rule: Rule, failure: cel.Failure) -> DecisionFailed:
    what = {
        RuntimeReason.PATH_MISSING: "a field that it reads is not there",
        RuntimeReason.PATH_TYPE_MISMATCH: "a field that it reads has another type",
        RuntimeReason.RESOURCE_LIMIT_EXCEEDED: "it reads a list with too many items",
    }.get(failure.reason, "its condition has no value")
    return DecisionFailed(failure.reason, f"Rule {rule.name!r} cannot be decided: {what}", rule.name)
