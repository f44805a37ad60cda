"""A look at an action: whether it may be carried out, waits for a person, or is refused."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from stategraph.governance.actions import Reason
from stategraph.governance.approval.machine import ApprovalState
from stategraph.governance.approval.port import Approval
from stategraph.governance.errors import ActionRejected, AuditUnavailable
from stategraph.governance.pipeline import claims, decisions, standing, telling
from stategraph.governance.pipeline.action import Action, Services
from stategraph.governance.pipeline.cleared import Cleared
from stategraph.governance.visible_text import visible
from stategraph.prebuilt.steps import Steps
from stategraph.workers.registry.port import StoreUnavailableError


def looked(services: Services, actions: Sequence[Action], tells: bool) -> Steps[list[Cleared]]:
    """Find out how actions stand, in their order; see `look`."""
    found = []
    for action in actions:
        found.append((yield from look(services, action, tells)))
    return found


def look(services: Services, action: Action, tells: bool) -> Steps[Cleared]:
    """Find out how an action stands; make a request for its approval if it needs one.

    Args:
        services: The services.
        action: The action.
        tells: Whether to tell the log if it is refused.
    """
    given = dict(action.asked)
    try:
        action = yield from decisions.again(services, action)
        if not standing.is_escalated(action):
            return Cleared(action.request.call_id, "pass", given)
        approval = yield from standing.find(services, action)
    except decisions.Refused as refused:
        yield from standing.set_aside(services, refused.action)
        return (yield from refuse(services, refused.action, refused.refusal, given, tells))
    except ActionRejected as refusal:
        return (yield from refuse(services, action, refusal, given, tells))
    except StoreUnavailableError as error:
        return (yield from refuse(services, action, decisions.unavailable(error), given, tells))
    except AuditUnavailable as error:
        untold = ActionRejected(str(error), Reason.AUDIT_UNAVAILABLE)
        return (yield from refuse(services, action, untold, given, tells))
    if approval.state is ApprovalState.DENIED:
        denied = ActionRejected(denial(approval), Reason.APPROVAL_DENIED)
        return (yield from refuse(services, action, denied, given, tells))
    if approval.state is ApprovalState.REQUESTED:
        return Cleared(action.request.call_id, "wait", given, approval.id, _shown(services, action, approval))
    return Cleared(action.request.call_id, "pass", given, approval.id)


def refuse(
    services: Services, action: Action, refusal: ActionRejected, given: dict[str, Any], tells: bool
) -> Steps[Cleared]:
    """Return the standing of an action that is refused; it passes if it was carried out before."""
    try:
        outcome = yield from claims.refused(services, action, refusal)
    except claims.Ended:
        return Cleared(action.request.call_id, "pass", given)  # its result is known
    if tells:
        yield from claims.end(services, action, outcome)
    return Cleared(
        action.request.call_id, "answer", given, None, {}, str(outcome.content), outcome.status, outcome.reason
    )


def denial(approval: Approval) -> str:
    """Return who denied a request, and why."""
    vote = next((vote for vote in reversed(approval.votes) if vote.word == "deny"), None)
    if vote is None:
        return "A person denied it"
    return f"'{vote.approver}' denied it" + (f": {vote.comment}" if vote.comment else "")


def _shown(services: Services, action: Action, approval: Approval) -> dict[str, Any]:
    """Return what people are shown of a request, as JSON."""
    terms = approval.terms
    title = action.found.title or action.found.name
    facts = {
        "name": action.request.capability,
        "description": visible(approval.reason or f"{title} ({action.found.risk})"),
        "approval": {
            "id": approval.id,
            "capability": approval.capability_id,
            "expires_at": datetime.fromtimestamp(approval.expires_at, UTC).isoformat(),
            "requesters": [visible(each) for each in approval.requesters],
            "agent": visible(approval.agent_id),
            "rule": approval.rule,
            "approvers": list(terms.approvers),
            "quorum": terms.quorum,
            "approved_by": [visible(vote.approver) for vote in approval.votes if vote.word == "approve"],
        },
    }
    described: dict[str, Any] = facts["approval"]  # type: ignore[assignment]
    for name in ("requesters", "agent", "rule"):
        described[name] = telling.clean(services, described[name])
    return {**facts, "arguments": dict(approval.preview)}
