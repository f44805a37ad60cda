"""The stages that decide about an action and change nothing: what is asked for, whether it may be, and as what.

They are gone through again whenever an action is looked at anew, such as when it is approved and to be carried out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple, TypeAlias

from stategraph.agent.messages.arguments import MAX_DEPTH
from stategraph.agent.output.checks import Check, InvalidOutput, SchemaCheck
from stategraph.engine.checkpoints import serializability
from stategraph.errors import ConfigurationError
from stategraph.governance.actions import Reason
from stategraph.governance.capability import Capability
from stategraph.governance.errors import ActionRejected, AuditUnavailable
from stategraph.governance.pipeline import telling
from stategraph.governance.pipeline.action import Action, Services, blocking
from stategraph.governance.policy import points
from stategraph.governance.policy.combination import DenyAll
from stategraph.governance.policy.reasons import RuntimeReason
from stategraph.governance.policy.snapshot import tool_call_snapshot
from stategraph.governance.policy.verdict import Decision, InterventionPoint, Policy
from stategraph.governance.view import CapabilityGraph
from stategraph.prebuilt.steps import Step, Steps
from stategraph.workers.registry.port import StoreUnavailableError

_log = logging.getLogger(__name__)

Result: TypeAlias = Action | Generator[Step, Any, Action]


class Stage(NamedTuple):
    """A stage.

    Attributes:
        name: Its name.
        act: Returns the action as it goes on, or a procedure that does; raises `ActionRejected` to refuse it.
    """

    name: str
    act: Callable[[Services, Action], Result]


def resolve(services: Services, action: Action) -> Action:
    """Find the capability in the session's view.

    Raises:
        CapabilityDenied: It is not there, not selected, changed, or in quarantine.
    """
    request = action.request
    found = CapabilityGraph.resolve(
        services.registry, request.context, request.capability, action.arguments, request.view_digest
    )
    return replace(action, capability=found.capability, arguments=found.arguments)


def validate(services: Services, action: Action) -> Action:
    """Hold the arguments against the schema of the capability.

    Raises:
        ActionRejected: They do not fit, are not JSON, or do not name the effect.
    """
    problem = _problem(action.found, action.arguments) or action.unnamed
    if problem is not None:
        raise ActionRejected(f"The arguments of '{action.found.name}' do not fit: {problem}", Reason.ARGUMENTS_INVALID)
    return action


UNIDENTIFIED: Final = points.Setup(identify=lambda verdict: False)
"""Identities only of what is escalated: making them takes longer than deciding, and nobody is told them."""

TOLD: Final = points.Setup(identify=telling.is_worth_telling)
"""Identities of decisions that have an event of their own."""


def policy_of(services: Services, action: Action) -> Policy | None:
    """Return the policy that an action is under; None: there is none."""
    names = action.request.context.policies
    if services.policies is None:
        return None if not names else DenyAll(f"There is no policy {names[0]!r}")
    return services.policies.select(names)


def resource_of(services: Services, action: Action) -> Mapping[str, Any] | None:
    """Return the facts of the host about what is acted on; None: it gives none.

    Raises:
        ActionRejected: The host's function raised, so nothing can be decided.
    """
    if services.resources is None:
        return None
    try:
        return services.resources(action.request, action.found)
    except Exception as error:
        _log.exception("The facts about what '%s' acts on cannot be had", action.found.id)
        message = f"The facts about what it acts on cannot be had ({type(error).__name__})"  # the text may have secrets
        raise ActionRejected(message, RuntimeReason.POLICY_INVOCATION_FAILED.value) from error


def authorize(services: Services, action: Action) -> Steps[Action]:
    """Ask the policy about the action, and apply what it changes.

    Raises:
        Refused: The policy denies it; the action has its verdict.
    """
    policy = policy_of(services, action)
    if policy is None:
        return action
    if services.labels is not None:
        context = action.request.context
        known = yield blocking(services.labels.read, context.tenant, context.session_id)
        action = replace(action, request=replace(action.request, labels=action.request.labels | known))
    resource = resource_of(services, action)
    snapshot = tool_call_snapshot(action.request, action.found, arguments=action.arguments, resource=resource)
    evaluation = points.evaluate(
        policy, InterventionPoint.PRE_TOOL_CALL, snapshot, UNIDENTIFIED if services.audit is None else points.OWN
    )
    verdict = evaluation.verdict
    action = replace(action, evaluation=evaluation)
    if telling.is_worth_telling(verdict):
        yield from telling.tell_decision(services, action, "pre_tool_call")
    if verdict.enforced and verdict.decision is Decision.DENY:
        message = verdict.message or f"The policy does not allow '{action.found.name}' with these arguments"
        raise Refused(action, ActionRejected(message, verdict.reason or Reason.POLICY_DENIED))
    if evaluation.transformed:
        action = validate(services, replace(action, arguments=evaluation.target))
    return action


class Refused(Exception):
    """A stage refused an action; never leaves this package.

    Attributes:
        action: The action as far as it came.
        refusal: Why.
    """

    def __init__(self, action: Action, refusal: ActionRejected) -> None:
        super().__init__(str(refusal))
        self.action = action
        self.refusal = refusal


BEFORE: Final = (Stage("resolve", resolve), Stage("validate", validate), Stage("authorize", authorize))
"""The stages that decide, and change nothing: they are gone through again whenever an action is looked at anew."""


def through(stages: tuple[Stage, ...], services: Services, action: Action) -> Steps[Action]:
    """Take an action through stages.

    Raises:
        Refused: One refuses it.
    """
    for stage in stages:
        try:
            result = stage.act(services, action)
            action = result if isinstance(result, Action) else (yield from result)
        except ActionRejected as refusal:
            raise Refused(action, refusal) from refusal
        except AuditUnavailable as error:
            raise Refused(action, ActionRejected(str(error), Reason.AUDIT_UNAVAILABLE)) from error
        except StoreUnavailableError as error:
            raise Refused(action, unavailable(error)) from error
    return action


def unavailable(error: StoreUnavailableError) -> ActionRejected:
    """Return the refusal of an action whose approvals, budget or claim cannot be reached; the log has the details."""
    _log.error("An action was refused, as a database cannot be reached: %s", error)
    return ActionRejected("A database that it needs cannot be reached", Reason.STORE_UNAVAILABLE)


def again(services: Services, action: Action) -> Steps[Action]:
    """Decide about an action anew, from what was asked for, or as a person has edited it.

    Raises:
        Refused: It is refused.
    """
    fresh = replace(action, arguments=action.asked, capability=None, evaluation=None)
    return (yield from through(BEFORE, services, fresh))


_KEPT: Final = 1024


def _problem(capability: Capability, arguments: Mapping[str, Any]) -> str | None:
    """Return why arguments do not fit; None: they do."""
    if serializability.has_large_integer(arguments):
        return "a whole number has more than 64 bits, and cannot be stored; where a text is taken, give it as one"
    if serializability.is_nested_deeper(arguments, MAX_DEPTH):
        return f"they are nested more than {MAX_DEPTH} levels deep"
    try:
        _check_of(capability).typed(dict(arguments))
    except InvalidOutput as error:
        return str(error)
    except ConfigurationError as error:
        return f"its own schema cannot be used ({error})"
    return None


_checks: dict[str, Check] = {}
"""By the digests of capabilities."""


def _check_of(capability: Capability) -> Check:
    known = _checks.get(capability.digest)
    if known is None:
        if len(_checks) >= _KEPT:
            _checks.clear()
        known = _checks[capability.digest] = SchemaCheck(dict(capability.input_schema))
    return known
