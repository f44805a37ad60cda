"""Errors of governed actions.

GovernanceError
+-- PolicyError          a policy cannot be read
+-- ActionRejected       an action was refused, where refusals are raised
|   +-- CapabilityDenied
|   +-- BudgetExceeded
+-- AuditUnavailable     the audit log cannot take an event
+-- AuditTampered        a chain of audit rows does not verify
+-- AuditDenied          a principal may not read, export or erase audit rows (also a PermissionError)
+-- ApprovalError        a vote or a decision that is not possible
+-- SkillError           a skill or a file of one cannot be used (`skills.skill`)
+-- SandboxUnavailable   scripts of skills cannot be run here (`skills.sandbox`)
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
    """A budget over the tree of a run is used up.

    Attributes:
        unit: The unit, by its field of `Budget`.
        cap: What is allowed, in that unit.
        spent: What was taken.
        reserved: What is held for calls that are under way.
    """

    def __init__(
        self,
        message: str,
        reason: str = "budget_exceeded",
        *,
        unit: str = "",
        cap: float = 0,
        spent: float = 0,
        reserved: float = 0,
    ) -> None:
        super().__init__(message, reason)
        self.unit, self.cap, self.spent, self.reserved = unit, cap, spent, reserved

    @property
    def may_pass(self) -> bool:
        """True if only calls that are under way keep the budget from this one: they may take less than they may."""
        return self.spent < self.cap

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (str(self), self.reason), self.__dict__


class AuditUnavailable(GovernanceError):
    """The audit log cannot take or store an event, so an action that depends on it must not begin."""


class AuditTampered(GovernanceError):
    """A chain of audit rows does not verify; the message names the tenant and the first row that differs."""


class AuditDenied(GovernanceError, PermissionError):
    """A principal may not do this with the audit log; the message names the roles that may."""


class ApprovalError(GovernanceError):
    """A vote or a decision about an approval is not possible; the message says in which state it is."""
