"""Policies and budgets around what was compiled: tools whose calls are decided about, runs that have limits.

Tools of an agent with a policy are capabilities, and their calls pass an `ActionExecutor` like those of any governed
agent. Who acts is the session that is active; without one, the agent itself in the tenant of its namespace.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from langchain_core.tools import BaseTool

from stategraph.governance import session
from stategraph.governance.actions import ActionOutcome, ActionRequest
from stategraph.governance.budget.part import RunBudget
from stategraph.governance.capabilities import functions
from stategraph.governance.capabilities.port import CapabilityCall, CapabilityResult
from stategraph.governance.capabilities.traits import Traits
from stategraph.governance.context import AgentRef, Budget, Principal, RuntimeSessionContext
from stategraph.governance.executor import ActionExecutor
from stategraph.governance.policy.rules import RulePolicy
from stategraph.governance.registry import Registry
from stategraph.governance.view import CapabilityGraph
from stategraph.resources.compile.data import Data, Fields, Object
from stategraph.resources.kinds.tool import ToolSpec


@dataclass(frozen=True, slots=True)
class Governance:
    """Parts of a runtime for governed actions.

    Attributes:
        approvals: Keeps requests for approval; None: what a policy escalates is refused.
        ledger: Claims effects; None: effects are not claimed.
        audit: Takes events; None: nothing is told.
        redactor: Hides secrets in what is shown; None: nothing is hidden.
        budgets: Keeps budgets; None: there are none.
    """

    approvals: Data = None
    ledger: Data = None
    audit: Data = None
    redactor: Data = None
    budgets: RunBudget | None = None

    @classmethod
    def of(cls, services: Fields) -> Governance:
        """Return what a program gave its runtime: `approvals`, `effects`, `audit`, `redactor`, `budgets`."""
        return cls(
            services.get("approvals"),
            services.get("effects"),
            services.get("audit"),
            services.get("redactor"),
            services.get("budgets"),
        )


def context_of(name: str, namespace: str, budget: Budget | None = None) -> RuntimeSessionContext:
    """Return who acts where no session says so: the agent itself, in the tenant of its namespace."""
    return RuntimeSessionContext(Principal(namespace, f"agent:{name}"), AgentRef(name), name, budget=budget)


def tools_under(
    policy: RulePolicy | None,
    tools: Iterable[tuple[BaseTool, ToolSpec | None]],
    context: RuntimeSessionContext,
    governance: Governance,
    *,
    for_steps: bool = False,
) -> list[BaseTool]:
    """Return tools whose calls a policy decides about, in their order.

    Args:
        policy: The policy; None: everything is allowed, and calls are counted where a budget limits them.
        tools: The tools, each with what was declared of it.
        context: Who acts where no session says so.
        governance: What the runtime has for governed actions.
        for_steps: Whether steps of workflows call them: then a result is handed on as it is and not as a model reads
            it, and a call that is refused or fails is an error.
    """
    registry = Registry()
    for tool, spec in tools:
        offered = functions.offer(tool, _traits(tool, spec))
        registry.add(replace(offered, executor=_Values(tool)) if for_steps else offered)
    executor = ActionExecutor(
        registry,
        policy,
        governance.approvals,
        governance.ledger,
        governance.audit,
        governance.redactor,
        budgets=governance.budgets,
        self_approval=True,
    )
    made = CapabilityGraph.build(registry, context).tools(_Acting(executor), context)
    return [each.model_copy(update={"handle_tool_error": False}) if for_steps else each for each in made]


class _Values:
    """Executes calls with a tool whose result is handed on as it is.

    Args:
        tool: The tool.
    """

    def __init__(self, tool: BaseTool) -> None:
        self._tool = tool

    async def execute(self, call: CapabilityCall, /) -> CapabilityResult:
        """Call the tool in an event loop."""
        return CapabilityResult(await self._tool.ainvoke(dict(call.arguments), call.config))

    def execute_sync(self, call: CapabilityCall, /) -> CapabilityResult:
        """Call the tool and wait."""
        return CapabilityResult(self._tool.invoke(dict(call.arguments), call.config))


def _traits(tool: BaseTool, spec: ToolSpec | None) -> Traits:
    given: Object = {"name": tool.name, "source": "manifest"}
    if spec is not None:
        given["risk"] = spec.risk
        if spec.timeout is not None:
            given["timeout_s"] = spec.timeout
        if spec.effect_key is not None:
            given["effect_key"] = spec.effect_key
    return Traits(**given)


class _Acting:
    """Carries out actions for the session that is active, and else for the agent itself."""

    def __init__(self, executor: ActionExecutor) -> None:
        self._executor = executor

    async def act(self, request: ActionRequest, /) -> ActionOutcome:
        """Carry out an action."""
        return await self._executor.act(self._whose(request))

    def act_sync(self, request: ActionRequest, /) -> ActionOutcome:
        """Carry out an action, sync."""
        return self._executor.act_sync(self._whose(request))

    @staticmethod
    def _whose(request: ActionRequest) -> ActionRequest:
        active = session.current_or_none()
        return request if active is None else replace(request, context=active.context, run=active.run)


@asynccontextmanager
async def limited(
    name: str, namespace: str, budget: Budget | None, governance: Governance, root: str
) -> AsyncIterator[None]:
    """Keep a budget over what happens in the block; do nothing without a budget, or inside of a session.

    Args:
        name: The resource whose run it is.
        namespace: Its namespace.
        budget: The limits; None: none.
        governance: What the runtime has for governed actions.
        root: The run that they hold for, over all of its executions.
    """
    if budget is None or governance.budgets is None or session.current_or_none() is not None:
        yield
        return
    whose = session.Session(context_of(name, namespace, budget), parts=[governance.budgets], root_run_id=root)
    async with whose.active(root):
        yield
