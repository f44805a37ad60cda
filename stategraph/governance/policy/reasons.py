"""Reserved reasons: codes for a decision that could not be made, after section 16 of the Agent Control Specification.

A policy's own reasons may not begin with `runtime_error:`. All of these deny.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from stategraph.governance.policy.verdict import InterventionPoint

RESERVED_PREFIX: Final = "runtime_error:"

DENIED_BY_DEFAULT: Final = "denied_by_default"
"""The reason of a deny that no rule gave."""


class RuntimeReason(StrEnum):
    """The reasons of the specification; no others begin with `runtime_error:`."""

    MANIFEST_INVALID = "runtime_error:manifest_invalid"
    INTERVENTION_POINT_UNKNOWN = "runtime_error:intervention_point_unknown"
    PATH_MISSING = "runtime_error:path_missing"
    PATH_TYPE_MISMATCH = "runtime_error:path_type_mismatch"
    TOOL_UNKNOWN = "runtime_error:tool_unknown"
    ANNOTATION_FAILED = "runtime_error:annotation_failed"
    ANNOTATION_TIMEOUT = "runtime_error:annotation_timeout"
    POLICY_INVOCATION_FAILED = "runtime_error:policy_invocation_failed"
    POLICY_OUTPUT_INVALID = "runtime_error:policy_output_invalid"
    TRANSFORM_INVALID = "runtime_error:transform_invalid"
    TRANSFORM_TARGET_FORBIDDEN = "runtime_error:transform_target_forbidden"
    RESOURCE_LIMIT_EXCEEDED = "runtime_error:resource_limit_exceeded"
    APPROVAL_ACTION_MISMATCH = "runtime_error:approval_action_mismatch"


class DecisionFailed(Exception):
    """A decision could not be made; becomes a verdict that denies, and never leaves this package.

    Attributes:
        reason: The code.
        rule: The rule that could not be decided; None: it was no rule.
    """

    def __init__(self, reason: RuntimeReason, message: str, rule: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.rule = rule


def known_point(point: str) -> InterventionPoint:
    """Return an intervention point.

    Raises:
        DecisionFailed: There is no such point.
    """
    if point not in list(InterventionPoint):
        raise DecisionFailed(
            RuntimeReason.INTERVENTION_POINT_UNKNOWN,
            f"There is no intervention point {point!r}; there are: {', '.join(InterventionPoint)}",
        )
    return InterventionPoint(point)
