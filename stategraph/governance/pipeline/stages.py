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
* Nothing that a tool returned reaches the model without the policy: also what failed, and what was stored before.
* Whatever ends an action is told to the audit log, also where the caller is cancelled.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import Any, Final

from stategraph.governance.actions import ActionOutcome, Reason
from stategraph.governance.audit.event import AuditEventType
from stategraph.governance.errors import ActionRejected, AuditUnavailable
from stategraph.governance.pipeline import approvals, claims, decisions, standing, telling
from stategraph.governance.pipeline.action import Action, Carried, Ran, Services, blocking
from stategraph.governance.policy import points
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
        content = yield from _reviewed_content(services, action, ran.content, failed=ran.error is not None)
    except asyncio.CancelledError:
        yield from _ended(services, action, claims.completed(services, action))
        raise
    return action if content is ran.content else replace(action, ran=Ran(content, None, ran.kept, ran.error))


def _reviewed(services: Services, action: Action, outcome: ActionOutcome) -> Steps[ActionOutcome]:
    """Show what an action that ended early brings: a failure, or the stored result of an earlier execution."""
    if outcome.status not in ("completed", "failed"):
        return outcome
    failed = outcome.status == "failed"
    content = yield from _reviewed_content(services, action, outcome.content, failed=failed)
    return outcome if content is outcome.content else replace(outcome, content=content, artifact=None)


def _reviewed_content(services: Services, action: Action, content: Any, *, failed: bool) -> Steps[Any]:
    """Return what the model sees of a result; what cannot be reviewed is kept back, as the action is over."""
    try:
        return (yield from _shown(services, action, content, failed=failed))
    except AuditUnavailable:
        return _kept_back(Reason.AUDIT_UNAVAILABLE, "the audit log cannot take the decision about it")
    except StoreUnavailableError as error:
        return _kept_back(Reason.STORE_UNAVAILABLE, str(decisions.unavailable(error)))
    except ActionRejected as refusal:
        return _kept_back(refusal.reason, str(refusal))


def _shown(services: Services, action: Action, content: Any, *, failed: bool) -> Steps[Any]:
    """Return what the policy lets the model see of a result: the content itself if nothing is changed.

    A stored result is what the tool returned, so it is decided about each time that it is used.
    """
    policy = decisions.policy_of(services, action)
    if policy is None:
        return content
    snapshot = tool_result_snapshot(
        action.request,
        action.found,
        content,
        failed=failed,
        arguments=action.arguments,
        resource=decisions.resource_of(services, action),
    )
    evaluation = points.evaluate(
        policy,
        InterventionPoint.POST_TOOL_CALL,
        snapshot,
        decisions.UNIDENTIFIED if services.audit is None else decisions.TOLD,
    )
    verdict = evaluation.verdict
    if telling.is_worth_telling(verdict) and not action.replayed:
        decided = replace(action, evaluation=evaluation)
        yield from telling.told(services, decided, AuditEventType.POLICY_DECIDED, telling.decision_data(decided))
    if evaluation.transformed or verdict.lets_pass:
        yield from _carried_on(services, action, verdict.labels)
        return content_of(evaluation.target) if evaluation.transformed else content
    return _kept_back(verdict.reason or Reason.POLICY_DENIED, verdict.message or "the policy keeps the result back")


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


def _kept_back(reason: str, why: str) -> str:
    return f"It was executed. Its result is not shown ({reason}): {why}"


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
            action, outcome = ended.action, (yield from _reviewed(services, ended.action, ended.outcome))
    except claims.Ended as ended:
        action, outcome = ended.action, (yield from _reviewed(services, ended.action, ended.outcome))
    yield from _ended(services, action, outcome)
    if outcome.status == "rejected" and services.on_error == "raise":
        raise raised or ActionRejected(str(outcome.content), outcome.reason or Reason.POLICY_DENIED)
    return Carried(outcome, action.ran)
