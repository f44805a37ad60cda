"""Approval of actions: people are asked, and what they approved is compared and used up.

`looking` finds out how an action stands, with the request that `standing` finds or makes; `asking` shows people what
waits, and `answering` counts what they decide, as `votes`.

Rules
-----
* All calls of one answer that need approval are asked about together, in one interrupt, as LangChain's
  human-in-the-loop middleware does.
* A person's answer decides about the request that they were shown. Then the action is looked at anew: the policy
  decides again, and an approval counts only if it is for this very action. Else it is superseded, and there is a new
  request.
* It is looked at once more when it is carried out, in the same way, and used up by one conditional update.
* Where states are stored, each look is a task of the engine, and so is each question: a node that runs again finds the
  same, whatever was decided elsewhere meanwhile, and an answer belongs to its own question, whatever else it asks.
* Nothing is remembered for later actions. To let one pass without being asked again is a rule of the policy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

from stategraph.engine.compile.task_functions import start_task
from stategraph.governance.actions import ActionOutcome, Reason
from stategraph.governance.approval.events import approval_data
from stategraph.governance.approval.machine import ApprovalState
from stategraph.governance.audit.event import AuditEventType
from stategraph.governance.errors import ActionRejected
from stategraph.governance.pipeline import answering, beside, claims, decisions, looking, standing, telling, votes
from stategraph.governance.pipeline.action import Action, Services, blocking
from stategraph.governance.pipeline.cleared import Cleared
from stategraph.prebuilt.steps import Step, Steps, atake, take


def approve(services: Services, action: Action) -> Steps[Action]:
    """Have an action approved that the policy escalates, and use the approval up.

    Raises:
        GraphInterrupt: A person is asked.
        ActionRejected: It is not approved, or nobody can be asked.
        Ended: A person answered in its place.
    """
    if action.asks and action.execution is None and standing.is_escalated(action):
        yield from beside.refuse_several(services, action)
    while standing.is_escalated(action):
        (cleared,) = yield from clear(services, [action], tells=False)
        if cleared.kind == "answer":
            raise _answered(action, cleared)
        # What was looked at as a task of the engine may be long ago.
        action = replace(action, asked=cleared.arguments)
        action = yield from decisions.again(services, action)
        if not standing.is_escalated(action) or cleared.approval is None:
            continue
        store = votes.store_of(services)
        approval = yield from standing.find(services, action)
        tenant, identity = action.request.context.tenant, standing.identity_of(action)
        if approval.state is ApprovalState.CONSUMED:
            return replace(action, approval=approval)
        if approval.state is ApprovalState.APPROVED:
            user = standing.user_of(services, action)
            if (yield blocking(store.consume, tenant, approval.id, identity, user)):
                action = replace(action, approval=replace(approval, used_by=user))
                yield from telling.told(services, action, AuditEventType.APPROVAL_CONSUMED, approval_data(approval))
                return action
        elif approval.state is ApprovalState.DENIED:
            raise ActionRejected(looking.denial(approval), Reason.APPROVAL_DENIED)
        if not action.asks:
            raise ActionRejected(_required(approval.id), Reason.APPROVAL_REQUIRED)
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
    ids = Counter(action.request.call_id for action in actions)
    if len(ids) < len(actions):
        return (yield from _with_one_id(services, actions, ids, tells))
    with beside.turn(actions[0]) as turn:
        return (yield from _cleared(services, actions, tells, turn))


def _with_one_id(services: Services, actions: Sequence[Action], ids: Counter[str], tells: bool) -> Steps[list[Cleared]]:
    """Refuse the calls that share an id: a decision about one could count for another."""
    alone = [action for action in actions if ids[action.request.call_id] == 1]
    cleared = iter((yield from clear(services, alone, tells=tells)) if alone else ())
    found = []
    for action in actions:
        if ids[action.request.call_id] == 1:
            found.append(next(cleared))
            continue
        text = f"{ids[action.request.call_id]} calls of this answer have the id '{action.request.call_id}'"
        refusal = ActionRejected(text, Reason.CALL_ID_REUSED)
        found.append((yield from looking.refuse(services, action, refusal, dict(action.asked), tells)))
    return found


def _cleared(services: Services, actions: Sequence[Action], tells: bool, turn: beside.Turn) -> Steps[list[Cleared]]:
    actions = [replace(action, siblings=frozenset(each.request.call_id for each in actions)) for action in actions]
    asks = actions[0].asks
    cleared: list[Cleared]
    if not asks:
        cleared = yield from looking.looked(services, actions, tells)
        return [each if each.kind != "wait" else _unasked(each) for each in cleared]
    cleared = yield from _as_task(look_task, look_task_sync, services, actions, tells)
    while any(each.kind == "wait" for each in cleared):
        cleared = yield from _as_task(decide_task, decide_task_sync, services, actions, tells, cleared, turn)
    return cleared


def _required(approval: str | None) -> str:
    return f"It waits for approval, as request {approval}"


def _unasked(cleared: Cleared) -> Cleared:
    text = telling.refusal(Reason.APPROVAL_REQUIRED, _required(cleared.approval))
    return replace(cleared, kind="answer", text=text, status="rejected", reason=str(Reason.APPROVAL_REQUIRED))


def _answered(action: Action, cleared: Cleared) -> claims.Ended:
    capability = None if action.capability is None else action.capability.id
    verdict = telling.verdict_of(action)
    outcome = ActionOutcome(cleared.status, cleared.text, cleared.reason, capability, None, verdict)
    return claims.Ended(action, outcome)


# Tasks of the engine, whose results are stored with a waiting run, and whose questions are numbered by themselves.


def _as_task(task: Callable[..., Any], task_sync: Callable[..., Any], *args: Any) -> Steps[list[Cleared]]:
    actions: Sequence[Action] = args[1]
    found = yield Step(lambda: start_task(task_sync, (args, {})).result(), lambda: start_task(task, (args, {})))
    cleared = [Cleared(**each) for each in found]
    if [each.call_id for each in cleared] != [action.request.call_id for action in actions]:
        # Calls beside each other in one task of the engine, which began in another order than before.
        raise beside.confused()
    return cleared


def look_task_sync(*args: Any) -> list[dict[str, Any]]:
    """Look at actions, as a task of the engine."""
    return [asdict(each) for each in take(looking.looked(*args))]


async def look_task(*args: Any) -> list[dict[str, Any]]:
    """Look at actions, as a task of the engine."""
    return [asdict(each) for each in await atake(looking.looked(*args))]


def decide_task_sync(*args: Any) -> list[dict[str, Any]]:
    """Ask people and count their decisions, as a task of the engine."""
    return [asdict(each) for each in take(answering.answered(*args))]


async def decide_task(*args: Any) -> list[dict[str, Any]]:
    """Ask people and count their decisions, as a task of the engine."""
    return [asdict(each) for each in await atake(answering.answered(*args))]
