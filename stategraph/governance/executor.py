"""The executor of actions: one way to act, whatever is acted with and whichever way it comes.

    executor = ActionExecutor(registry, policy, approvals=store, ledger=EffectLedger(runs), audit=log)
    outcome = await executor.act(ActionRequest("mcp:mail/send@1", {"to": "ann@example.com"}, "call-1", run, context))

Ways in
-------
* `act` and `act_sync`, for those who have an `ActionRequest`; tools of `CapabilityView.tools` make one of each call.
* `gates.agents.ActionGate` stands around the tools of agents, and `ActionHost` executes those that only a host can.
* `gates.toolnode` has wrappers for `langgraph.prebuilt.ToolNode` and `create_react_agent`, `gates.middleware` one for
  LangChain's `create_agent`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, Literal

from langchain_core.runnables import RunnableConfig

from stategraph.agent.tools.tool_runner import stores
from stategraph.constants import CONF, CONFIG_KEY_CHECKPOINT_NS
from stategraph.engine.config.context import get_config
from stategraph.errors import ConfigurationError
from stategraph.governance.actions import ActionOutcome, ActionRequest, Reason
from stategraph.governance.approval.port import ApprovalStore
from stategraph.governance.approval.voting import Directory
from stategraph.governance.audit.event import AuditSink
from stategraph.governance.capability import Capability
from stategraph.governance.errors import ActionRejected
from stategraph.governance.labels import LabelStore
from stategraph.governance.pipeline import approvals, claims, hiding, stages
from stategraph.governance.pipeline.action import Action, Carried, Services
from stategraph.governance.pipeline.cleared import Cleared
from stategraph.governance.pipeline.current import capability_inside
from stategraph.governance.pipeline.current import current_action as current_action
from stategraph.governance.pipeline.outside import Budgeting, Metrics, Redacting, Selecting
from stategraph.governance.policy.combination import DenyAll, Policies
from stategraph.governance.policy.verdict import Policy
from stategraph.governance.registry import Registry
from stategraph.prebuilt.steps import Step, Steps, atake, take
from stategraph.workers.ledger.effects import EffectLedger


class ActionExecutor:
    """Carries out actions: resolves, validates, authorizes, has them approved, claims, executes, settles and audits.

    Args:
        registry: The capabilities.
        policy: Decides about everything; or policies, of which contexts choose by name. None: everything that a context
            may see may be done.
        approvals: Keeps requests for approval; None: what a policy escalates is refused.
        ledger: Claims effects, so that none is done twice; None: a call that a crash has torn off is made again if its
            run goes on.
        audit: Takes events; None: nothing is told.
        redactor: Hides secrets in what people and models are shown: arguments, results of tools, texts of errors. Of
            results, personal data stay; a policy hides them.
        budgets: Admits actions to the budgets of trees of runs; the same part that sessions have.
        metrics: Counts actions.
        resources: Returns facts of the host about what is acted on, as `resource` of what policies decide on.
        directory: Returns the roles that an approver has now, given the tenant and the user; None where there is no
            such user any more. None: those count that they had when they voted.
        self_approval: Whether the requester may approve where a policy names no approvers, as the user of a chat who is
            asked there.
        on_error: `answer`: a refusal is a result for the model. `raise`: it is raised as `ActionRejected`.
        labels: Carries labels of information flow along the conversations of sessions; None: they are not carried.

    Raises:
        ConfigurationError: `on_error` is something else.
    """

    def __init__(
        self,
        registry: Registry,
        policy: Policy | Policies | None = None,
        approvals: ApprovalStore | None = None,
        ledger: EffectLedger | None = None,
        audit: AuditSink | None = None,
        redactor: Redacting | None = None,
        *,
        budgets: Budgeting | None = None,
        metrics: Metrics | None = None,
        resources: Callable[[ActionRequest, Capability], Mapping[str, Any]] | None = None,
        directory: Directory | None = None,
        self_approval: bool = False,
        on_error: Literal["answer", "raise"] = "answer",
        labels: LabelStore | None = None,
    ) -> None:
        if on_error not in ("answer", "raise"):
            raise ConfigurationError(f"on_error is {on_error!r}; expected 'answer' or 'raise'")
        self.services = Services(
            registry,
            _selecting(policy),
            approvals,
            ledger,
            audit,
            redactor,
            budgets,
            metrics,
            resources,
            directory,
            self_approval,
            on_error,
            labels,
        )

    @property
    def registry(self) -> Registry:
        """The capabilities."""
        return self.services.registry

    async def act(self, request: ActionRequest, /) -> ActionOutcome:
        """Carry out an action, or say why not.

        Args:
            request: The action. In a task of a graph its place is that task, if it names none.

        Returns:
            The outcome. Whatever keeps an action from beginning is one, with the status `rejected`.

        Raises:
            GraphInterrupt: A person is asked, in a task of a graph that stores its state.
            ActionRejected: It was refused, and `on_error` is `raise`.
        """
        return await atake(self._acting(request))

    def act_sync(self, request: ActionRequest, /) -> ActionOutcome:
        """Carry out an action, as `act` does, in a thread without an event loop.

        Raises:
            ConfigurationError: An event loop runs in this thread, which this would hold up: await `act` there.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            raise ConfigurationError(
                "act_sync() was called in the thread of a running event loop, which it would hold up: use `await "
                "executor.act(request)`, or `await asyncio.to_thread(executor.act_sync, request)`"
            )
        return take(self._acting(request))

    def _acting(self, request: ActionRequest) -> Steps[ActionOutcome]:
        capability = capability_inside(request)
        if capability is None:
            return (yield from self.carrying_out(_action(request))).outcome
        action = replace(_action(request), capability=capability)
        execution = claims.own_execution(self.services, action)
        ran = yield Step(partial(execution.now, request.arguments), partial(execution.later, request.arguments))
        ran = hiding.result(self.services, ran)
        return ActionOutcome("completed", ran.content, None, capability.id, ran.artifact)

    # For ways in, as procedures whose steps a sync or an async caller takes.

    def carrying_out(self, action: Action) -> Steps[Carried]:
        """Take an action through the pipeline."""
        return stages.run(self.services, action)

    def refusing(self, action: Action, why: str) -> Steps[None]:
        """Tell the log of a call that cannot be read, so that it is not made."""
        refusal = ActionRejected(
            f"The arguments of '{action.request.capability}' cannot be read: {why}", Reason.ARGUMENTS_INVALID
        )
        yield from claims.end(self.services, action, claims.rejected(self.services, action, refusal))

    def clearing(self, actions: Sequence[Action]) -> Steps[list[Cleared]]:
        """Find out how the actions of one answer stand, and ask people about those that need approval, together."""
        return (yield from approvals.clear(self.services, actions, tells=True)) if actions else []


class _One:
    """One policy, for contexts that name none.

    Args:
        policy: The policy.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def select(self, names: Iterable[str] = (), /) -> Policy:
        """Return the policy; where a context names others, one that denies."""
        missing = next(iter(names), None)
        return self._policy if missing is None else DenyAll(f"There is no policy {missing!r}")


def _selecting(policy: Policy | Policies | None) -> Selecting | None:
    return policy if policy is None or isinstance(policy, Policies) else _One(policy)


UnifiedActionExecutor: Final = ActionExecutor


def _action(request: ActionRequest) -> Action:
    """Return an action as it begins."""
    config = config_here()
    if config is None:
        return action_of(request, None)
    return action_of(request if request.place else replace(request, place=place_of(config)), config)


def action_of(request: ActionRequest, config: RunnableConfig | None) -> Action:
    """Return the action of a request.

    Args:
        request: The request.
        config: Of the task that asks; None: outside of a graph, where nobody can be asked by pausing.
    """
    return Action(request, request.arguments, request.arguments, None, config, config is not None and stores(config))


def config_here() -> RunnableConfig | None:
    """Return the config of the task that the caller is part of; None outside of a graph."""
    try:
        return get_config()
    except RuntimeError:
        return None


def place_of(config: RunnableConfig) -> str:
    """Return the namespace of a task, which is the same when it runs again."""
    return str((config.get(CONF) or {}).get(CONFIG_KEY_CHECKPOINT_NS) or "")
