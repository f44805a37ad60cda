"""Policies around the turns and models of agents, as hooks: the points that are about no tool.

| point | hook | a verdict that refuses | one that escalates | one that transforms |
|---|---|---|---|---|
| `agent_startup` | RunStart | no turn | no turn | no turn |
| `input` | UserPromptSubmit | no turn | a person is asked first | no turn: change what is sent instead |
| `pre_model_call` | BeforeModel | the turn ends | the turn ends | contents of messages are changed, for this call |
| `post_model_call` | AfterModel | the turn ends | the turn ends | the answer's content is replaced |
| `output` | AfterModel of an answer without calls | the turn ends | the turn ends | the same |
| `agent_shutdown` | Stop, StopFailure | it is recorded | it is recorded | it is recorded |

- Hooks are registered only for points at which the policy may do anything but allow. The others cost nothing.
- What a hook cannot carry out is refused: an escalation where nobody can be asked, a change that has no place.
- Answers are held back until they are decided about, as readers cannot be made to forget.
- A hook that fails denies; at RunStart it ends the turn.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, cast

from langchain_core.messages import AIMessage, BaseMessage

from stategraph.governance import session
from stategraph.governance.audit.event import AuditEvent, AuditEventType, AuditSink, Severity
from stategraph.governance.context import RuntimeSessionContext
from stategraph.governance.labels import LabelStore
from stategraph.governance.policy import points
from stategraph.governance.policy import snapshot as snapshots
from stategraph.governance.policy.combination import asks_at
from stategraph.governance.policy.reasons import RuntimeReason
from stategraph.governance.policy.verdict import Decision, InterventionPoint, Policy
from stategraph.governance.view import CapabilityView
from stategraph.run.hooks.hook_registry import HookEvents, HookOutput, HookRegistry

_ROLES: Final = {"human": "user", "ai": "assistant"}


def guard(
    policy: Policy,
    hooks: HookRegistry | None = None,
    *,
    context: RuntimeSessionContext | None = None,
    view: Callable[[], CapabilityView] | None = None,
    labels: LabelStore | None = None,
    resource: Mapping[str, Any] | None = None,
    audit: AuditSink | None = None,
    setup: points.Setup = points.OWN,
) -> HookRegistry:
    """Have a policy decide about turns and calls of models.

    Args:
        policy: The policy.
        hooks: Where its hooks are registered; None: a new registry.
        context: Who acts; None: that of the session that is active when a hook is called.
        view: Returns the capabilities of the session, for `agent_startup` and the tools of requests; None: not told.
        labels: Carries labels of information flow along the conversation, as the executor's do; None: there are none.
        resource: Facts that the host knows, see `stategraph.governance.policy.snapshot`.
        audit: Records `policy.decided` for each verdict; None: nothing is recorded.
        setup: Bounds. A snapshot of a model's call has the whole conversation, so long ones need a larger
            `snapshot_bytes` here and in the policy.

    Returns:
        The registry, for `create_run(hooks=...)`.
    """
    registry = HookRegistry() if hooks is None else hooks
    guards = _Guard(policy, context, view, labels, resource, audit, setup)
    asked = {point for point in InterventionPoint if asks_at(policy, point)}
    if InterventionPoint.AGENT_STARTUP in asked:
        registry.register(HookEvents.RUN_START, guards.startup)
    if InterventionPoint.INPUT in asked:
        registry.register(HookEvents.USER_PROMPT_SUBMIT, guards.input)
    if InterventionPoint.PRE_MODEL_CALL in asked:
        registry.register(HookEvents.BEFORE_MODEL, guards.request)
    if answers := asked & {InterventionPoint.POST_MODEL_CALL, InterventionPoint.OUTPUT}:
        registry.register(HookEvents.AFTER_MODEL, lambda happened: guards.answer(happened, answers))
    if InterventionPoint.AGENT_SHUTDOWN in asked:
        registry.register(HookEvents.STOP, guards.stopped)
        registry.register(HookEvents.STOP_FAILURE, guards.failed)
    return registry


class _Guard:
    """Asks a policy, and turns its verdicts into what hooks return."""

    def __init__(
        self,
        policy: Policy,
        context: RuntimeSessionContext | None,
        view: Callable[[], CapabilityView] | None,
        labels: LabelStore | None,
        resource: Mapping[str, Any] | None,
        audit: AuditSink | None,
        setup: points.Setup,
    ) -> None:
        self._policy = policy
        self._context = context
        self._view = view
        self._labels = labels
        self._resource = resource
        self._audit = audit
        self._setup = setup

    def startup(self, happened: Mapping[str, Any]) -> HookOutput | None:
        """Decide whether a turn begins; its hook goes on if it fails, so this one never raises."""
        try:
            view = self._view() if self._view is not None else None
            ids = [] if view is None else [each.id for each in view]
            digest = "" if view is None else view.digest
            facts = snapshots.startup_snapshot(self._who(), ids, digest, resource=self._resource)
            done = self._asked(InterventionPoint.AGENT_STARTUP, facts, happened)
        except Exception as error:
            return HookOutput(prevent_continuation=True, stop_reason=f"startup_unchecked: {type(error).__name__}")
        if done.verdict.lets_pass and not done.transformed:
            return None
        return HookOutput(prevent_continuation=True, stop_reason=done.verdict.reason or "policy_denied")

    def input(self, happened: Mapping[str, Any]) -> HookOutput | None:
        """Decide about what a user sends."""
        facts = self._text(InterventionPoint.INPUT, happened["prompt"])
        done = self._asked(InterventionPoint.INPUT, facts, happened)
        if done.transformed:
            return _denied(done, RuntimeReason.TRANSFORM_INVALID.value)
        if done.verdict.lets_pass:
            return None
        asks = done.verdict.decision is Decision.ESCALATE
        return HookOutput(decision="ask" if asks else "deny", reason=_said(done))

    def request(self, happened: Mapping[str, Any]) -> HookOutput | None:
        """Decide about what a model is sent."""
        messages: Sequence[BaseMessage] = happened["messages"]
        facts = self._request_facts(messages, happened)
        done = self._asked(InterventionPoint.PRE_MODEL_CALL, facts, happened)
        if not done.verdict.lets_pass:
            return _denied(done)
        if not done.transformed:
            return None
        changed = _changed(messages, facts["request"], done.target)
        if changed is None:
            return _denied(done, RuntimeReason.TRANSFORM_INVALID.value)
        return HookOutput(updated_input={"messages": changed})

    def answer(self, happened: Mapping[str, Any], asked: set[InterventionPoint]) -> HookOutput | None:
        """Decide about what a model has answered, and if that is all, about it as the output."""
        if happened["partial"]:  # the whole comes when it is there
            return None
        message: AIMessage = happened["message"]
        content, replaced = message.content, False
        if InterventionPoint.POST_MODEL_CALL in asked:
            before = self._request_facts((), happened)
            calls = [{"name": each["name"], "args": each["args"]} for each in message.tool_calls]
            facts = snapshots.model_response_snapshot(before, content, calls)
            done = self._asked(InterventionPoint.POST_MODEL_CALL, facts, happened)
            if not done.verdict.lets_pass:
                return _denied(done)
            if done.transformed:
                if done.target.get("tool_calls") != facts["response"]["tool_calls"] or not _has_content(done.target):
                    return _denied(done, RuntimeReason.TRANSFORM_INVALID.value)
                content, replaced = snapshots.content_of(done.target), True
        if InterventionPoint.OUTPUT in asked and not message.tool_calls and not happened["offRecord"]:
            facts = self._text(InterventionPoint.OUTPUT, content)
            done = self._asked(InterventionPoint.OUTPUT, facts, happened)
            if not done.verdict.lets_pass:
                return _denied(done)
            if done.transformed:
                if not _has_content(done.target):
                    return _denied(done, RuntimeReason.TRANSFORM_INVALID.value)
                content, replaced = snapshots.content_of(done.target), True
        return HookOutput(updated_output=cast("Any", content)) if replaced else None

    def stopped(self, happened: Mapping[str, Any]) -> None:
        """Record the end of a turn."""
        self._shutdown(happened, "completed" if happened["stopReason"] is None else "halted", None)

    def failed(self, happened: Mapping[str, Any]) -> None:
        """Record the failure of a turn."""
        self._shutdown(happened, "failed", type(happened["exception"]).__name__)

    def _shutdown(self, happened: Mapping[str, Any], status: str, error: str | None) -> None:
        facts = snapshots.shutdown_snapshot(
            self._who(), status, error=error, labels=self._known(), resource=self._resource
        )
        self._asked(InterventionPoint.AGENT_SHUTDOWN, facts, happened)

    def _who(self) -> RuntimeSessionContext:
        return self._context if self._context is not None else session.current().context

    def _known(self) -> frozenset[str]:
        """Return the labels of what was read in the conversation."""
        who = self._who()
        return frozenset() if self._labels is None else self._labels.read(who.tenant, who.session_id)

    def _text(self, point: InterventionPoint, content: Any) -> dict[str, Any]:
        return snapshots.text_snapshot(point, self._who(), content, labels=self._known(), resource=self._resource)

    def _request_facts(self, messages: Sequence[BaseMessage], happened: Mapping[str, Any]) -> dict[str, Any]:
        return snapshots.model_request_snapshot(
            self._who(),
            [_message_facts(each) for each in messages],
            model=happened["model"],
            tools=() if self._view is None else list(self._view().names),
            labels=self._known(),
            resource=self._resource,
        )

    def _asked(
        self, point: InterventionPoint, facts: Mapping[str, Any], happened: Mapping[str, Any]
    ) -> points.Evaluation:
        """Evaluate the policy and record the verdict; one that cannot be recorded raises, and so denies."""
        done = points.evaluate(self._policy, point, facts, self._setup)
        who = self._who()
        if self._audit is not None:
            self._audit.record_sync(_event(point, done, who, happened))
        if self._labels is not None and done.verdict.lets_pass and done.verdict.labels:
            self._labels.add(who.tenant, who.session_id, done.verdict.labels)
        return done


def _event(
    point: InterventionPoint, done: points.Evaluation, context: RuntimeSessionContext, happened: Mapping[str, Any]
) -> AuditEvent:
    verdict = done.verdict
    return AuditEvent(
        type=AuditEventType.POLICY_DECIDED,
        tenant=context.tenant,
        at=datetime.now(UTC),
        id=uuid.uuid4().hex,
        severity=Severity.INFO if verdict.lets_pass else Severity.WARNING,
        run_id=happened.get("runId"),
        thread_id=happened.get("threadId"),
        principal=context.principal.name,
        decision=verdict.decision.value,
        data={
            "point": point.value,
            "reason": verdict.reason,
            "rule": verdict.rule,
            "matched": list(verdict.matched),
            "enforced": verdict.enforced,
            "policy_digest": verdict.policy_digest,
            "input_identity": done.input_identity,
            "enforced_identity": done.enforced_identity,
        },
    )


def _denied(done: points.Evaluation, reason: str | None = None) -> HookOutput:
    return HookOutput(decision="deny", reason=reason or _said(done))


def _said(done: points.Evaluation) -> str:
    verdict = done.verdict
    return verdict.message or verdict.reason or "policy_denied"


def _has_content(target: Any) -> bool:
    return isinstance(target, Mapping) and ("text" in target or "content" in target)


def _message_facts(message: BaseMessage) -> dict[str, Any]:
    facts: dict[str, Any] = {"role": _ROLES.get(message.type, message.type), "content": message.content}
    if isinstance(message, AIMessage) and message.tool_calls:
        facts["tool_calls"] = [{"name": each["name"], "args": each["args"]} for each in message.tool_calls]
    return facts


def _changed(messages: Sequence[BaseMessage], before: Mapping[str, Any], after: Any) -> list[BaseMessage] | None:
    """Return the messages with the contents that a transform gave them; None: it changed something else."""
    if not isinstance(after, Mapping) or {**after, "messages": None} != {**before, "messages": None}:
        return None
    listed = after["messages"]
    if not isinstance(listed, list) or len(listed) != len(messages):
        return None
    found = list[BaseMessage]()
    for message, old, new in zip(messages, before["messages"], listed, strict=True):
        if not isinstance(new, Mapping) or {**new, "content": None} != {**old, "content": None}:
            return None
        content = new.get("content")
        if not isinstance(content, str | list):
            return None
        same = content == old["content"]
        found.append(message if same else message.model_copy(update={"content": content}))
    return found
