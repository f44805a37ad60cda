"""Schedule: begins the runs that are due, once each, whichever process does it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final
from uuid import NAMESPACE_URL, uuid5

from stategraph.resources.controller import Ctx, Reconciler, ReconcileResult
from stategraph.resources.errors import InvalidResource, NotReady
from stategraph.resources.kinds.schedule import ScheduleSpec
from stategraph.resources.model import REGISTRY_MISSING, TARGET, Condition, Resource, ResourceKey
from stategraph.workers.registry import cron_times
from stategraph.workers.registry.values import ThreadBusy

#: A schedule that is due later is looked at again after so many seconds: clocks may be set.
_LOOK_S: Final = 300.0


def target_of(key: ResourceKey) -> str:
    """Return the target of runs of a resource."""
    return f"{TARGET}{key}"


class ScheduleController(Reconciler):
    """Submits runs to the registry of the runtime, `Ctx.services["registry"]`.

    Args:
        now: The time, with a zone.
    """

    kind: ClassVar[str] = "Schedule"

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now

    async def reconcile(self, resource: Resource, ctx: Ctx) -> ReconcileResult:
        """Begin the run that is due, if there is one, and say when the next one is."""
        spec = ctx.parsed(resource)
        assert isinstance(spec, ScheduleSpec)
        assert spec.ref.kind is not None
        found = await ctx.resolve(spec.ref, spec.ref.kind, path=("spec", "ref"))
        clock = f"{spec.cron} {spec.timezone or 'UTC'}"
        told = {key: value for key, value in resource.status.items() if key in ("lastRun", "lastRunId", "lastSkipped")}
        now = self._now()
        due = _time(resource.status.get("nextRun")) if resource.status.get("clock") == clock else None
        if spec.suspend:
            return ReconcileResult(
                [Condition("Ready", "True", "Suspended", "it begins no runs while suspend is true")], told
            )
        following = _next(spec, now)
        if due is not None and due <= now:
            told |= await self._begin(resource, spec, found.key, due, ctx)
        elif due is not None:
            following = due
        told |= {"nextRun": following.isoformat(), "clock": clock}
        wait = (following - now) / timedelta(seconds=1)
        return ReconcileResult((), told, requeue_after=min(_LOOK_S, max(0.01, wait)))

    async def _begin(
        self, resource: Resource, spec: ScheduleSpec, key: ResourceKey, due: datetime, ctx: Ctx
    ) -> dict[str, Any]:
        registry = ctx.services.get("registry")
        if registry is None:
            raise NotReady(
                "this process has no registry of runs: 'stategraph serve --resources' has one; in a program, give the "
                "runtime one: Runtime.from_url(..., registry=RunRegistry.from_url(...))",
                reason=REGISTRY_MISSING,
            )
        # Made of the schedule's name and the time that it was due: whoever submits it again submits the same run, also
        # a process that has read the same manifests into a store of its own.
        run_id = str(uuid5(NAMESPACE_URL, f"{TARGET}{resource.key}/{due.isoformat()}"))
        try:
            await registry.submit(
                spec.thread_id or run_id,
                spec.input,
                target=target_of(key),
                on_conflict=spec.on_conflict,
                run_id=run_id,
                queue=spec.queue,
                tenant=resource.namespace,
            )
        except ThreadBusy:
            return {"lastSkipped": due.isoformat()}
        await ctx.publish("schedule.fired", {"schedule": str(resource.key), "run": run_id, "due": due.isoformat()})
        return {"lastRun": due.isoformat(), "lastRunId": run_id}


def _next(spec: ScheduleSpec, now: datetime) -> datetime:
    try:
        return cron_times.next_after(spec.cron, spec.timezone, now)
    except cron_times.CronError as error:
        field = "timezone" if "timezone" in str(error) else "cron"
        raise InvalidResource(str(error), path=("spec", field)) from error
    except cron_times.NeverDue as error:
        raise InvalidResource(f"it is never due: {error}", path=("spec", "cron")) from error


def _time(text: Any) -> datetime | None:
    return datetime.fromisoformat(text) if isinstance(text, str) else None
