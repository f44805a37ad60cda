"""Worker: workers that execute the runs of queues, as many as the queues need."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

from stategraph.errors import TransferError
from stategraph.resources.controller import Ctx, ReconcileResult
from stategraph.resources.errors import NotReady, ResourceError
from stategraph.resources.kinds.worker import WorkerSpec
from stategraph.resources.model import REGISTRY_MISSING, TARGET, Condition, Resource, ResourceKey
from stategraph.workers.attempts import Graphs
from stategraph.workers.autoscale.machine import Change, Scaler, ScalingSettings, Seen
from stategraph.workers.hosted.sources import SERVED, GraphSource
from stategraph.workers.leases import RunStatus
from stategraph.workers.references import Targets
from stategraph.workers.worker import Worker, WorkerSettings

_log = logging.getLogger(__name__)

#: Seconds between two counts of what waits.
_COUNT_S: Final = 2.0

#: Runs that are looked at to find the oldest that waits.
_LOOKED_AT: Final = 500

#: Changes of the number of workers that the status has.
_SHOWN: Final = 10


def scaling_of(spec: WorkerSpec) -> ScalingSettings:
    """Return the limits and targets of a resource."""
    replicas = spec.replicas
    return ScalingSettings(
        least=replicas.min,
        most=replicas.max,
        capacity=spec.capacity,
        target_queue_s=replicas.target_queue_seconds,
        target_latency_s=replicas.target_latency_seconds,
        up_after_s=replicas.up_after_seconds,
        down_after_s=replicas.down_after_seconds,
    )


class ResourceGraphs:
    """Finds the graphs of runs among resources, those that a server serves, and others by importing them.

    Args:
        ctx: Knows what resources became; the service `served_graphs` is the `GraphSource` of the server around it.
    """

    def __init__(self, ctx: Ctx) -> None:
        self._ctx = ctx
        self._imported = Graphs(Targets(each.rstrip(".") for each in ctx.allow))

    async def find(self, target: str) -> Any:
        """Return a compiled graph, see `GraphSource`."""
        served: GraphSource | None = self._ctx.services.get("served_graphs")
        if served is not None and target.startswith(SERVED):
            return await served.find(target)
        if not target.startswith(TARGET):
            return await self._imported.find(target)
        try:
            key = ResourceKey.parse(target.removeprefix(TARGET), kinds=self._ctx.kinds)
            found = await self._ctx.compiled(key)
        except ResourceError as error:
            raise TransferError(f"The target {target!r} is not to be had here: {error}") from error
        graph = getattr(found, "graph", None)
        if graph is None:
            raise TransferError(f"The target {target!r} became a {type(found).__name__}, which has no graph")
        return graph


@dataclass(slots=True)
class Pool:
    """The workers of one resource.

    Attributes:
        spec: What they were made of.
        scaler: Decides how many there are.
        workers: The workers, each with the task that runs it.
        draining: Workers that end what they have.
        ended: Runs that were brought to an end by workers that have ended.
    """

    spec: WorkerSpec
    scaler: Scaler
    workers: list[tuple[Worker, asyncio.Task[None]]] = field(default_factory=list)
    draining: set[asyncio.Task[None]] = field(default_factory=set)
    ended: int = 0

    def resize(self, number: int, make: Callable[[], Worker]) -> None:
        """Have so many workers; those that are too many end their runs first."""
        self.ended += sum(worker.health().finished for worker, task in self.workers if task.done())
        self.workers = [each for each in self.workers if not each[1].done()]
        while len(self.workers) < number:
            worker = make()
            task = asyncio.create_task(_run(worker))
            self.workers.append((worker, task))
        while len(self.workers) > number:
            worker, task = min(self.workers, key=lambda each: each[0].health().busy)
            self.workers.remove((worker, task))
            worker.drain()
            self.ended += worker.health().finished  # what it ends from now on is not counted
            self.draining.add(task)
            task.add_done_callback(self.draining.discard)

    def busy(self) -> int:
        """Return how many workers execute something."""
        return sum(worker.health().busy > 0 for worker, _ in self.workers)

    def seen(self, at: float, queued: int, oldest_s: float) -> Seen:
        """Return the pool at one moment, for its scaler."""
        states = [worker.health() for worker, _ in self.workers]
        return Seen(
            at=at,
            workers=len(self.workers),
            running=sum(each.busy for each in states),
            queued=queued,
            oldest_wait_s=oldest_s,
            ended=self.ended + sum(each.finished for each in states),
        )

    async def aclose(self) -> None:
        """Let all workers end: they give back what they have."""
        tasks = [task for _, task in self.workers] + list(self.draining)
        for worker, _ in self.workers:
            worker.stop()
        self.workers = []
        await asyncio.gather(*tasks, return_exceptions=True)


async def _run(worker: Worker) -> None:
    try:
        await worker.run()
    except Exception:  # any error: the next reconciling starts another one
        _log.exception("A worker has ended")


class WorkerController:
    """Runs workers in this process, with `registry` and `saver` of `Ctx.services`."""

    kind: ClassVar[str] = "Worker"
    depends_on: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        self._pools: dict[ResourceKey, Pool] = {}

    async def reconcile(self, resource: Resource, ctx: Ctx) -> ReconcileResult:
        """Have as many workers as the queues need, within the limits."""
        spec = ctx.parsed(resource)
        assert isinstance(spec, WorkerSpec)
        registry = ctx.services.get("registry")
        if registry is None:
            raise NotReady(
                "this process has no registry of runs: 'stategraph serve --resources' has one; in a program, give the "
                "runtime one: Runtime.from_url(..., registry=RunRegistry.from_url(...), saver=...)",
                reason=REGISTRY_MISSING,
            )
        queues = (spec.queue, *(each for each in spec.queues if each != spec.queue))
        waiting = await registry.list(status=RunStatus.PENDING, limit=_LOOKED_AT)
        mine = [each for each in waiting if each.queue in queues]
        oldest = max((time.time() - each.created_at for each in mine), default=0.0)
        if spec.executor == "external":
            return await self._counted(registry, spec, mine)
        saver = ctx.services.get("saver")
        if saver is None:
            raise NotReady(
                "there is no saver; give the runtime one on the registry's database: saver=...", reason="SaverMissing"
            )
        pool = await self._pool(resource.key, spec)

        def make() -> Worker:
            allow = [each.rstrip(".") for each in ctx.allow] or ["stategraph.resources"]
            settings = WorkerSettings(allow, queues, spec.capacity, drain_s=spec.drain_seconds)
            session_of = ctx.services.get("session_of")
            return Worker(registry, saver, settings, session_of=session_of, graphs=ResourceGraphs(ctx))

        pool.resize(max(len(pool.workers), spec.replicas.min), make)  # those that have ended by themselves too
        pool.resize(pool.scaler.decide(pool.seen(time.monotonic(), len(mine), oldest)), make)
        status = {
            "replicas": len(pool.workers),
            "busy": pool.busy(),
            "queued": len(mine),
            "scaling": [_shown(each) for each in pool.scaler.history[-_SHOWN:]],
        }
        return ReconcileResult((), status, requeue_after=_COUNT_S)

    async def _pool(self, key: ResourceKey, spec: WorkerSpec) -> Pool:
        """Return the pool of a resource; one of another queue or capacity gives way to a new one."""
        known = self._pools.get(key)
        if known is None or _fixed(known.spec) != _fixed(spec):
            if known is not None:
                await known.aclose()
            known = self._pools[key] = Pool(spec, Scaler(scaling_of(spec)))
        known.spec, known.scaler.settings = spec, scaling_of(spec)
        return known

    async def _counted(self, registry: Any, spec: WorkerSpec, mine: list[Any]) -> ReconcileResult:
        """Report workers that run elsewhere."""
        workers = [each for each in await registry.workers() if not each.gone]
        there = [each for each in workers if spec.queue in each.queues]
        status = {"replicas": len(there), "busy": sum(each.busy > 0 for each in there), "queued": len(mine)}
        if len(there) >= spec.replicas.min:
            return ReconcileResult((), status, requeue_after=_COUNT_S)
        message = (
            f"{len(there)} workers of the queue '{spec.queue}' are seen; expected at least {spec.replicas.min}. Start "
            f"one with 'stategraph worker --resources --queue {spec.queue}' on this database"
        )
        unknown = sum(not each.queues for each in workers)
        if unknown:
            message += f"; {unknown} of an older version do not say what they claim from"
        return ReconcileResult([Condition("Ready", "False", "WorkersMissing", message)], status, _COUNT_S)

    async def finalize(self, resource: Resource, ctx: Ctx) -> bool:
        """End its workers."""
        del ctx
        pool = self._pools.pop(resource.key, None)
        if pool is not None:
            await pool.aclose()
        return True

    async def aclose(self) -> None:
        """End all workers."""
        pools, self._pools = self._pools, {}
        await asyncio.gather(*(each.aclose() for each in pools.values()))


def _shown(change: Change) -> dict[str, Any]:
    """Return a change of the number of workers as the status has it, with the time of day."""
    at = datetime.fromtimestamp(time.time() - (time.monotonic() - change.at), UTC)
    return {
        "at": at.isoformat(timespec="seconds"),
        "from": change.before,
        "to": change.after,
        "reason": change.reason,
        "queued": change.queued,
        "oldestWaitSeconds": round(change.oldest_wait_s, 3),
    }


def _fixed(spec: WorkerSpec) -> tuple[Any, ...]:
    return spec.queue, spec.queues, spec.capacity, spec.drain_seconds
