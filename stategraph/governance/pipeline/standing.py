"""The request for an action's approval: found if there is one that is for this very action, else made.

Rules
-----
* A request counts only if the action, the capability and the policy are those that were approved, it has not expired,
  and those who approved still may. One that is about the same call and differs is superseded.
* An approval is for one dispatch. One that is used up counts for the same call only as long as the ledger says that
  nothing would be executed again: it never began, or its end is known.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from stategraph.errors import ConfigurationError
from stategraph.governance.actions import Reason
from stategraph.governance.approval import voting
from stategraph.governance.approval.events import approval_data
from stategraph.governance.approval.machine import OPEN, ApprovalState
from stategraph.governance.approval.port import Approval
from stategraph.governance.audit.event import AuditEventType
from stategraph.governance.canonical import digest
from stategraph.governance.errors import ActionRejected, ApprovalError, AuditUnavailable
from stategraph.governance.pipeline import telling
from stategraph.governance.pipeline.action import Action, Services, blocking
from stategraph.governance.pipeline.votes import store_of, tell_decision
from stategraph.governance.policy.verdict import ApprovalTerms, Decision
from stategraph.prebuilt.steps import Steps
from stategraph.workers.ledger.machine import EffectRow, EffectState
from stategraph.workers.registry.port import StoreUnavailableError

_log = logging.getLogger(__name__)

_NAMESPACE: Final = uuid.UUID("6f1c1d0e-6f0a-5b0c-9d7e-2f5f0a4d9a11")


def is_escalated(action: Action) -> bool:
    """Return whether the policy has people asked about an action."""
    verdict = telling.verdict_of(action)
    return verdict is not None and verdict.enforced and verdict.decision is Decision.ESCALATE


def identity_of(action: Action) -> str:
    """Return the identity of an action, which an approval is for.

    Raises:
        ActionRejected: It has none.
    """
    assert action.evaluation is not None
    identity = action.evaluation.enforced_identity
    if identity is None:
        raise ActionRejected("The action cannot be identified, so it cannot be approved", Reason.APPROVAL_UNAVAILABLE)
    return identity


def find(services: Services, action: Action) -> Steps[Approval]:
    """Return the request for an action's approval: one that is for this very action, or a new one.

    Raises:
        ActionRejected: No request can be made.
    """
    store, request = store_of(services), action.request
    tenant, run = request.context.tenant, request.run
    known: Sequence[Approval] = yield blocking(store.of_call, tenant, run.scope, request.place, request.call_id)
    found: Approval | None = None
    for each in reversed(known):
        if found is None and (yield from _is_for(services, action, each)):
            found = each
    if found is not None:
        return found
    equal: Sequence[Approval] = yield blocking(store.equal, tenant, run.scope, identity_of(action))
    for each in equal:
        # Another call id is no other action; a call of the same answer has a request of its own.
        if each.call_id not in action.siblings and not _differences(services, action, each):
            yield from tell_decision(services, action, each)
            return each
    if known and known[-1].state is ApprovalState.EXPIRED:
        yield from telling.told(services, action, AuditEventType.APPROVAL_EXPIRED, approval_data(known[-1]))
    return (yield from _requested(services, action, len(known)))


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
            yield from tell_decision(services, action, each)
            if (yield blocking(store.supersede, tenant, each.id)):
                data = {**approval_data(each), "different": ["policy"]}
                yield from telling.told(services, action, AuditEventType.APPROVAL_SUPERSEDED, data)
    except (StoreUnavailableError, AuditUnavailable) as error:
        _log.warning("Requests about the denied action %s could not be set aside: %s", request.call_id, error)


def user_of(services: Services, action: Action) -> str:
    """Return for what an approval is used up: the effect, or where nothing claims effects, this execution alone."""
    return action.key if _is_claimed(services, action) else f"{action.key}#{uuid.uuid4().hex}"


def _is_claimed(services: Services, action: Action) -> bool:
    return services.ledger is not None and action.found.risk != "read"


def _is_for(services: Services, action: Action, approval: Approval) -> Steps[bool]:
    """Return whether an earlier request about the call is for this very action; one that is not is set aside."""
    if approval.state is ApprovalState.CONSUMED:
        used_by_it = approval.used_by == action.key and approval.identity == identity_of(action)
        return used_by_it and not (yield from _is_spent(services, action))
    yield from tell_decision(services, action, approval)
    different = _differences(services, action, approval)
    if approval.state is ApprovalState.DENIED:
        return not different
    if approval.state not in OPEN:
        return False
    if different and (yield blocking(store_of(services).supersede, approval.tenant, approval.id)):
        data = {**approval_data(approval), "different": different}
        yield from telling.told(services, action, AuditEventType.APPROVAL_SUPERSEDED, data)
    return not different


def _is_spent(services: Services, action: Action) -> Steps[bool]:
    """Return whether the approval that a call has used up is of no more use: the call would be executed once more."""
    ledger = services.ledger
    if ledger is None or not _is_claimed(services, action):
        return True
    row: EffectRow | None = yield blocking(ledger.book.read, action.request.context.tenant, action.key)
    if row is None or row.state is EffectState.COMMITTED:
        return False
    if row.state is EffectState.FAILED:
        return row.retryable
    if not action.found.idempotent:
        return False
    is_under_way: bool = yield blocking(ledger.book.is_under_way, action.request.context.tenant, action.key)
    return not is_under_way


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
        approval, is_new = yield blocking(store_of(services).request, new)
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
