"""The claim of an action, its execution, and what is known of it afterwards.

Rules
-----
* What is more than reading is claimed in the effect ledger before it is executed, and settled after. So a process that
  dies between the two leaves it in doubt, and nothing is done twice. Without a ledger a call that was torn off is
  repeated if its run goes on.
* `action.started` is stored before the execution begins, or the execution does not begin; for reading it is only told.
* An error of the tool ends the action as failed, where the call names the effect. Where the effect has a key of its
  own, only `EffectFailed` says that it has not happened: any other error leaves it in doubt.
* A call that another process has under way is waited for, and its result is that of this one too.
* A time limit, a lost connection or a cancellation leaves it in doubt. What is idempotent is failed then, and may be
  repeated.
* What ends a run, such as a limit that an agent within the action has reached, is no result: it is raised.
* Secrets are taken out of results and of texts of errors before these are stored, decided about or told; out of a
  result that was stored before, when it is used.
* A result that cannot be stored is used, and not kept: a repetition is told that the call was executed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextvars import copy_context
from dataclasses import replace
from typing import Any, Final, NoReturn

import anyio

from stategraph.agent.tools.subagent_calls import ENDING
from stategraph.engine.tasks import threads
from stategraph.errors import GraphBubbleUp, GraphInterrupt, is_invalid_resume
from stategraph.governance.actions import ActionOutcome, ActionStatus, Reason
from stategraph.governance.audit.event import AuditEventType
from stategraph.governance.capabilities.port import CapabilityCall, CapabilityResult
from stategraph.governance.errors import ActionRejected, AuditUnavailable
from stategraph.governance.pipeline import hiding, telling
from stategraph.governance.pipeline.action import Action, Execution, Ran, Services, blocking
from stategraph.governance.pipeline.current import executing
from stategraph.prebuilt.steps import Step, Steps, atake, take
from stategraph.workers.leases import LeaseLost
from stategraph.workers.ledger.effects import EffectFailed, EffectLedger, EffectName, InDoubt, NotFound
from stategraph.workers.ledger.machine import EffectKeyReused, EffectRow, EffectState
from stategraph.workers.registry.port import StoreUnavailableError

_log = logging.getLogger(__name__)

UNKNOWN: Final = (TimeoutError, ConnectionError)
"""Errors that do not say whether the other side has acted."""

_NOT_KEPT: Final = "It was executed. Its result was not kept."


class Ended(Exception):
    """An action ended otherwise than by its result; never leaves this package."""

    def __init__(self, action: Action, outcome: ActionOutcome) -> None:
        super().__init__(str(outcome.content))
        self.action = action
        self.outcome = outcome


class ToolFailed(Exception):
    """The tool raised: the call is over, and failed."""


class ToolUnaudited(Exception):
    """The tool raised `AuditUnavailable`: of a log within it, so it may have acted."""


class Repeatable(Exception):
    """The call of something idempotent is over, nobody knows how; it may be made again."""


class _Dispatch:
    """One execution, for the ledger to call at most once."""

    def __init__(self, services: Services, action: Action) -> None:
        self.services = services
        self.action = action
        self.execution = action.execution or own_execution(services, action)
        self.ran: Ran | None = None
        self.error: BaseException | None = None
        self.began = 0.0
        self.elapsed_ms: float | None = None

    def now(self) -> Mapping[str, Any]:
        """Execute, in a sync run."""
        take(self._started())
        self.began = time.perf_counter()
        try:
            ran = _within(self.action.found.timeout_s, self._execute)
        except BaseException as error:
            self._fail(error)
        return self._returned(ran)

    async def later(self) -> Mapping[str, Any]:
        """Execute, in an async run."""
        with anyio.CancelScope(shield=True):
            await atake(self._started())
        self.began = time.perf_counter()
        try:
            with executing(self.action):
                async with asyncio.timeout(self.action.found.timeout_s):
                    ran = await self.execution.later(self.action.arguments)
        except BaseException as error:
            self._fail(error)
        return self._returned(ran)

    def _execute(self) -> Ran:
        with executing(self.action):
            ran: Ran = self.execution.now(self.action.arguments)
            return ran

    def _started(self) -> Steps[None]:
        action = self.action
        data = {"arguments": telling.shown_arguments(self.services, action.arguments), "effect": action.key}
        if action.approval is not None:
            data["approval"] = action.approval.id
        durable = action.found.risk != "read"
        yield from telling.told(self.services, action, AuditEventType.ACTION_STARTED, data, durable=durable)

    def _returned(self, ran: Ran) -> Mapping[str, Any]:
        self.elapsed_ms = (time.perf_counter() - self.began) * 1000
        self.ran = ran = hiding.result(self.services, ran)
        if ran.error is not None:
            self._fail(ran.error)
        return self._storable(ran)

    def _fail(self, error: BaseException) -> NoReturn:
        """Raise the error with which the ledger is told how the call ended."""
        self.elapsed_ms = (time.perf_counter() - self.began) * 1000
        said = self._said(error)
        if said is error:
            raise error
        raise said from error

    def _said(self, error: BaseException) -> BaseException:
        """Return the error with which the ledger is told how the call ended."""
        self.error = error
        if isinstance(error, EffectFailed):
            hiding.error(self.services, error)
        passes = isinstance(error, (GraphBubbleUp, EffectFailed, *ENDING)) or is_invalid_resume(error)
        if passes or not isinstance(error, Exception):
            return error
        hiding.error(self.services, error)
        capability = self.action.found
        if isinstance(error, UNKNOWN):
            return Repeatable(str(error)) if capability.idempotent else error
        if capability.effect_key is not None and not capability.idempotent and capability.risk != "read":
            return ToolUnaudited(str(error)) if isinstance(error, AuditUnavailable) else error
        return ToolFailed(str(error) or type(error).__name__)

    def _storable(self, ran: Ran) -> Mapping[str, Any]:
        ledger = self.services.ledger
        full = {"content": ran.content, "artifact": ran.artifact, "kept": ran.kept}
        if ledger is None or self.action.found.risk == "read":
            return full
        try:
            ledger.dump(full)
        except TypeError:
            return {"content": _NOT_KEPT, "artifact": None, "kept": None}
        return full


def claim(services: Services, action: Action) -> Steps[Action]:
    """Claim the effect, execute it, settle it.

    Raises:
        Ended: It failed, or is in doubt.
        AuditUnavailable: It did not begin, as the log could not take that it does.
        StoreUnavailableError: It did not begin, as the ledger cannot be reached.
        LeaseLost: The run belongs to another process.
        GraphBubbleUp: The tool waits for a person.
    """
    dispatch = _Dispatch(services, action)
    try:
        stored = yield _claimed(services, action, dispatch)
    except (AuditUnavailable, LeaseLost):
        raise  # it did not begin, or the run belongs to another process by now
    except (GraphBubbleUp, EffectFailed, InDoubt, EffectKeyReused, ToolFailed, Repeatable, *UNKNOWN) as error:
        if isinstance(error, StoreUnavailableError) and not dispatch.began:
            raise
        action = replace(action, elapsed_ms=dispatch.elapsed_ms, ran=dispatch.ran)
        if isinstance(error, GraphBubbleUp):
            yield from _approval_given_back(services, action, error)
            yield from telling.told(services, action, AuditEventType.ACTION_PAUSED, {})
            raise
        raise Ended(action, _ending(services, action, dispatch, error)) from error
    except BaseException as error:
        if not dispatch.began or is_invalid_resume(error):
            raise
        action = replace(action, elapsed_ms=dispatch.elapsed_ms)
        if isinstance(error, Exception) and not isinstance(error, ENDING):  # of an effect with a key of its own
            raise Ended(action, _ending(services, action, dispatch, error)) from error
        yield uncut(_torn_off(services, action, error))
        raise
    if dispatch.ran is not None:
        return replace(action, ran=dispatch.ran, elapsed_ms=dispatch.elapsed_ms)
    return replace(action, ran=_stored(services, stored), replayed=True)


def _approval_given_back(services: Services, action: Action, pause: GraphBubbleUp) -> Steps[None]:
    """Have the approval of an action that has paused to ask a person be there when the action goes on."""
    approval = action.approval
    if services.approvals is None or approval is None or not isinstance(pause, GraphInterrupt):
        return
    try:
        give_back = services.approvals.give_back
        yield blocking(give_back, approval.tenant, approval.id, approval.used_by or action.key)
    except StoreUnavailableError as error:
        _log.warning("The approval %s of a paused action is asked for again: %s", approval.id, error)


def _stored(services: Services, stored: Mapping[str, Any]) -> Ran:
    """Return the result of an earlier execution, which may have been stored before there was a redactor."""
    return hiding.result(services, Ran(stored["content"], stored["artifact"], stored["kept"]))


def _claimed(services: Services, action: Action, dispatch: _Dispatch) -> Step:
    """Return the step that executes, within a claim where it is more than reading."""
    ledger = services.ledger
    if ledger is None or action.found.risk == "read":
        return Step(dispatch.now, dispatch.later)
    may_repeat = action.found.idempotent
    named = EffectName(
        action.request.context.tenant,
        action.key,
        dict(action.arguments),
        on_doubt=(lambda record: NotFound()) if may_repeat else "raise",
        refused=(ToolFailed,),
        not_sent=(AuditUnavailable, Repeatable, *(ENDING if _goes_on(action) else ())),
    )
    return Step(lambda: ledger.once(named, dispatch.now), lambda: ledger.aonce(named, dispatch.later))


def _goes_on(action: Action) -> bool:
    """Return whether the execution goes on where it was if the run does: agents and graphs have states of their own."""
    return action.found.kind in ("agent", "graph")


def _ending(services: Services, action: Action, dispatch: _Dispatch, error: BaseException) -> ActionOutcome:
    """Return the outcome of an action that did not end with a result."""
    cause = dispatch.error or error
    text = str(cause).removeprefix(f"{ToolFailed.__name__}: ") or type(cause).__name__
    status: ActionStatus = "failed"
    reason = Reason.FAILED
    if isinstance(cause, TimeoutError):
        reason, text = Reason.TIMED_OUT, text if str(cause) else _took_too_long(action)
    if not isinstance(error, ToolFailed | Repeatable | EffectFailed) and not _may_fail(services, action):
        status, reason = "in_doubt", Reason.IN_DOUBT
    content: Any = telling.failure(reason, str(telling.clean(services, text)))
    if status == "failed" and dispatch.ran is not None:
        content = dispatch.ran.content
    return _outcome(action, status, content, reason)


def _may_fail(services: Services, action: Action) -> bool:
    """Return whether a call that was torn off is failed rather than in doubt: nothing was changed by it."""
    return action.found.risk == "read" or action.found.idempotent


def _took_too_long(action: Action) -> str:
    return f"'{action.found.name}' did not return within {action.found.timeout_s:g} s"


def completed(services: Services, action: Action) -> ActionOutcome:
    """Return the outcome of an action that has a result."""
    assert action.ran is not None
    return _outcome(action, "completed", action.ran.content, None)


def refused(services: Services, action: Action, refusal: ActionRejected) -> Steps[ActionOutcome]:
    """Return the outcome of an action that a stage refused: what is known of it, if it was executed before."""
    ledger, tenant = services.ledger, action.request.context.tenant
    capability = action.capability
    if ledger is not None and capability is not None and capability.risk != "read" and capability.effect_key is None:
        row = yield from _row(ledger, tenant, action.key)
        if row is not None and not _is_same_call(ledger, row, action):
            text = f"{refusal}. Another call with this id, and other arguments, is {row.state}"
            return rejected(services, action, ActionRejected(text, refusal.reason))
        if row is not None and row.state is EffectState.COMMITTED and row.result is not None:
            ran = _stored(services, ledger.load(row.result))
            raise Ended(replace(action, ran=ran, replayed=True), _outcome(action, "completed", ran.content, None))
        if row is not None and row.state is EffectState.CLAIMED and (yield from _is_under_way(ledger, tenant, action)):
            text = f"'{capability.name}' is being carried out, for this very call, by another process"
            return rejected(services, action, ActionRejected(text, Reason.UNDER_WAY))
        if row is not None and row.state in (EffectState.CLAIMED, EffectState.IN_DOUBT):
            text = telling.failure(Reason.IN_DOUBT, f"an earlier execution of '{capability.name}' was torn off")
            return _outcome(action, "in_doubt", text, Reason.IN_DOUBT)
    return rejected(services, action, refusal)


def rejected(services: Services, action: Action, refusal: ActionRejected) -> ActionOutcome:
    """Return the outcome of an action that never began."""
    text = telling.refusal(refusal.reason, str(telling.clean(services, str(refusal))))
    return _outcome(action, "rejected", text, refusal.reason)


def _is_same_call(ledger: EffectLedger, row: EffectRow, action: Action) -> bool:
    """Return whether what was executed under the id of a call was this call; what a policy changes is not known yet."""
    try:
        return any(ledger.is_called_with(row, dict(each)) for each in (action.arguments, action.asked))
    except TypeError:  # arguments that cannot be stored were never claimed
        return False


def _is_under_way(ledger: EffectLedger, tenant: str, action: Action) -> Steps[bool]:
    try:
        found: bool = yield blocking(ledger.book.is_under_way, tenant, action.key)
    except StoreUnavailableError:
        return False
    return found


def _row(ledger: EffectLedger, tenant: str, key: str) -> Steps[EffectRow | None]:
    """Return what is known of an effect; None: nothing, or the ledger cannot be reached."""
    try:
        row: EffectRow | None = yield blocking(ledger.book.read, tenant, key)
    except StoreUnavailableError:
        return None
    return row


def _outcome(action: Action, status: ActionStatus, content: Any, reason: str | None) -> ActionOutcome:
    return ActionOutcome(
        status,
        content,
        None if reason is None else str(reason),
        None if action.capability is None else action.capability.id,
        None if action.ran is None else action.ran.artifact,
        telling.verdict_of(action),
        action.elapsed_ms,
    )


def _torn_off(services: Services, action: Action, error: BaseException) -> Steps[None]:
    """Tell the log of an action whose caller was cancelled while it was executed, or which ends the run."""
    doubtful = not _may_fail(services, action) and not (isinstance(error, ENDING) and _goes_on(action))
    type = AuditEventType.ACTION_IN_DOUBT if doubtful else AuditEventType.ACTION_FAILED
    data = {"reason": Reason.IN_DOUBT if doubtful else Reason.FAILED, "message": f"stopped: {_name(error)}"}
    try:
        yield from telling.told(services, action, type, data)
    except AuditUnavailable:
        _log.critical("The audit log could not take that the action '%s' was stopped", action.request.call_id)


def _name(error: BaseException) -> str:
    return type(error).__name__


def end(services: Services, action: Action, outcome: ActionOutcome) -> Steps[None]:
    """Give back what was held, and tell the log and the metrics.

    What is in doubt is stored before anybody hears of it: who heard does not ask again, and nothing else tells of it.
    """
    if services.budgets is not None:
        executed = outcome.status not in ("rejected", "answered") and not action.replayed
        services.budgets.end_action(action.reservation, executed=executed)
    data = telling.outcome_data(services, action, outcome)
    try:
        doubtful = outcome.status == "in_doubt"
        yield from telling.told(services, action, telling.OUTCOMES[outcome.status], data, durable=doubtful)
    except AuditUnavailable:
        if outcome.status in ("rejected", "answered"):
            return  # nothing was done
        log_untold(action, outcome)
    if services.metrics is not None:
        services.metrics.action(outcome, action.capability)


def log_untold(action: Action, outcome: ActionOutcome) -> None:
    """Log an end that the audit log could not take; that the action began is in it."""
    _log.critical(
        "The audit log could not take that the action %s of run %s is %s",
        *(action.request.call_id, action.request.run.run_id, outcome.status),
    )


def uncut(steps: Steps[None]) -> Step:
    """Return a step that takes others to their end, also if its caller is cancelled meanwhile."""

    async def later() -> None:
        taking = asyncio.create_task(atake(steps))
        with anyio.CancelScope(shield=True):
            try:
                await asyncio.shield(taking)
            except asyncio.CancelledError:
                await asyncio.wait((taking,))
                raise

    return Step(lambda: take(steps), later)


def _within(seconds: float, work: Callable[[], Any]) -> Any:
    """Do something in a thread of its own and wait so long for it.

    Raises:
        TimeoutError: It has not ended. It goes on, and nobody hears of it.
    """
    return threads.submit(copy_context().run, work).result(seconds)


def own_execution(services: Services, action: Action) -> Execution:
    """Return how a capability is executed by itself."""
    request = action.request
    executor = services.registry.executor(action.found)

    def call(arguments: Mapping[str, Any]) -> CapabilityCall:
        return CapabilityCall(action.found, arguments, request.call_id, request.run, request.context, action.config)

    async def later(arguments: Mapping[str, Any]) -> Ran:
        return _ran(await executor.execute(call(arguments)))

    return Execution(lambda arguments: _ran(executor.execute_sync(call(arguments))), later)


def _ran(result: CapabilityResult) -> Ran:
    return Ran(result.content, result.artifact)
