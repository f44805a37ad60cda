"""Answers of people in a run: counted as votes, and the actions looked at anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from stategraph.governance.actions import ActionOutcome
from stategraph.governance.audit.event import AuditEventType
from stategraph.governance.canonical import same_json
from stategraph.governance.pipeline import asking, claims, looking, telling, votes
from stategraph.governance.pipeline.action import Action, Services, blocking
from stategraph.governance.pipeline.asking import Asked
from stategraph.governance.pipeline.beside import Turn
from stategraph.governance.pipeline.cleared import Cleared
from stategraph.prebuilt.steps import Steps
from stategraph.run.questions import Approve, Edit, Reject, Respond, Review


def answered(
    services: Services, actions: Sequence[Action], tells: bool, cleared: Sequence[Cleared], turn: Turn
) -> Steps[list[Cleared]]:
    """Ask people about the actions that wait, count what they decide, and look at these actions anew.

    Raises:
        GraphInterrupt: There is no answer yet.
        InvalidAnswerError: An answer does not count; the question stays open.
        GovernanceError: Another action of the task has come.
    """
    waits = yield from asking.waiting(services, actions, cleared)
    decided = asking.ask(services, waits, turn)
    found = {each.call_id: each for each in cleared}
    for asked in waits:
        call_id = asked.action.request.call_id
        found[call_id] = yield from _reviewed(services, asked, decided.get(call_id), tells)
    return list(found.values())


def _reviewed(services: Services, asked: Asked, review: Review | None, tells: bool) -> Steps[Cleared]:
    """Return how an action stands after a decision about it; None: it was decided elsewhere."""
    action, approval = asked.action, asked.cleared.approval
    assert approval is not None
    match review:
        case Approve():
            yield from votes.count(services, action, approval, "approve", None)
        case Reject(reason=comment):
            yield from votes.count(services, action, approval, "deny", comment)
        case Respond(response_text=text):
            yield from votes.count(services, action, approval, "deny", "answered in its place")
            if tells:
                outcome = ActionOutcome("answered", text, None, None)
                yield from claims.end(services, action, outcome)
            return Cleared(action.request.call_id, "answer", dict(action.asked), None, {}, text, "answered")
        case Edit(updated_input=given):
            whole = asked.edited(given)
            if not same_json(whole, asked.original):
                return (yield from _edited(services, replace(action, asked=whole), approval, tells))
            yield from votes.count(services, action, approval, "approve", None)
    return (yield from looking.look(services, action, tells))


def _edited(services: Services, action: Action, old: str, tells: bool) -> Steps[Cleared]:
    """Look at an action with a person's arguments, which that person approves; the request before is set aside."""
    tenant = action.request.context.tenant
    if (yield blocking(votes.store_of(services).supersede, tenant, old)):
        data = {"approval": old, "different": ["arguments"], "edited_by": votes.voter_of(action).user_id}
        yield from telling.told(services, action, AuditEventType.APPROVAL_SUPERSEDED, data)
    looked = yield from looking.look(services, action, tells)
    if looked.kind != "wait" or looked.approval is None:
        return looked
    yield from votes.count(services, action, looked.approval, "approve", "with edited arguments")
    return (yield from looking.look(services, action, tells))
