"""Events of the audit log about decisions of people, in one form whichever way a vote came in.

The approver is the principal, the decision is that of the policy, which asked for approval, and those for whom the
action is are in the data.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from stategraph.governance.approval.machine import ApprovalState
from stategraph.governance.approval.port import Approval, Vote, VoteWord
from stategraph.governance.audit.event import AuditEvent, AuditEventType, Severity
from stategraph.governance.policy.verdict import Decision
from stategraph.governance.visible_text import visible

_DECIDED: Final[Mapping[ApprovalState, tuple[AuditEventType, Severity, VoteWord]]] = {
    ApprovalState.APPROVED: (AuditEventType.APPROVAL_GRANTED, Severity.INFO, "approve"),
    ApprovalState.DENIED: (AuditEventType.APPROVAL_DENIED, Severity.WARNING, "deny"),
}


def decision_event(approval: Approval, trace_id: str | None = None) -> AuditEvent | None:
    """Return the event of a request that is approved or denied; None: it is neither.

    Args:
        approval: The request.
        trace_id: The trace in which it is told; None: there is none.
    """
    if approval.state not in _DECIDED:
        return None
    type, severity, word = _DECIDED[approval.state]
    approver = next((vote.approver for vote in reversed(approval.votes) if vote.word == word), None)
    return AuditEvent(
        type,
        approval.tenant,
        datetime.now(UTC),
        uuid.uuid4().hex,
        severity,
        run_id=approval.run_id,
        thread_id=approval.thread_id,
        call_id=approval.call_id,
        principal=None if approver is None else f"{approval.tenant}/{approver}",
        capability_id=approval.capability_id,
        decision=str(Decision.ESCALATE),
        trace_id=trace_id,
        data={**approval_data(approval), "requesters": list(approval.requesters)},
    )


def approval_data(approval: Approval) -> dict[str, Any]:
    """Return what the log is told of a request for approval."""
    found = {
        "approval": approval.id,
        "identity": approval.identity,
        "rule": approval.rule,
        "approvers": list(approval.terms.approvers),
        "quorum": approval.terms.quorum,
        "votes": [_vote(vote) for vote in approval.votes],
    }
    return {name: each for name, each in found.items() if each not in (None, [])}


def _vote(vote: Vote) -> dict[str, Any]:
    return {
        "approver": visible(vote.approver),
        "word": vote.word,
        "comment": None if vote.comment is None else visible(vote.comment),
    }
