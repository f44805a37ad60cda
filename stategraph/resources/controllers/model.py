"""Controller of Models."""

from __future__ import annotations

from typing import ClassVar, cast

from stategraph.resources.compile import models
from stategraph.resources.compile.models import ModelPlan
from stategraph.resources.controller import Ctx, ReconcileResult
from stategraph.resources.controllers import common
from stategraph.resources.kinds.model import ModelSpec
from stategraph.resources.model import Resource


class ModelController(common.Base):
    """Makes Models what agents use."""

    kind: ClassVar[str] = "Model"
    depends_on: ClassVar[tuple[str, ...]] = ("Secret",)

    async def reconcile(self, resource: Resource, ctx: Ctx) -> ReconcileResult:
        """Resolve what a Model refers to, and make it once."""
        spec = cast("ModelSpec", ctx.parsed(resource))
        fallbacks: list[ModelPlan] = []
        for index, each in enumerate(spec.fallback):
            path = ("spec", "fallback", index)
            if each.model is not None:
                fallbacks.append(await common.provider_model(ctx, each.model, path))
            else:
                found = await ctx.resolve(each.model_ref, "model", path=path)
                fallbacks.append(await ctx.compiled(found.key, path=path))
        api_key = await common.secret(ctx, spec.secret_ref, ("spec", "secretRef"))
        plan = models.of_spec(spec, api_key, fallbacks)
        common.checked_model(plan, str(resource.key), ctx, ("spec",))
        return ReconcileResult(
            status={"provider": spec.provider, "model": spec.name, "fallbacks": len(fallbacks)}, compiled=plan
        )
