"""Errors of governed actions.

GovernanceError
+-- PolicyError          a policy cannot be read
+-- ActionRejected       an action was refused, where refusals are raised
|   +-- CapabilityDenied
|   +-- BudgetExceeded
+-- AuditUnavailable     the audit log cannot take an event
+-- AuditTampered        a chain of audit rows does not verify
+-- ApprovalError        a vote or a decision that is not possible
"""

from __future__ import annotations


class GovernanceError(Exception):
    """Base of all errors of this package."""


class PolicyError(GovernanceError, ValueError):
    """A policy cannot be read; the message names the file, the rule and the field."""


class ActionRejected(GovernanceError):
    """An action was refused before it began.

    Attributes:
        reason: The code.
    """

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (str(self), self.reason)


class CapabilityDenied(ActionRejected):
    """A capability is not there, not selected, changed, or in quarantine."""


class BudgetExceeded(ActionRejected):
    """A budget over the tree of a run is used up."""


class AuditUnavailable(GovernanceError):
    """The audit log cannot take or store an event, so an action that depends on it must not begin."""


class AuditTampered(GovernanceError):
    """A chain of audit rows does not verify; the message names the tenant and the first row that differs."""


class ApprovalError(GovernanceError):
    """A vote or a decision about an approval is not possible; the message says in which state it is."""
