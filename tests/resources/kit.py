"""A kind for tests, its controller, and what resources come to without what differs from run to run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, ClassVar

from stategraph.resources import (
    Ctx,
    InvalidResource,
    Kind,
    Metadata,
    NotReady,
    Reconciler,
    ReconcileResult,
    Resource,
)
from stategraph.resources.kinds.base import Ref, TargetSpec


class PartSpec(TargetSpec):
    """The spec of a kind of the tests."""

    value: int = 0
    needs: tuple[Ref, ...] = ()
    looks: tuple[Ref, ...] = ()
    fail: str = ""
    token: Ref | None = None


PART = Kind("Part", "parts", ("pt",), spec="tests.resources.kit:PartSpec", group="test.dev")


class Parts(Reconciler):
    """Compiles a part to a list of its value and those of what it needs."""

    kind: ClassVar[str] = "Part"

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.active: set[str] = set()
        self.most = 0
        self.gate: asyncio.Event | None = None

    async def reconcile(self, resource: Resource, ctx: Ctx) -> ReconcileResult:
        spec = ctx.parsed(resource)
        assert isinstance(spec, PartSpec)
        assert resource.key not in self.active, "one key, one worker"
        self.active.add(resource.key)
        self.calls.append(resource.name)
        self.most = max(self.most, len(self.active))
        try:
            if self.gate is not None:
                await self.gate.wait()
            return await self.compile(resource, spec, ctx)
        finally:
            self.active.discard(resource.key)

    async def compile(self, resource: Resource, spec: PartSpec, ctx: Ctx) -> ReconcileResult:
        for number, ref in enumerate(spec.looks):
            await ctx.resolve(ref, "Part", path=("spec", "looks", number))
        value = [spec.value]
        for number, ref in enumerate(spec.needs):
            path = ("spec", "needs", number)
            found = await ctx.resolve(ref, "Part", path=path)
            value += await ctx.compiled(found.key, path=path)
        if spec.token is not None:
            value.append(len(await ctx.secret(spec.token, path=("spec", "token"))))
        match spec.fail:
            case "invalid":
                raise InvalidResource("the value is bad", path=("spec", "value"))
            case "raise":
                raise RuntimeError(f"boom {await ctx.secret(spec.token)}" if spec.token else "boom")
            case "hang":
                await asyncio.sleep(3600)
            case "wait":
                raise NotReady("not yet", reason="Waiting")
        return ReconcileResult(status={"sum": sum(value)}, compiled=value)


class CleaningParts(Parts):
    """The same, where a deletion waits for a cleaning up."""

    async def finalize(self, resource: Resource, ctx: Ctx) -> bool:
        return True


def part(name: str, namespace: str = "default", **spec: Any) -> Resource:
    return Resource("test.dev/v1", "Part", Metadata(name, namespace), spec)


def state(resources: Iterable[Resource]) -> dict[str, Any]:
    """Return what resources come to, without ids, versions and times."""
    return {str(each.key): _state(each) for each in resources}


def _state(resource: Resource) -> dict[str, Any]:
    meta = resource.metadata
    status = {key: value for key, value in resource.status.items() if key not in ("conditions", "observedGeneration")}
    conditions = {each.type: [each.status, each.reason, each.message] for each in resource.conditions}
    return {
        "spec": dict(resource.spec),
        "labels": dict(meta.labels),
        "owners": sorted(each.name for each in meta.owner_references),
        "finalizers": sorted(meta.finalizers),
        "status": status,
        "conditions": conditions,
    }
