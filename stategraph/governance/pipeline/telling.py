"""Texts for models about actions that did not go as asked, and events of all actions for the audit log."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from stategraph.governance.actions import ActionOutcome, Reason
from stategraph.governance.approval.preview import preview
from stategraph.governance.audit.event import AuditEvent, AuditEventType, Severity
from stategraph.governance.pipeline.action import Action, Services
from stategraph.governance.policy.verdict import Decision, Verdict
from stategraph.governance.visible_text import visible, visible_line
from stategraph.prebuilt.steps import Step, Steps

_WAYS_OUT: Final[Mapping[str, str]] = {
    Reason.ARGUMENTS_INVALID: "Correct the arguments and call it again.",
    Reason.POLICY_DENIED: "Do not call it again with these arguments; find another way, or tell the user.",
    Reason.APPROVAL_DENIED: "Do not call it again unless the user asks for it.",
    Reason.APPROVAL_REQUIRED: "It can be called again with the same arguments once it is approved.",
    Reason.BUDGET_EXCEEDED: "Finish with what there is.",
    Reason.AUDIT_UNAVAILABLE: "Nothing was done. Try again later.",
    Reason.STORE_UNAVAILABLE: "Nothing was done. Try again later.",
    Reason.IN_DOUBT: "Do not call it again. Tell the user that it has to be looked up whether it was done.",
    Reason.TIMED_OUT: "It may be called again.",
}

_CODES: Final = frozenset(map(str, Reason))
"""Other reasons are those of policies."""

_SEVERITIES: Final[Mapping[str, Severity]] = {
    AuditEventType.ACTION_FAILED: Severity.ERROR,
    AuditEventType.ACTION_REJECTED: Severity.WARNING,
    AuditEventType.ACTION_IN_DOUBT: Severity.CRITICAL,
    AuditEventType.APPROVAL_DENIED: Severity.WARNING,
    AuditEventType.APPROVAL_EXPIRED: Severity.WARNING,
    AuditEventType.APPROVAL_SUPERSEDED: Severity.WARNING,
}

OUTCOMES: Final[Mapping[str, AuditEventType]] = {
    "completed": AuditEventType.ACTION_COMPLETED,
    "failed": AuditEventType.ACTION_FAILED,
    "rejected": AuditEventType.ACTION_REJECTED,
    "in_doubt": AuditEventType.ACTION_IN_DOUBT,
    "answered": AuditEventType.ACTION_REJECTED,
}


def refusal(reason: str, message: str) -> str:
    """Return what the model is told of an action that did not begin."""
    way_out = _WAYS_OUT.get(reason, "" if reason in _CODES else _WAYS_OUT[Reason.POLICY_DENIED])
    return f"Not executed ({reason}): {_sentence(message)}{' ' if way_out else ''}{way_out}"


def failure(reason: str, message: str) -> str:
    """Return what the model is told of an action that began and failed, or of which nobody knows."""
    way_out = _WAYS_OUT.get(reason, "")
    begin = "Unknown whether it was done" if reason == Reason.IN_DOUBT else "Failed"
    return f"{begin} ({reason}): {_sentence(message)}{' ' if way_out else ''}{way_out}"


def _sentence(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."


def clean(services: Services, value: Any) -> Any:
    """Return a value without secrets."""
    return value if services.redactor is None else services.redactor.clean(value)


def shown_arguments(services: Services, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return what people and the log are shown of arguments."""
    return preview(arguments, None if services.redactor is None else services.redactor.clean)


def told(
    services: Services, action: Action, type: AuditEventType, data: Mapping[str, Any], *, durable: bool = False
) -> Steps[None]:
    """Tell the audit log of an action.

    Args:
        services: The log is one of them; without one nothing is told.
        action: The action.
        type: What happened.
        data: Further facts.
        durable: Go on only when it is stored.

    Raises:
        AuditUnavailable: It cannot be taken or stored.
    """
    audit = services.audit
    if audit is None:
        return
    event = _event(action, type, data)
    yield Step(lambda: audit.record_sync(event, durable=durable), lambda: audit.record(event, durable=durable))


def _event(action: Action, type: AuditEventType, data: Mapping[str, Any]) -> AuditEvent:
    request, verdict = action.request, verdict_of(action)
    return AuditEvent(
        type,
        request.context.tenant,
        datetime.now(UTC),
        uuid.uuid4().hex,
        _SEVERITIES.get(type, Severity.INFO),
        run_id=request.run.run_id,
        thread_id=request.run.thread_id,
        call_id=request.call_id,
        principal=request.context.principal.name,
        capability_id=visible_line(request.capability) if action.capability is None else action.capability.id,
        decision=None if verdict is None else str(verdict.decision),
        duration_ms=action.elapsed_ms,
        trace_id=request.context.trace,
        data=data,
    )


def verdict_of(action: Action) -> Verdict | None:
    """Return the policy's verdict about an action; None: none was made."""
    return None if action.evaluation is None else action.evaluation.verdict


def decision_data(action: Action) -> dict[str, Any]:
    """Return what the log is told of a decision."""
    verdict = verdict_of(action)
    if verdict is None:
        return {}
    found: dict[str, Any] = {
        "rule": verdict.rule,
        "matched": list(verdict.matched),
        "reason": verdict.reason,
        "policy_digest": verdict.policy_digest,
        "enforced": verdict.enforced,
    }
    if action.evaluation is not None:
        found["identity"] = action.evaluation.enforced_identity
    return {name: each for name, each in found.items() if each not in (None, [])}


def tell_decision(services: Services, action: Action, point: str) -> Steps[None]:
    """Tell the log of a decision, unless it was told of the very same one about this call.

    Args:
        services: The services.
        action: The action, with the evaluation.
        point: The intervention point.

    Raises:
        AuditUnavailable: The log cannot take it.
    """
    verdict, request = verdict_of(action), action.request
    if services.audit is None or verdict is None:
        return
    data = decision_data(action)
    call = (request.context.tenant, request.run.run_id, request.place, request.call_id, action.found.id, point)
    key = (*call, verdict.decision, repr(sorted(data.items())))
    if not services.told.add(key):
        return
    try:
        yield from told(services, action, AuditEventType.POLICY_DECIDED, {**data, "point": point})
    except BaseException:
        services.told.forget(key)
        raise


def is_worth_telling(verdict: Verdict) -> bool:
    """Return whether a decision has an event of its own; a plain `allow` is part of the action's events."""
    return verdict.decision is not Decision.ALLOW or not verdict.enforced or bool(verdict.matched)


def outcome_data(services: Services, action: Action, outcome: ActionOutcome) -> dict[str, Any]:
    """Return what the log is told of the end of an action."""
    data: dict[str, Any] = {"status": outcome.status, **decision_data(action)}
    if outcome.reason is not None:
        data["reason"] = outcome.reason
    if action.approval is not None:
        data["approval"] = action.approval.id
    if action.replayed:
        data["replayed"] = True
    if outcome.status != "completed":
        data["message"] = visible(str(clean(services, str(outcome.content)))[:500])
    if outcome.status in ("rejected", "answered"):
        data["arguments"] = shown_arguments(services, action.arguments)
    return data
