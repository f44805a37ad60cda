"""Decisions from outside of runs, such as those of a back office: counted by the store, and told to the audit log."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import anyio.to_thread

from stategraph.governance.approval.machine import ApprovalState
from stategraph.governance.approval.port import Approval, ApprovalStore, VoteWord
from stategraph.governance.audit.event import AuditEvent, AuditEventType, AuditSink, Severity
from stategraph.governance.context import Principal


@dataclass(frozen=True, slots=True)
class ApprovalDesk:
    """Takes votes of people who were authenticated elsewhere.

    Attributes:
        store: Keeps the requests.
        audit: Is told what is granted and denied; None: nobody is.
    """

    store: ApprovalStore
    audit: AuditSink | None = None

    async def vote(self, id: str, voter: Principal, word: VoteWord, comment: str | None = None) -> Approval:
        """Count a vote about a request of the voter's organisation.

        Args:
            id: The request.
            voter: Who votes, as the host authenticated them.
            word: The decision.
            comment: Why, in words, for the model and the log; None: not said.

        Returns:
            The request as it is now. Its run goes on when it is resumed, whoever resumes it.

        Raises:
            ApprovalError: There is no such request, it is decided or expired, or the voter may not vote.
            AuditUnavailable: The log cannot take what is decided; the vote counts.
        """
        act = partial(self.store.vote, voter.org_id, id, voter, word, comment)
        found = await anyio.to_thread.run_sync(act)
        event = _event(found, voter)
        if self.audit is not None and event is not None:
            await self.audit.record(event, durable=True)
        return found

    def vote_sync(self, id: str, voter: Principal, word: VoteWord, comment: str | None = None) -> Approval:
        """Count a vote, as `vote` does, in a thread without an event loop."""
        found = self.store.vote(voter.org_id, id, voter, word, comment)
        event = _event(found, voter)
        if self.audit is not None and event is not None:
            self.audit.record_sync(event, durable=True)
        return found


_TYPES = {
    ApprovalState.APPROVED: AuditEventType.APPROVAL_GRANTED,
    ApprovalState.DENIED: AuditEventType.APPROVAL_DENIED,
}


def _event(approval: Approval, voter: Principal) -> AuditEvent | None:
    """Return the event of a decision; None: nothing is decided yet."""
    type = _TYPES.get(approval.state)
    if type is None:
        return None
    return AuditEvent(
        type,
        approval.tenant,
        datetime.now(UTC),
        uuid.uuid4().hex,
        Severity.INFO if type is AuditEventType.APPROVAL_GRANTED else Severity.WARNING,
        run_id=approval.run_id,
        thread_id=approval.thread_id,
        call_id=approval.call_id,
        principal=voter.name,
        capability_id=approval.capability_id,
        data={
            "approval": approval.id,
            "identity": approval.identity,
            "votes": [
                {"approver": vote.approver, "word": vote.word, "comment": vote.comment} for vote in approval.votes
            ],
        },
    )
