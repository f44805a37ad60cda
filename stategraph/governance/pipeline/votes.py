"""Votes of people who answer in a run: counted by the store, and told to the audit log, each decision once."""

from __future__ import annotations

from functools import partial

from stategraph.governance.actions import Reason
from stategraph.governance.approval.events import decision_event
from stategraph.governance.approval.port import Approval, ApprovalStore, VoteWord
from stategraph.governance.context import Principal
from stategraph.governance.errors import ActionRejected, ApprovalError, AuditUnavailable
from stategraph.governance.pipeline.action import Action, Services, blocking
from stategraph.prebuilt.steps import Step, Steps


def store_of(services: Services) -> ApprovalStore:
    """Return the store of requests.

    Raises:
        ActionRejected: There is none.
    """
    if services.approvals is None:
        raise ActionRejected(
            "A person has to approve this, and there is no store of approvals", Reason.APPROVAL_UNAVAILABLE
        )
    return services.approvals


def voter_of(action: Action) -> Principal:
    """Return who answers in the run of an action."""
    context = action.request.context
    return context.approver or context.principal


def count(services: Services, action: Action, id: str, word: VoteWord, comment: str | None) -> Steps[None]:
    """Count a vote; one about a request that was decided meanwhile changes nothing."""
    tenant = action.request.context.tenant
    try:
        row: Approval = yield blocking(store_of(services).vote, tenant, id, voter_of(action), word, comment)
    except ApprovalError:
        return
    yield from tell_decision(services, action, row)


def tell_decision(services: Services, action: Action, approval: Approval) -> Steps[None]:
    """Tell the log that a request is approved or denied, unless it was told by whoever counted the vote.

    Raises:
        AuditUnavailable: The log cannot take it; it is told when the request is looked at again.
    """
    audit, event = services.audit, decision_event(approval, action.request.context.trace)
    if audit is None or event is None:
        return
    note = partial(store_of(services).note_told, approval.tenant, approval.id, approval.state)
    if not (yield blocking(note)):
        return
    try:
        yield Step(partial(audit.record_sync, event), partial(audit.record, event))
    except AuditUnavailable:
        yield blocking(partial(note, told=False))
        raise
