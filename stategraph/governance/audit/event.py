"""Events of the audit log, and the port by which they are told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Any, Protocol


class Severity(IntEnum):
    """Importance of an event to those who watch."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40
    CRITICAL = 50


class AuditEventType(StrEnum):
    """The types of events that this package tells; plugins have their own, which begin with `plugin.`."""

    ACTION_STARTED = "action.started"
    ACTION_COMPLETED = "action.completed"
    ACTION_FAILED = "action.failed"
    ACTION_REJECTED = "action.rejected"
    ACTION_IN_DOUBT = "action.in_doubt"
    ACTION_PAUSED = "action.paused"
    APPROVAL_REQUESTED = "approval.requested"
    APPROVAL_GRANTED = "approval.granted"
    APPROVAL_DENIED = "approval.denied"
    APPROVAL_EXPIRED = "approval.expired"
    APPROVAL_CONSUMED = "approval.consumed"
    APPROVAL_SUPERSEDED = "approval.superseded"
    POLICY_DECIDED = "policy.decided"
    CAPABILITY_CHANGED = "capability.changed"
    BUDGET_EXCEEDED = "budget.exceeded"
    CONTEXT_CREATED = "context.created"
    SECRET_ACCESSED = "secret.accessed"
    AUDIT_ERASED = "audit.erased"
    AUDIT_ARCHIVED = "audit.archived"
    AUDIT_EXPORTED = "audit.exported"


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """Something that happened; immutable, and without secrets once the log has taken it.

    Attributes:
        type: An `AuditEventType`, or a text that begins with `plugin.`.
        tenant: The organisation that it belongs to.
        at: When, with a time zone.
        id: Its own id.
        severity: How much it matters.
        run_id: The run; None: outside of one.
        thread_id: The thread; None: none.
        call_id: The call of a tool; None: none.
        principal: Who acted, as `Principal.name`; None: nobody.
        capability_id: What was used; None: nothing.
        decision: The policy's decision; None: none was made.
        duration_ms: How long it took; None: it took no time of its own.
        trace_id: The trace; None: none.
        data: Further facts, as JSON. They may be erased later; the event stays.
    """

    type: str
    tenant: str
    at: datetime
    id: str
    severity: Severity = Severity.INFO
    run_id: str | None = None
    thread_id: str | None = None
    call_id: str | None = None
    principal: str | None = None
    capability_id: str | None = None
    decision: str | None = None
    duration_ms: float | None = None
    trace_id: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


class AuditSink(Protocol):
    """Takes events, in order for each tenant."""

    async def record(self, event: AuditEvent, /, *, durable: bool = False) -> None:
        """Take an event.

        Args:
            event: What happened.
            durable: Return only when it is stored, as before an action that is more than reading.

        Raises:
            AuditUnavailable: It cannot be taken or stored; an action that depends on it must not begin.
        """

    def record_sync(self, event: AuditEvent, /, *, durable: bool = False) -> None:
        """Take an event in a thread without an event loop."""
