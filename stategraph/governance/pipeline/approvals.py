"""Approval of actions: requests are made, people are asked, and what they approved is compared and used up.

Rules
-----
* All calls of one answer that need approval are asked about together, in one interrupt, as LangChain's
  human-in-the-loop middleware does.
* A person's answer decides about the request that they were shown. Then the action is looked at anew: the policy
  decides again, and an approval counts only if the action, the capability and the policy are those that were approved,
  it has not expired, and those who approved still may. Else it is superseded, and there is a new request.
* It is looked at once more when it is carried out, in the same way, and used up by one conditional update.
* Where states are stored, each look is a task of the engine: a node that runs again finds the same questions in the
  same order, whatever was decided elsewhere meanwhile.
* Nothing is remembered for later actions. To let one pass without being asked again is a rule of the policy.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Literal

from pydantic import ValidationError

from stategraph.engine.compile.task_functions import start_task
from stategraph.errors import ConfigurationError, InvalidAnswerError, mark_invalid_resume
from stategraph.governance.actions import ActionOutcome, ActionStatus, Reason
from stategraph.governance.approval import voting
from stategraph.governance.approval.events import approval_data, decision_event
from stategraph.governance.approval.machine import OPEN, ApprovalState
from stategraph.governance.approval.port import Approval, ApprovalStore, VoteWord
from stategraph.governance.approval.preview import restored
from stategraph.governance.audit.event import AuditEventType
from stategraph.governance.canonical import digest, same_json
from stategraph.governance.context import Principal
from stategraph.governance.errors import ActionRejected, ApprovalError, AuditUnavailable
from stategraph.governance.pipeline import beside, claims, decisions, telling
from stategraph.governance.pipeline.action import Action, Services, blocking
from stategraph.governance.policy.verdict import ApprovalTerms, Decision
from stategraph.prebuilt.steps import Step, Steps, atake, take
from stategraph.run import questions
from stategraph.run.questions import Approve, Edit, Reject, Respond, Review
from stategraph.workers.registry.port import StoreUnavailableError

_log = logging.getLogger(__name__)

_NAMESPACE: Final = uuid.UUID("6f1c1d0e-6f0a-5b0c-9d7e-2f5f0a4d9a11")


@dataclass(frozen=True, slots=True)
class Cleared:
    """Standing of an action before it is carried out, in a form that can be stored.

    Attributes:
        call_id: The call.
        kind: `pass`: it may be carried out, if it still may then. `wait`: a person has to decide. `answer`: it is not
            carried out, and this is its result.
        arguments: Its arguments, as a person has edited them; without what the policy changes.
        approval: The id of the request; None: it needs none.
        asked: What people are shown of it, where it waits.
        text: The result for the model, where it is answered.
        status: The status of that.
        reason: The code of a refusal.
    """

    call_id: str
    kind: Literal["pass", "wait", "answer"]
    arguments: dict[str, Any]
    approval: str | None = None
    asked: dict[str, Any] = field(default_factory=dict)
    text: str = ""
    status: ActionStatus = "rejected"
    reason: str | None = None


def approve(services: Services, action: Action) -> Steps[Action]:
    """Have an action approved that the policy escalates, and use the approval up.

    Raises:
        GraphInterrupt: A person is asked.
        ActionRejected: It is not approved, or nobody can be asked.
        Ended: A person answered in its place.
    """
    if action.asks and action.execution is None and _is_escalated(action):
        yield from beside.refuse_several(services, action)
    while _is_escalated(action):
        (cleared,) = yield from clear(services, [action], tells=False)
        if cleared.kind == "answer":
            raise _answered(action, cleared)
        # What was looked at as a task of the engine may be long ago.
        action = replace(action, asked=cleared.arguments)
        action = yield from decisions.again(services, action)
        if not _is_escalated(action) or cleared.approval is None:
            continue
        store = _store(services)
        approval = yield from _standing(services, action)
        tenant, identity = action.request.context.tenant, identity_of(action)
        if approval.state is ApprovalState.CONSUMED:
            return replace(action, approval=approval)
        if approval.state is ApprovalState.APPROVED:
            if (yield blocking(store.consume, tenant, approval.id, identity, _user_of(services, action))):
                action = replace(action, approval=approval)
                yield from telling.told(services, action, AuditEventType.APPROVAL_CONSUMED, approval_data(approval))
                return action
        elif approval.state is ApprovalState.DENIED:
            raise ActionRejected(_denial(approval), Reason.APPROVAL_DENIED)
        if not action.asks:
            raise ActionRejected(_required(approval), Reason.APPROVAL_REQUIRED)
    return action


def clear(services: Services, actions: Sequence[Action], *, tells: bool) -> Steps[list[Cleared]]:
    """Find out how the actions of one answer stand, and ask people about those that wait.

    Args:
        services: The services.
        actions: The actions, in their order; all of one task.
        tells: Whether to tell the log of those that are refused.

    Returns:
        How each stands; none waits.

    Raises:
        GraphInterrupt: People are asked.
        GovernanceError: Other actions of the task are looked at, or wait for an answer.
    """
    with beside.turn(actions[0]) as turn:
        return (yield from _cleared(services, actions, tells, turn))


def _cleared(services: Services, actions: Sequence[Action], tells: bool, turn: beside.Turn) -> Steps[list[Cleared]]:
    actions = [replace(action, siblings=frozenset(each.request.call_id for each in actions)) for action in actions]
    asks = actions[0].asks
    cleared: list[Cleared] = yield from _as_task(asks, _looked, look_task, look_task_sync, services, actions, tells)
    while any(each.kind == "wait" for each in cleared):
        if not asks:
            return [each if each.kind != "wait" else _unasked(each) for each in cleared]
        rows = yield from _rows(services, actions, cleared)
        turn.check()
        answers = _ask(actions, cleared, rows)
        cleared = yield from _as_task(
            asks, _decided, decide_task, decide_task_sync, services, actions, tells, cleared, answers
        )
    return cleared


# Looking at actions.


def _looked(services: Services, actions: Sequence[Action], tells: bool) -> Steps[list[Cleared]]:
    found = []
    for action in actions:
        found.append((yield from _look(services, action, tells)))
    return found


def _look(services: Services, action: Action, tells: bool) -> Steps[Cleared]:
    """Find out how an action stands; make a request for its approval if it needs one."""
    given = dict(action.asked)
    try:
        action = yield from decisions.again(services, action)
        if not _is_escalated(action):
            return Cleared(action.request.call_id, "pass", given)
        approval = yield from _standing(services, action)
    except decisions.Refused as refused:
        yield from set_aside(services, refused.action)
        return (yield from _refused(services, refused.action, refused.refusal, given, tells))
    except ActionRejected as refusal:
        return (yield from _refused(services, action, refusal, given, tells))
    except StoreUnavailableError as error:
        return (yield from _refused(services, action, decisions.unavailable(error), given, tells))
    except AuditUnavailable as error:
        untold = ActionRejected(str(error), Reason.AUDIT_UNAVAILABLE)
        return (yield from _refused(services, action, untold, given, tells))
    if approval.state is ApprovalState.DENIED:
        denied = ActionRejected(_denial(approval), Reason.APPROVAL_DENIED)
        return (yield from _refused(services, action, denied, given, tells))
    if approval.state is ApprovalState.REQUESTED:
        return Cleared(action.request.call_id, "wait", given, approval.id, _asked_about(action, approval))
    return Cleared(action.request.call_id, "pass", given, approval.id)


def _refused(
    services: Services, action: Action, refusal: ActionRejected, given: dict[str, Any], tells: bool
) -> Steps[Cleared]:
    try:
        outcome = yield from claims.refused(services, action, refusal)
    except claims.Ended:
        return Cleared(action.request.call_id, "pass", given)  # it was carried out before, and its result is known
    if tells:
        yield from claims.end(services, action, outcome)
    return Cleared(
        action.request.call_id, "answer", given, None, {}, str(outcome.content), outcome.status, outcome.reason
    )


def _standing(services: Services, action: Action) -> Steps[Approval]:
    """Return the request for an action's approval: one that is for this very action, or a new one.

    Raises:
        ActionRejected: No request can be made.
    """
    store, request = _store(services), action.request
    tenant, run = request.context.tenant, request.run
    known: Sequence[Approval] = yield blocking(store.of_call, tenant, run.scope, request.place, request.call_id)
    equal: Sequence[Approval] = ()
    found: Approval | None = None
    for each in reversed(known):
        if found is None and (yield from _is_for(services, action, each)):
            found = each
    if found is not None:
        return found
    equal = yield blocking(store.equal, tenant, run.scope, identity_of(action))
    for each in equal:
        # Another call id is no other action; a call of the same answer has a request of its own.
        if each.call_id not in action.siblings and not _differences(services, action, each):
            yield from _told_decision(services, action, each)
            return each
    if known and known[-1].state is ApprovalState.EXPIRED:
        yield from telling.told(services, action, AuditEventType.APPROVAL_EXPIRED, approval_data(known[-1]))
    return (yield from _requested(services, action, len(known)))


def _is_for(services: Services, action: Action, approval: Approval) -> Steps[bool]:
    """Return whether an earlier request about the call is for this very action; one that is not is set aside."""
    if approval.state is ApprovalState.CONSUMED:
        return (
            approval.used_by == action.key and approval.identity == identity_of(action) and _is_kept(services, action)
        )
    yield from _told_decision(services, action, approval)
    different = _differences(services, action, approval)
    if approval.state is ApprovalState.DENIED:
        return not different
    if approval.state not in OPEN:
        return False
    if different and (yield blocking(_store(services).supersede, approval.tenant, approval.id)):
        data = {**approval_data(approval), "different": different}
        yield from telling.told(services, action, AuditEventType.APPROVAL_SUPERSEDED, data)
    return not different


def set_aside(services: Services, action: Action) -> Steps[None]:
    """Supersede the open requests about a call that the policy denies by now; a refused action stays refused anyway."""
    verdict, request = telling.verdict_of(action), action.request
    if services.approvals is None or verdict is None or not verdict.enforced or verdict.decision is not Decision.DENY:
        return
    store, tenant = services.approvals, request.context.tenant
    try:
        known = yield blocking(store.of_call, tenant, request.run.scope, request.place, request.call_id)
        for each in known:
            if each.state not in OPEN:
                continue
            yield from _told_decision(services, action, each)
            if (yield blocking(store.supersede, tenant, each.id)):
                data = {**approval_data(each), "different": ["policy"]}
                yield from telling.told(services, action, AuditEventType.APPROVAL_SUPERSEDED, data)
    except (StoreUnavailableError, AuditUnavailable) as error:
        _log.warning("Requests about the denied action %s could not be set aside: %s", request.call_id, error)


def _is_kept(services: Services, action: Action) -> bool:
    """Return whether an approval that the call has used up lets it go on: the ledger knows how far it came."""
    return services.ledger is not None or action.found.idempotent


def _user_of(services: Services, action: Action) -> str:
    """Return for what an approval is used up: the effect, or where nothing claims effects, this execution alone."""
    return action.key if _is_kept(services, action) else f"{action.key}#{uuid.uuid4().hex}"


def _differences(services: Services, action: Action, approval: Approval) -> list[str]:
    """Return what is not as it was when approval was asked for."""
    verdict = telling.verdict_of(action)
    assert verdict is not None
    found = {
        "capability": approval.capability_digest != action.found.digest,
        "policy": approval.policy_digest != verdict.policy_digest,
        "arguments": approval.arguments_hash != digest(dict(action.arguments)),
        "action": approval.identity != identity_of(action),
        "approvers": approval.state is ApprovalState.APPROVED
        and voting.still_stands(approval, services.directory) is not None,
    }
    return [name for name, is_different in found.items() if is_different]


def _requested(services: Services, action: Action, number: int) -> Steps[Approval]:
    """Make a request; the same one if it is made again by a process that goes on after a crash."""
    request, verdict = action.request, telling.verdict_of(action)
    assert verdict is not None
    context, run, identity = request.context, request.run, identity_of(action)
    unique = "\0".join((context.tenant, run.scope, request.place, request.call_id, identity, str(number)))
    new = Approval(
        uuid.uuid5(_NAMESPACE, unique).hex,
        context.tenant,
        run.scope,
        run.run_id,
        run.thread_id,
        request.place,
        request.call_id,
        action.found.id,
        action.found.digest,
        digest(dict(action.arguments)),
        telling.shown_arguments(services, action.arguments),
        tuple(each.user_id for each in context.principal.chain() if each.org_id == context.tenant),
        context.agent.id,
        verdict.policy_digest,
        identity,
        _terms(services, verdict.approval),
        verdict.rule,
        verdict.message or verdict.reason,
    )
    try:
        approval, is_new = yield blocking(_store(services).request, new)
    except (ApprovalError, ConfigurationError) as error:
        raise ActionRejected(f"Approval cannot be asked for: {error}", Reason.APPROVAL_UNAVAILABLE) from error
    if is_new:
        data = {**approval_data(approval), "arguments": dict(approval.preview)}
        yield from telling.told(services, action, AuditEventType.APPROVAL_REQUESTED, data)
    kept: Approval = approval
    return kept


def _terms(services: Services, given: ApprovalTerms | None) -> ApprovalTerms:
    terms = given or ApprovalTerms()
    if services.self_approval and not terms.approvers:
        return replace(terms, self_approval=True)
    return terms


# Asking people.


def _asked_about(action: Action, approval: Approval) -> dict[str, Any]:
    """Return what people are shown of a request, as JSON."""
    terms = approval.terms
    title = action.found.title or action.found.name
    return {
        "name": action.request.capability,
        "arguments": dict(approval.preview),
        "description": approval.reason or f"{title} ({action.found.risk})",
        "approval": {
            "id": approval.id,
            "capability": approval.capability_id,
            "expires_at": datetime.fromtimestamp(approval.expires_at, UTC).isoformat(),
            "approvers": list(terms.approvers),
            "quorum": terms.quorum,
            "approved_by": [vote.approver for vote in approval.votes if vote.word == "approve"],
        },
    }


def _ask(actions: Sequence[Action], cleared: Sequence[Cleared], rows: Mapping[str, Approval]) -> dict[str, Review]:
    """Ask about the actions that wait, in one interrupt; return the decisions by call id."""
    waiting = [pair for pair in zip(actions, cleared, strict=True) if pair[1].kind == "wait"]
    payload = {
        "type": questions.TOOL_APPROVAL,
        "action_requests": [
            {"tool_call_id": action.request.call_id, "args": each.asked["arguments"], **each.asked}
            for action, each in waiting
        ],
        "review_configs": [
            {
                "action_name": each.asked["name"],
                "tool_call_id": action.request.call_id,
                "allowed_decisions": list(questions.REVIEWS),
            }
            for action, each in waiting
        ],
    }
    voters = {action.request.call_id: _voter(action) for action, _ in waiting}
    try:
        decided: dict[str, Review] = questions.ask(payload, partial(_read, voters, rows))
    except ValidationError as error:
        said = next((each["ctx"]["error"] for each in error.errors() if "error" in each.get("ctx", {})), None)
        if not isinstance(said, InvalidAnswerError):
            raise
        mark_invalid_resume(said)
        raise said from None
    return decided


def _read(
    voters: Mapping[str, Principal], rows: Mapping[str, Approval], payload: Mapping[str, Any], answer: object
) -> dict[str, Review]:
    """Read the decisions, and refuse those of people who may not make them; the question then stays open."""
    decided = questions.read_decisions(payload, answer)
    for call_id, review in decided.items():
        row = rows.get(call_id)
        if row is None or row.state is not ApprovalState.REQUESTED:
            continue  # it was decided elsewhere meanwhile, and that counts
        if (why := voting.objection(row, voters[call_id], _word(review))) is not None:
            raise InvalidAnswerError(f"The decision about the call {call_id} does not count: {why}")
    return decided


def _word(review: Review) -> VoteWord:
    return "deny" if isinstance(review, Reject | Respond) else "approve"


def _voter(action: Action) -> Principal:
    context = action.request.context
    return context.approver or context.principal


def _rows(services: Services, actions: Sequence[Action], cleared: Sequence[Cleared]) -> Steps[dict[str, Approval]]:
    """Return the requests of the actions that wait as they are now, by call id."""
    found: dict[str, Approval] = {}
    for action, each in zip(actions, cleared, strict=True):
        if each.kind == "wait":
            row = yield blocking(_store(services).get, action.request.context.tenant, each.approval)
            if row is not None:
                found[action.request.call_id] = row
    return found


def _decided(
    services: Services,
    actions: Sequence[Action],
    tells: bool,
    cleared: Sequence[Cleared],
    answers: Mapping[str, Review],
) -> Steps[list[Cleared]]:
    """Count the decisions of people, and look at the actions anew."""
    found = []
    for action, each in zip(actions, cleared, strict=True):
        if each.kind == "wait":
            action = replace(action, asked=each.arguments)
            each = yield from _reviewed(services, action, each, answers[action.request.call_id], tells)
        found.append(each)
    return found


def _reviewed(services: Services, action: Action, asked: Cleared, review: Review, tells: bool) -> Steps[Cleared]:
    assert asked.approval is not None
    match review:
        case Approve():
            yield from _vote(services, action, asked.approval, "approve", None)
        case Reject(reason=comment):
            yield from _vote(services, action, asked.approval, "deny", comment)
        case Respond(response_text=text):
            yield from _vote(services, action, asked.approval, "deny", "answered in its place")
            if tells:
                outcome = ActionOutcome("answered", text, None, None)
                yield from claims.end(services, action, outcome)
            return Cleared(action.request.call_id, "answer", asked.arguments, None, {}, text, "answered")
        case Edit(updated_input=edited):
            shown = asked.asked["arguments"]
            whole = edited if (was := (yield from _was(services, action))) is None else restored(edited, shown, was)
            if not same_json(whole, was):
                return (yield from _edited(services, replace(action, asked=whole), asked.approval, tells))
            yield from _vote(services, action, asked.approval, "approve", None)
    return (yield from _look(services, action, tells))


def _was(services: Services, action: Action) -> Steps[dict[str, Any] | None]:
    """Return the arguments of which a person was shown a preview; None: the action is refused by now."""
    try:
        return dict((yield from decisions.again(services, action)).arguments)
    except decisions.Refused:
        return None


def _edited(services: Services, action: Action, old: str, tells: bool) -> Steps[Cleared]:
    """Look at an action with a person's arguments, which that person approves; the request before is set aside."""
    tenant = action.request.context.tenant
    if (yield blocking(_store(services).supersede, tenant, old)):
        data = {"approval": old, "different": ["arguments"], "edited_by": _voter(action).user_id}
        yield from telling.told(services, action, AuditEventType.APPROVAL_SUPERSEDED, data)
    looked = yield from _look(services, action, tells)
    if looked.kind != "wait" or looked.approval is None:
        return looked
    yield from _vote(services, action, looked.approval, "approve", "with edited arguments")
    return (yield from _look(services, action, tells))


def _vote(services: Services, action: Action, id: str, word: VoteWord, comment: str | None) -> Steps[None]:
    """Count a vote; one about a request that was decided meanwhile changes nothing."""
    tenant = action.request.context.tenant
    try:
        row: Approval = yield blocking(_store(services).vote, tenant, id, _voter(action), word, comment)
    except ApprovalError:
        return
    yield from _told_decision(services, action, row)


def _told_decision(services: Services, action: Action, approval: Approval) -> Steps[None]:
    """Tell the log that a request is approved or denied, unless it was told by whoever counted the vote.

    Raises:
        AuditUnavailable: The log cannot take it; it is told when the request is looked at again.
    """
    audit, event = services.audit, decision_event(approval, action.request.context.trace)
    if audit is None or event is None:
        return
    note = partial(_store(services).note_told, approval.tenant, approval.id, approval.state)
    if not (yield blocking(note)):
        return
    try:
        yield Step(partial(audit.record_sync, event), partial(audit.record, event))
    except AuditUnavailable:
        yield blocking(partial(note, told=False))
        raise


# Answers.


def _is_escalated(action: Action) -> bool:
    verdict = telling.verdict_of(action)
    return verdict is not None and verdict.enforced and verdict.decision is Decision.ESCALATE


def identity_of(action: Action) -> str:
    """Return the identity of an action, which an approval is for."""
    assert action.evaluation is not None
    identity = action.evaluation.enforced_identity
    if identity is None:
        raise ActionRejected("The action cannot be identified, so it cannot be approved", Reason.APPROVAL_UNAVAILABLE)
    return identity


def _store(services: Services) -> ApprovalStore:
    if services.approvals is None:
        raise ActionRejected(
            "A person has to approve this, and there is no store of approvals", Reason.APPROVAL_UNAVAILABLE
        )
    return services.approvals


def _denial(approval: Approval) -> str:
    vote = next((vote for vote in reversed(approval.votes) if vote.word == "deny"), None)
    if vote is None:
        return "A person denied it"
    return f"'{vote.approver}' denied it" + (f": {vote.comment}" if vote.comment else "")


def _required(approval: Approval) -> str:
    return f"It waits for approval, as request {approval.id}"


def _unasked(cleared: Cleared) -> Cleared:
    message = f"It waits for approval, as request {cleared.approval}"
    text = telling.refusal(Reason.APPROVAL_REQUIRED, message)
    return replace(cleared, kind="answer", text=text, status="rejected", reason=str(Reason.APPROVAL_REQUIRED))


def _answered(action: Action, cleared: Cleared) -> claims.Ended:
    capability = None if action.capability is None else action.capability.id
    verdict = telling.verdict_of(action)
    outcome = ActionOutcome(cleared.status, cleared.text, cleared.reason, capability, None, verdict)
    return claims.Ended(action, outcome)


# Tasks of the engine, whose results are stored with a waiting run.


def _as_task(
    asks: bool,
    steps: Callable[..., Steps[list[Cleared]]],
    task: Callable[..., Any],
    task_sync: Callable[..., Any],
    *args: Any,
) -> Steps[list[Cleared]]:
    if not asks:
        return (yield from steps(*args))
    actions: Sequence[Action] = args[1]
    found = yield Step(lambda: start_task(task_sync, (args, {})).result(), lambda: start_task(task, (args, {})))
    cleared = [Cleared(**each) for each in found]
    if [each.call_id for each in cleared] != [action.request.call_id for action in actions]:
        # Calls beside each other in one task of the engine, which began in another order than before.
        raise beside.confused()
    return cleared


def look_task_sync(*args: Any) -> list[dict[str, Any]]:
    """Look at actions, as a task of the engine."""
    return [asdict(each) for each in take(_looked(*args))]


async def look_task(*args: Any) -> list[dict[str, Any]]:
    """Look at actions, as a task of the engine."""
    return [asdict(each) for each in await atake(_looked(*args))]


def decide_task_sync(*args: Any) -> list[dict[str, Any]]:
    """Count decisions of people, as a task of the engine."""
    return [asdict(each) for each in take(_decided(*args))]


async def decide_task(*args: Any) -> list[dict[str, Any]]:
    """Count decisions of people, as a task of the engine."""
    return [asdict(each) for each in await atake(_decided(*args))]
