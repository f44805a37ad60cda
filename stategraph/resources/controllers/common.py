"""Functions of several controllers: they find models, tools and secrets."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel

from stategraph.errors import ConfigurationError, MissingPackageError
from stategraph.resources import refs
from stategraph.resources.compile import models, tools
from stategraph.resources.compile.data import Data
from stategraph.resources.compile.models import ModelPlan
from stategraph.resources.compile.programs import Place
from stategraph.resources.compile.tools import ToolPlan
from stategraph.resources.controller import Ctx, Reconciler
from stategraph.resources.errors import InvalidResource, UnresolvedReference
from stategraph.resources.kinds.agent import AgentSpec
from stategraph.resources.kinds.model import ProviderModel
from stategraph.resources.kinds.values import SecretKey
from stategraph.resources.kinds.workflow import WorkflowSpec
from stategraph.resources.model import Condition, Resource, ResourceKey
from stategraph.resources.places import Path

DEFAULT_MODEL = "default"


class Base(Reconciler):
    """Base of controllers of resources that are compiled in each process and leave nothing behind when they go."""

    everywhere: ClassVar[bool] = True


def declared(spec: BaseModel) -> dict[str, Any]:
    """Return what a spec says, without defaults: an API server of Kubernetes fills these in, others do not."""
    return spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)


async def place_of(ctx: Ctx, resource: Resource, spec: AgentSpec | WorkflowSpec | None = None) -> Place:
    """Return where a resource runs, and under which limits.

    Raises:
        UnresolvedReference: There is no such Budget.
    """
    if spec is None or spec.budget_ref is None:
        return Place(resource.namespace, ctx.services)
    found = await ctx.resolve(spec.budget_ref, "budget", path=("spec", "budgetRef"))
    budget = await ctx.compiled(found.key, path=("spec", "budgetRef"))
    return Place(resource.namespace, ctx.services, budget)


def limits_told(place: Place) -> list[Condition]:
    """Return what has to be said of the limits of a resource: that nobody keeps them, where that is so."""
    if place.budget is None or place.services.get("budgets") is not None:
        return []
    message = (
        "spec.budgetRef: this runtime has no 'budgets' service, so nobody keeps the limits of the Budget; give it one: "
        "Runtime.from_url(..., budgets=RunBudget(SqlBudgetLedger.from_url(...)))"
    )
    return [Condition("Degraded", "True", "BudgetNotEnforced", message)]


async def secret(ctx: Ctx, ref: SecretKey | None, path: Path) -> str | None:
    """Return the value that a reference to a Secret leads to; None for no reference."""
    if ref is None:
        return None
    return await ctx.secret(refs.Reference(ref.name, ref.namespace), ref.key, path=path)


async def provider_model(ctx: Ctx, model: ProviderModel, path: Path) -> ModelPlan:
    """Return a model that is described where it is used."""
    return models.of_provider(model, await secret(ctx, model.secret_ref, (*path, "secretRef")))


async def model_of(ctx: Ctx, resource: Resource, spec: Data, path: Path = ("spec",)) -> ModelPlan:
    """Return the model of an agent or a router: described, referred to, or the one called `default`.

    Args:
        ctx: What the controller may look at.
        resource: The resource that has it.
        spec: What has the fields `model` and `model_ref`.
        path: Its field.

    Raises:
        UnresolvedReference: There is none.
        NotReady: It is not ready.
        InvalidResource: It cannot be made.
    """
    used_by = str(resource.key)
    if spec.model is not None:
        plan = await provider_model(ctx, spec.model, (*path, "model"))
        checked_model(plan, used_by, ctx, (*path, "model"))
        return plan
    if spec.model_ref is not None:
        found = await ctx.resolve(spec.model_ref, "model", path=(*path, "modelRef"))
        referred: ModelPlan = await ctx.compiled(found.key, path=(*path, "modelRef"))
        return referred
    default = await ctx.get(ResourceKey("model", resource.namespace, DEFAULT_MODEL))
    if default is not None:
        known: ModelPlan = await ctx.compiled(default.key)
        return known
    if ctx.services.get("model_factory") is not None:
        return ModelPlan(DEFAULT_MODEL, DEFAULT_MODEL)
    raise UnresolvedReference(
        f"there is no model: add 'model' or 'modelRef', or declare a Model called '{DEFAULT_MODEL}' in the namespace "
        f"'{resource.namespace}'",
        path=path,
        reason="NoModel",
    )


def checked_model(plan: ModelPlan, used_by: str, ctx: Ctx, path: Path) -> None:
    """Make a model once, so that what it lacks is known before it is used.

    Raises:
        InvalidResource: It cannot be made.
    """
    try:
        plan.check(used_by, ctx.services.get("model_factory"), ctx.services.get("models"))
    except (ConfigurationError, MissingPackageError) as error:
        raise InvalidResource(str(error), path=path, reason="ModelNotUsable") from None


async def tool_of(ctx: Ctx, resource: Resource, ref: refs.Reference, path: Path) -> ToolPlan:
    """Return a tool by a reference: a Tool, or else one that the program registered.

    A program registers tools with the service `tools` of its runtime, by `namespace/name`, `namespace.name` or `name`.

    Raises:
        UnresolvedReference: There is none.
        NotReady: It is not ready.
    """
    try:
        found = await ctx.resolve(ref, "tool", path=path)
    except UnresolvedReference as error:
        known = ctx.services.get("tools") or {}
        namespace = ref.namespace or resource.namespace
        names = (f"{namespace}/{ref.name}", f"{namespace}.{ref.name}", ref.name)
        registered = tools.registered(known, names)
        if registered is None:
            ids = ", ".join(sorted(known)) or "none"
            raise UnresolvedReference(
                f"{error.message}; nor is a tool registered with the runtime under that id (registered: {ids})",
                path=path,
                reason=error.reason,
            ) from None
        return ToolPlan(registered)
    plan: ToolPlan = await ctx.compiled(found.key, path=path)
    return plan
