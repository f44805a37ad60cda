"""Secret: looks whether each value is there, and says their names alone."""

from __future__ import annotations

from typing import ClassVar

from stategraph.resources.controller import Ctx, Reconciler, ReconcileResult
from stategraph.resources.errors import NotReady
from stategraph.resources.kinds.secret import SecretSpec
from stategraph.resources.model import Condition, Resource

#: How often to look again; a file or a variable of Kubernetes may have changed.
LOOK_S = 300.0


class SecretController(Reconciler):
    """Reports which values a secret has."""

    kind: ClassVar[str] = "Secret"

    async def reconcile(self, resource: Resource, ctx: Ctx) -> ReconcileResult:
        """Read every value once, and report what is missing."""
        spec = ctx.parsed(resource)
        assert isinstance(spec, SecretSpec)
        names = sorted([*spec.values, *(["value"] if spec.value_from is not None else [])])
        missing = []
        for name in names:
            try:
                await ctx.secret({"name": resource.name, "namespace": resource.namespace}, name)
            except NotReady as error:
                path = ("spec", "values", name) if name in spec.values else ("spec", "valueFrom")
                missing.append(resource.about(path, error.message.removeprefix(f"{resource.key}: ")))
        found = []
        if missing:
            found.append(Condition("Ready", "False", "SecretNotFound", "; ".join(missing)))
        return ReconcileResult(found, {"keys": names}, requeue_after=LOOK_S if not missing else 10.0)
