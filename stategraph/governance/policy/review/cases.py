"""Tables of cases: snapshots and the verdicts that a policy is expected to give, as a file beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from stategraph.governance.policy import points
from stategraph.governance.policy.fields import Fields
from stategraph.governance.policy.files import parse_yaml, read
from stategraph.governance.policy.rules import RulePolicy
from stategraph.governance.policy.schema import API_VERSION
from stategraph.governance.policy.verdict import Decision, InterventionPoint

KIND: Final = "PolicyCases"

_EXPECTED: Final = ("decision", "rule", "reason", "matched", "approvers", "quorum", "target", "labels")


@dataclass(frozen=True, slots=True)
class Case:
    """A case.

    Attributes:
        name: Its name.
        point: The point at which the policy is asked.
        snapshot: The snapshot.
        expected: The decision, and what else of the verdict the case names.
    """

    name: str
    point: InterventionPoint
    snapshot: Mapping[str, Any]
    expected: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CaseResult:
    """Result of a case.

    Attributes:
        case: The case.
        evaluation: What the policy decided.
        differences: What is not as expected, in sentences; none: it passes.
    """

    case: Case
    evaluation: points.Evaluation
    differences: tuple[str, ...]


def load_cases(path: str | Path) -> tuple[Case, ...]:
    """Load a table of cases.

    Raises:
        PolicyError: It cannot be read; the message names the file, the case and the field.
    """
    source = str(path)
    file = Fields(parse_yaml(read(path), source), source)
    file.only(("apiVersion", "kind", "metadata", "snapshot", "cases"))
    file.one_of("apiVersion", (API_VERSION,))
    file.one_of("kind", (KIND,))
    base = file.object("snapshot").value if "snapshot" in file.value else {}
    listed = file.value.get("cases")
    if not isinstance(listed, list) or not listed:
        file.fail("cases", "is no list of cases")
    return tuple(_case(each, f"{source}: case {number}", base) for number, each in enumerate(listed, 1))


def run_cases(policy: RulePolicy, cases: tuple[Case, ...]) -> tuple[CaseResult, ...]:
    """Ask a policy about each case."""
    return tuple(_result(case, points.evaluate(policy, case.point, case.snapshot)) for case in cases)


def _case(value: Any, where: str, base: Mapping[str, Any]) -> Case:
    case = Fields(value, where)
    case.only(("name", "at", "snapshot", "expect"))
    name = case.text("name")
    named = Fields(value, f"{where} ({name!r})")
    expected = named.object("expect")
    expected.only(_EXPECTED)
    expected.one_of("decision", Decision)
    snapshot = named.object("snapshot").value if "snapshot" in named.value else {}
    point = InterventionPoint(named.one_of("at", InterventionPoint, InterventionPoint.PRE_TOOL_CALL))
    return Case(name, point, merged(base, snapshot), expected.value)


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object over another one: objects are merged field by field, all else is replaced."""
    both = {
        name: merged(base[name], each) if isinstance(base.get(name), Mapping) and isinstance(each, Mapping) else each
        for name, each in over.items()
    }
    return {**base, **both}


def _result(case: Case, evaluation: points.Evaluation) -> CaseResult:
    verdict = evaluation.verdict
    approval = verdict.approval
    found: dict[str, Any] = {
        "decision": verdict.decision.value,
        "rule": verdict.rule,
        "reason": verdict.reason,
        "matched": list(verdict.matched),
        "approvers": None if approval is None else list(approval.approvers),
        "quorum": None if approval is None else approval.quorum,
        "target": evaluation.target,
        "labels": sorted(verdict.labels),
    }
    differences = [
        f"{name}: expected {expected!r}, found {found[name]!r}"
        for name, expected in case.expected.items()
        if (sorted(expected) if name == "labels" and isinstance(expected, list) else expected) != found[name]
    ]
    return CaseResult(case, evaluation, tuple(differences))
