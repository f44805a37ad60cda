"""Verdicts of other engines: from JSON, after section 13 of the Agent Control Specification."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from stategraph.governance.policy import limits, paths
from stategraph.governance.policy.reasons import RESERVED_PREFIX, DecisionFailed, RuntimeReason
from stategraph.governance.policy.verdict import ApprovalTerms, Decision, Transform, Verdict

MAX_EXPIRY_S: Final = 30 * 24 * 3600.0

_MEMBERS: Final = {"decision", "reason", "message", "transform", "evidence", "result_labels", "approval"}


def verdict_of(output: Any, limit: limits.Limits = limits.DEFAULT) -> Verdict:
    """Return the verdict that an engine returned as JSON.

    Args:
        output: `decision`, and where they apply `reason`, `message`, `transform` (`path`, `value`), `result_labels`,
            `evidence` (checked, not kept) and `approval` (`approvers`, `quorum`, `expires_s`; our own member).
        limit: The bounds.

    Raises:
        DecisionFailed: It has another form.
    """
    invalid = RuntimeReason.POLICY_OUTPUT_INVALID
    limits.measure(output, limit.output_bytes, "The verdict of the policy", not_json=invalid)
    if not isinstance(output, Mapping):
        raise _invalid(f"expected an object, found {type(output).__name__}")
    if unknown := sorted(output.keys() - _MEMBERS):
        raise _invalid(f"it has the members {', '.join(map(repr, unknown))}, which no verdict has")
    if output.get("decision") not in list(Decision):
        raise _invalid(f"its decision is none of {', '.join(Decision)}")
    decision = Decision(output["decision"])
    for name in ("reason", "message"):
        if not isinstance(output.get(name), str | None):
            raise _invalid(f"its {name} is no text")
    reason = output.get("reason")
    if reason is not None and reason.startswith(RESERVED_PREFIX):
        raise _invalid(f"its reason begins with the reserved {RESERVED_PREFIX}")
    if not isinstance(output.get("evidence", {}), Mapping):
        raise _invalid("its evidence is no object")
    return Verdict(
        decision=decision,
        reason=reason,
        message=output.get("message"),
        transform=_transform(decision, output),
        approval=_approval(decision, output.get("approval")),
        labels=_labels(output.get("result_labels")),
    )


def checked(verdict: object) -> Verdict:
    """Return what a policy returned, if it is a verdict.

    Raises:
        DecisionFailed: It is none.
    """
    if not isinstance(verdict, Verdict) or not isinstance(verdict.decision, Decision):
        raise _invalid(f"expected a Verdict with a Decision, found {type(verdict).__name__}")
    return verdict


def check_transform_path(text: Any) -> paths.Path:
    """Parse the path of a transform.

    Raises:
        DecisionFailed: It is no path, or does not begin at the policy target.
    """
    if not isinstance(text, str):
        raise DecisionFailed(RuntimeReason.TRANSFORM_INVALID, "The path of the transform is no text")
    try:
        path = paths.parse(text)
    except ValueError as error:
        raise DecisionFailed(RuntimeReason.TRANSFORM_INVALID, str(error)) from None
    if path.root != paths.TARGET:
        raise DecisionFailed(
            RuntimeReason.TRANSFORM_TARGET_FORBIDDEN, f"A transform may only change $policy_target, not {text}"
        )
    return path


def apply(transform: Transform, target: Any) -> Any:
    """Return a policy target with a transform applied; the target itself is left as it is.

    Raises:
        DecisionFailed: The path is not below the policy target, or there is nothing at it.
    """
    path = check_transform_path(transform.path)
    try:
        return paths.replaced(path, target, transform.value)
    except DecisionFailed as error:
        raise DecisionFailed(RuntimeReason.TRANSFORM_INVALID, str(error)) from error


def _transform(decision: Decision, output: Mapping[str, Any]) -> Transform | None:
    body = output.get("transform")
    if (decision is Decision.TRANSFORM) != (body is not None):
        raise _invalid("a transform belongs to the decision `transform`, and to no other")
    if body is None:
        return None
    if not isinstance(body, Mapping):
        raise _invalid("its transform is no object")
    if "value" not in body:
        raise DecisionFailed(RuntimeReason.TRANSFORM_INVALID, "The transform has no value")
    path = check_transform_path(body.get("path"))
    return Transform(path.text, body["value"])


def _approval(decision: Decision, body: Any) -> ApprovalTerms | None:
    if decision is not Decision.ESCALATE:
        if body is not None:
            raise _invalid("terms of approval belong to the decision `escalate`, and to no other")
        return None
    if body is None:
        return ApprovalTerms()
    if not isinstance(body, Mapping):
        raise _invalid("its approval is no object")
    approvers, quorum = body.get("approvers", []), body.get("quorum", 1)
    expires = body.get("expires_s", ApprovalTerms().expires_s)
    if not isinstance(approvers, list) or not all(isinstance(each, str) for each in approvers):
        raise _invalid("its approvers are no list of texts")
    if type(quorum) is not int or quorum < 1:
        raise _invalid("its quorum is no whole number from 1")
    if type(expires) not in (int, float) or not 0 < expires <= MAX_EXPIRY_S:
        raise _invalid("its expires_s is no number of seconds above 0, up to 30 days")
    return ApprovalTerms(tuple(approvers), quorum, float(expires))


def _labels(body: Any) -> frozenset[str]:
    if body is None:
        return frozenset()
    if not isinstance(body, list) or not all(isinstance(each, str) for each in body):
        raise _invalid("its result_labels are no list of texts")
    return frozenset(body)


def _invalid(what: str) -> DecisionFailed:
    return DecisionFailed(RuntimeReason.POLICY_OUTPUT_INVALID, f"The verdict of the policy cannot be used: {what}")
