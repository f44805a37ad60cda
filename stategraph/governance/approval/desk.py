"""Decisions from outside of runs, such as those of a back office: counted by the store, and told to the audit log."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import anyio.to_thread

from stategraph.governance.approval.events import decision_event
from stategraph.governance.approval.port import Approval, ApprovalStore, VoteWord
from stategraph.governance.audit.event import AuditSink
from stategraph.governance.context import Principal
from stategraph.governance.errors import AuditUnavailable


@dataclass(frozen=True, slots=True)
class ApprovalDesk:
    """Takes votes of people who were authenticated elsewhere.

    Attributes:
        store: Keeps the requests.
        audit: Is told what is granted and denied; None: the executor tells its own log when the run goes on.
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
        event = decision_event(found)
        if self.audit is not None and event is not None:
            note = partial(self.store.note_told, found.tenant, found.id, found.state)
            if await anyio.to_thread.run_sync(note):
                try:
                    await self.audit.record(event, durable=True)
                except AuditUnavailable:
                    await anyio.to_thread.run_sync(partial(note, told=False))
                    raise
        return found

    def vote_sync(self, id: str, voter: Principal, word: VoteWord, comment: str | None = None) -> Approval:
        """Count a vote, as `vote` does, in a thread without an event loop."""
        found = self.store.vote(voter.org_id, id, voter, word, comment)
        event = decision_event(found)
        if self.audit is not None and event is not None and self.store.note_told(found.tenant, found.id, found.state):
            try:
                self.audit.record_sync(event, durable=True)
            except AuditUnavailable:
                self.store.note_told(found.tenant, found.id, found.state, told=False)
                raise
        return found
