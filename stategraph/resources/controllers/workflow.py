"""Controller of Workflows."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar, cast

from stategraph.resources import refs
from stategraph.resources.compile import governed, tools
from stategraph.resources.compile.calls import Callee
from stategraph.resources.compile.data import Data, Fields, Graph, Object
from stategraph.resources.compile.programs import Workflow
from stategraph.resources.compile.tools import ToolPlan
from stategraph.resources.compile.workflows import normal
from stategraph.resources.compile.workflows import plan as workflow
from stategraph.resources.compile.workflows.plan import WorkflowPlan
from stategraph.resources.controller import Ctx, ReconcileResult
from stategraph.resources.controllers import common, rollouts
from stategraph.resources.controllers.rollouts import Version
from stategraph.resources.kinds.workflow import WorkflowSpec
from stategraph.resources.model import Resource
from stategraph.resources.places import Path


class WorkflowController(common.Base):
    """Makes Workflows graphs."""

    kind: ClassVar[str] = "Workflow"
    depends_on: ClassVar[tuple[str, ...]] = ("Tool", "Agent", "Network")

    async def reconcile(self, resource: Resource, ctx: Ctx) -> ReconcileResult:
        """Find what a workflow's steps call, and make it a graph."""
        plan = await planned(resource, cast("WorkflowSpec", ctx.parsed(resource)), ctx)
        place = await common.place_of(ctx, resource, plan.parsed)

        async def older(spec: Fields) -> Graph:
            return (await planned(resource, WorkflowSpec.model_validate(spec), ctx)).graph(place.saver, place.store)

        newest = Version(resource, "workflow", plan.version, plan.spec, plan.parsed.rollout.max_age)
        rollout = await rollouts.of(newest, place, ctx, older)
        made = Workflow(plan, place, rollout.rolled(plan.graph(place.saver, place.store)), rollout)
        status: Object = {
            "graphVersion": plan.version,
            "nodes": [step.id for step in plan.parsed.steps if step.switch is None],
            "mermaid": made.graph.get_graph().draw_mermaid(),
            **await rollouts.told(rollout, made),
        }
        again = rollouts.LOOK_AGAIN_S if rollout.graphs else None
        return ReconcileResult(common.limits_told(place), status, again, made)


async def planned(resource: Resource, spec: WorkflowSpec, ctx: Ctx) -> WorkflowPlan:
    """Compile a workflow, with what its steps call.

    Args:
        resource: The resource.
        spec: Its spec, or that of an earlier version of it.
        ctx: What the controller may look at.
    """
    spec = normal.expanded(spec)
    found: dict[tuple[str, refs.Reference], Any] = {}
    for kind, ref, path in workflow.references(spec):
        if (kind, ref) not in found:
            found[kind, ref] = await _callable(resource, kind, ref, path, ctx)
    if spec.policy_ref is not None or governed.Governance.of(ctx.services).budgets is not None:
        await _govern(resource, spec, found, ctx)

    def lookup(kind: str, ref: refs.Reference, path: Path, *, several: bool = False) -> Callee:
        target = found[kind, ref]
        return cast("Callee", target if isinstance(target, ToolPlan) else target.callee(several=several))

    return workflow.plan(resource.name, spec, lookup, partial(_function, ctx))


async def _callable(resource: Resource, kind: str, ref: refs.Reference, path: Path, ctx: Ctx) -> Data:
    if kind == "tool":
        return await common.tool_of(ctx, resource, ref, path)
    target = await ctx.resolve(ref, kind, path=path)
    return await ctx.compiled(target.key, path=path)


async def _govern(resource: Resource, spec: WorkflowSpec, found: dict[Any, Any], ctx: Ctx) -> None:
    policy = None
    if spec.policy_ref is not None:
        declared = await ctx.resolve(spec.policy_ref, "policy", path=("spec", "policyRef"))
        policy = await ctx.compiled(declared.key, path=("spec", "policyRef"))
    plans = {key: each for key, each in found.items() if isinstance(each, ToolPlan)}
    context = governed.context_of(resource.name, resource.namespace)
    governance = governed.Governance.of(ctx.services)
    given = [(each.tool, each.spec) for each in plans.values()]
    made = governed.tools_under(policy, given, context, governance, for_steps=True)
    by_name = {each.name: each for each in made}
    for key, plan in plans.items():
        found[key] = ToolPlan(
            by_name.get(plan.tool.name, plan.tool), plan.spec, plan.policy if policy is None else None
        )


def _function(ctx: Ctx, path: str, field: Path) -> Data:
    return tools.imported(path, ctx.allow, field)
