"""The stages of an action, and the table that orders them.

    stage      does                                              refuses with
    resolve    finds the capability in the session's view        capability_*, view_changed
    validate   holds the arguments against its JSON Schema       arguments_invalid
    authorize  asks the policy; applies what it changes          policy_denied, or the policy's own reason
    approve    asks people, and uses their approval up           approval_*
    reserve    holds its place in the budget of the run's tree   budget_exceeded
    claim      claims the effect, executes it, settles it        audit_unavailable
    review     shows the result to the policy                    (the action has been executed)

Rules
-----
* Up to the claim every error is a refusal: the action has not begun, and the model is told so with a reason code.
* A refusal of a call that was executed before, such as by a node that runs again, is replaced by what is known of it.
* Nothing that a tool returned goes on without the policy: also what failed, what was stored before, and the messages
  and keys of the state that a `Command` of it writes.
* Whatever ends an action is told to the audit log, also where the caller is cancelled.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import Final

from stategraph.governance.actions import ActionOutcome, Reason
from stategraph.governance.errors import ActionRejected, AuditUnavailable
from stategraph.governance.pipeline import approvals, claims, decisions, standing, telling, writes
from stategraph.governance.pipeline.action import Action, Carried, Ran, Services, blocking
from stategraph.governance.policy import points
from stategraph.governance.policy.combination import asks_at
from stategraph.governance.policy.reasons import RuntimeReason
from stategraph.governance.policy.snapshot import content_of, tool_result_snapshot
from stategraph.governance.policy.verdict import InterventionPoint
from stategraph.governance.session import ActiveSession
from stategraph.prebuilt.steps import Step, Steps
from stategraph.workers.registry.port import StoreUnavailableError


def reserve(services: Services, action: Action) -> Steps[Action]:
    """Hold a place in the budget of the run's tree.

    Raises:
        BudgetExceeded: It is used up.
        GraphInterrupt: A person is asked whether it may be more.
    """
    budgets, request = services.budgets, action.request
    if budgets is None or request.context.budget is None:
        return action
    session = ActiveSession(request.context, request.run)
    held = yield Step(
        partial(budgets.begin_action_sync, session, request), partial(budgets.begin_action, session, request)
    )
    return replace(action, reservation=held)


def review(services: Services, action: Action) -> Steps[Action]:
    """Show the result to the policy, which may change it or keep it from the model."""
    ran = action.ran
    if ran is None:
        return action
    try:
        shown = yield from _reviewed_ran(services, action, ran, failed=ran.error is not None)
    except asyncio.CancelledError:
        yield from _ended(services, action, claims.completed(services, action))
        raise
    return action if shown is ran else replace(action, ran=shown)


def _reviewed(services: Services, ended: claims.Ended) -> Steps[tuple[Action, ActionOutcome]]:
    """Show what an action that ended early brings: a failure, or the stored result of an earlier execution."""
    action, outcome = ended.action, ended.outcome
    if outcome.status not in ("completed", "failed"):
        return action, outcome
    ran = Ran(outcome.content) if action.ran is None else action.ran
    shown = yield from _reviewed_ran(services, action, ran, failed=outcome.status == "failed")
    if shown is ran:
        return action, outcome
    return (
        action if action.ran is None else replace(action, ran=shown),
        replace(outcome, content=shown.content, artifact=None),
    )


def _reviewed_ran(services: Services, action: Action, ran: Ran, *, failed: bool) -> Steps[Ran]:
    """Return what goes on of a result; what cannot be reviewed is kept back, as the action is over."""
    try:
        return (yield from _shown(services, action, ran, failed=failed))
    except AuditUnavailable:
        return _kept_back(ran, Reason.AUDIT_UNAVAILABLE, "the audit log cannot take the decision about it")
    except StoreUnavailableError as error:
        return _kept_back(ran, Reason.STORE_UNAVAILABLE, str(decisions.unavailable(error)))
    except ActionRejected as refusal:
        return _kept_back(ran, refusal.reason, str(refusal))


def _shown(services: Services, action: Action, ran: Ran, *, failed: bool) -> Steps[Ran]:
    """Return what the policy lets go on of a result and of what is written with it: the same if nothing is changed.

    A stored result is what the tool returned, so it is decided about each time that it is used.
    """
    policy = decisions.policy_of(services, action)
    if policy is None:
        return ran
    if not asks_at(policy, InterventionPoint.POST_TOOL_CALL):
        yield from _carried_on(services, action, frozenset())
        return ran
    call_id = action.request.call_id
    written = writes.facts(writes.commands_of(ran.kept), call_id)
    snapshot = tool_result_snapshot(
        action.request,
        action.found,
        ran.content,
        failed=failed,
        arguments=action.arguments,
        resource=decisions.resource_of(services, action),
        writes=written,
    )
    evaluation = points.evaluate(
        policy,
        InterventionPoint.POST_TOOL_CALL,
        snapshot,
        decisions.UNIDENTIFIED if services.audit is None else decisions.TOLD,
    )
    verdict = evaluation.verdict
    if telling.is_worth_telling(verdict) and not action.replayed:
        yield from telling.tell_decision(services, replace(action, evaluation=evaluation), "post_tool_call")
    if not evaluation.transformed and not verdict.lets_pass:
        why = verdict.message or "the policy keeps the result back"
        return _kept_back(ran, verdict.reason or Reason.POLICY_DENIED, why)
    yield from _carried_on(services, action, verdict.labels)
    if not evaluation.transformed:
        return ran
    kept = ran.kept
    if written:
        try:
            kept = writes.changed(ran.kept, written, evaluation.target.get("writes"), call_id)
        except writes.Unplaced as error:
            text = f"the policy changes what cannot be changed in what it writes: {error}"
            return _kept_back(ran, RuntimeReason.TRANSFORM_INVALID.value, text)
    return Ran(content_of(evaluation.target), None, kept, ran.error)


def _carried_on(services: Services, action: Action, labels: frozenset[str]) -> Steps[None]:
    """Store the labels of a result that the model is about to read."""
    before = action.evaluation.verdict if action.evaluation is not None else None
    brought = labels | (before.labels if before is not None else frozenset())
    if services.labels is not None and brought:
        context = action.request.context
        yield blocking(services.labels.add, context.tenant, context.session_id, brought)


def _ended(services: Services, action: Action, outcome: ActionOutcome) -> Steps[None]:
    """Tell of the end of an action; a log is told to the end, also where the caller is cancelled."""
    end = claims.end(services, action, outcome)
    if services.audit is None:
        yield from end
    else:
        yield claims.uncut(end)


def _kept_back(ran: Ran, reason: str, why: str) -> Ran:
    """Return a result in the place of one that is not shown: nothing is written either."""
    return Ran(f"It was executed. Its result is not shown ({reason}): {why}", None, None, ran.error)


STAGES: Final = (
    *decisions.BEFORE,
    decisions.Stage("approve", approvals.approve),
    decisions.Stage("reserve", reserve),
    decisions.Stage("claim", claims.claim),
    decisions.Stage("review", review),
)
"""All stages, in their order."""


def run(services: Services, action: Action) -> Steps[Carried]:
    """Take an action through all stages, and tell the log how it ended.

    Raises:
        GraphInterrupt: A person is asked.
        ActionRejected: It was refused, and refusals are raised.
    """
    raised: ActionRejected | None = None
    try:
        action = yield from decisions.through(STAGES, services, action)
        outcome = claims.completed(services, action)
    except decisions.Refused as refused:
        action, raised = refused.action, refused.refusal
        yield from standing.set_aside(services, action)
        try:
            outcome = yield from claims.refused(services, action, refused.refusal)
        except claims.Ended as ended:
            action, outcome = yield from _reviewed(services, ended)
    except claims.Ended as ended:
        action, outcome = yield from _reviewed(services, ended)
    yield from _ended(services, action, outcome)
    if outcome.status == "rejected" and services.on_error == "raise":
        raise raised or ActionRejected(str(outcome.content), outcome.reason or Reason.POLICY_DENIED)
    return Carried(outcome, action.ran)
