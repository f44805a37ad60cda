"""The reconcile loop.

Rules
-----
* It is level-triggered: a change of the log only says that a key is to be looked at; what is reconciled is the resource
  as it is known then. A gap in the log is a new listing.
* A key is reconciled by one worker at a time; 16 keys at once. What fails comes again with backoff, everything each ten
  minutes, and what looked at a resource when that changes. One bad resource holds up no other.
* A resource that becomes bad keeps what it was compiled to, also over a restart: the last good spec is compiled anew.
* The leader alone writes; the other processes compile for themselves, by the controllers that say `everywhere`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from stategraph.resources import schema
from stategraph.resources.controller import Controller, ReconcileResult
from stategraph.resources.errors import ConflictError, InvalidResource, NotReady, UnresolvedReference
from stategraph.resources.kind_table import GROUP
from stategraph.resources.loop import conditions
from stategraph.resources.loop.cache import declared
from stategraph.resources.loop.context import FINALIZER, Compiled, Context, Shared
from stategraph.resources.loop.leader import Leadership
from stategraph.resources.loop.queue import WorkQueue
from stategraph.resources.loop.secrets import hidden
from stategraph.resources.model import Condition, Resource, ResourceKey
from stategraph.resources.store.port import Change, WatchGapError
from stategraph.workers.registry.port import StoreUnavailableError

logger = logging.getLogger("stategraph.resources")

WORKERS: Final = 16
RESYNC_S: Final = 600.0
TIMEOUT_S: Final = 60.0
_AWAY_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """Times of a loop, in seconds.

    Attributes:
        workers: Keys that are reconciled at once.
        resync_s: How often everything is reconciled.
        timeout_s: How long one reconciling may take.
        lease_s: How long a leader that has vanished is waited for.
        writes: Whether this process may lead and so write status; one that does not compiles for itself alone, and what
            it finds is not stored.
    """

    workers: int = WORKERS
    resync_s: float = RESYNC_S
    timeout_s: float = TIMEOUT_S
    lease_s: float = 15.0
    writes: bool = True


class Loop:
    """Reconciles the resources of a store. Belongs to the event loop in which it is started.

    Args:
        shared: What its contexts share; its store, cache and dependencies are this loop's.
        controllers: The controllers, by their kinds in small letters.
        settings: Its times.
    """

    def __init__(self, shared: Shared, controllers: dict[str, Controller], settings: LoopSettings) -> None:
        self._shared = shared
        self._controllers = controllers
        self._settings = settings
        self._leadership = Leadership(shared.store, settings.lease_s)
        self._ranks: dict[str, int] = {}
        self._queue = WorkQueue(lambda key: self._ranks.get(key.kind, len(self._ranks)))
        self._tasks: list[asyncio.Task[None]] = []
        self._moved = asyncio.Event()
        self._tried_last_good: set[tuple[ResourceKey, int]] = set()
        self.version = 0

    @property
    def leads(self) -> bool:
        """True if this process leads."""
        return self._leadership.leads

    @property
    def is_running(self) -> bool:
        """True between `start` and `stop`."""
        return bool(self._tasks)

    async def start(self) -> None:
        """List everything, and begin to reconcile."""
        self._rank()
        if self._settings.writes:
            await self._leadership.renew()
        await self._list()
        work: list[Callable[[], Any]] = [self._follow, self._resync]
        work += [self._lead] if self._settings.writes else []
        work += [self._work] * self._settings.workers
        self._tasks = [asyncio.create_task(each()) for each in work]

    async def stop(self) -> None:
        """Stop reconciling, close what was compiled, and let another process lead."""
        tasks, self._tasks = self._tasks, []
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._queue.close()
        for key in list(self._shared.compiled):
            await self._retire(self._shared.compiled.pop(key))
        for controller in {id(each): each for each in self._controllers.values()}.values():
            close = getattr(controller, "aclose", None)
            if close is not None:
                await close()
        try:
            await self._leadership.resign()
        except StoreUnavailableError as error:
            logger.warning("The lease of the leader ends by itself: %s", error)

    async def settled(self, version: int) -> None:
        """Wait until every change up to a version is reconciled; what is tried again later does not count."""
        while True:
            while self.version < version:
                self._moved.clear()
                await self._moved.wait()
            await self._queue.idle()
            if len(self._queue) == 0:
                return

    def controller_changed(self, kind: str) -> None:
        """Reconcile all resources of a kind, after it or its controller came or went."""
        self._rank()
        for each in self._shared.cache.of_kind(kind):
            self._queue.add(each.key)

    def _rank(self) -> None:
        """Have kinds come after those that they depend on."""
        ranks: dict[str, int] = {}

        def rank(kind: str, above: tuple[str, ...]) -> int:
            if kind not in ranks and kind not in above:
                controller = self._controllers.get(kind)
                names = () if controller is None else controller.depends_on
                found = [self._shared.kinds.get(each) for each in names]
                ranks[kind] = 1 + max((rank(each.key, (*above, kind)) for each in found if each), default=0)
            return ranks.get(kind, 0)

        for each in self._controllers:
            rank(each, ())
        self._ranks = ranks

    # Changes.

    async def _list(self) -> None:
        """Take everything that is stored, and forget what is not any more."""
        listing = await self._shared.store.snapshot()
        found = {each.key for each in listing.resources}
        for each in self._shared.cache:
            if each.key not in found:
                await self._removed(each.key)
        for each in listing.resources:
            self._take(each)
            self._queue.add(each.key)
        self._move(listing.version)

    async def _follow(self) -> None:
        """Follow the log."""
        while True:
            try:
                async for changes in self._shared.store.batches(self.version):
                    await self._take_all(changes)
            except WatchGapError as gap:
                logger.info("%s", gap)
                await self._again(self._list)
            except (StoreUnavailableError, ConflictError) as error:
                logger.warning("The store of resources is away: %s", error)
                await asyncio.sleep(_AWAY_S)
            except Exception:  # a loop that stopped here would never hear of a change again
                logger.exception("The log of resources could not be followed; it is followed again")
                await asyncio.sleep(_AWAY_S)

    async def _again(self, work: Callable[[], Any]) -> None:
        try:
            await work()
        except (StoreUnavailableError, ConflictError) as error:
            logger.warning("The store of resources is away: %s", error)
            await asyncio.sleep(_AWAY_S)
        except Exception:
            logger.exception("Resources could not be listed; they are listed again")
            await asyncio.sleep(_AWAY_S)

    async def _take_all(self, changes: Sequence[Change]) -> None:
        newest = {each.key: each for each in changes}
        wanted = [each.key for each in newest.values() if self._is_news(each)]
        found = await self._shared.store.get_many(wanted) if wanted else {}
        for key in wanted:
            resource = found.get(key)
            if resource is None:
                await self._removed(key)
            else:
                self._take(resource)
        self._move(changes[-1].resource_version)

    def _is_news(self, change: Change) -> bool:
        known = self._shared.cache.get(change.key)
        return known is None or known.metadata.resource_version < change.resource_version

    def _move(self, version: int) -> None:
        self.version = version
        self._moved.set()

    def _take(self, resource: Resource) -> None:
        """Take a resource that may have changed, and have everybody look whom that concerns."""
        key = resource.key
        before = self._shared.cache.put(resource)
        if before is None or declared(before) != declared(resource):
            self._queue.add(key)
            self._ask(self._shared.dependencies.of_change(key))
        elif _told(before) != _told(resource):
            self._ask(self._shared.dependencies.of_change(key))

    async def _removed(self, key: ResourceKey) -> None:
        """Forget a resource; what looked at it and what it owned look again."""
        known = self._shared.cache.remove(key)
        dependencies = self._shared.dependencies
        self._ask(dependencies.of_change(key) | dependencies.of_compiled(key))
        self._queue.add(key)
        if known is not None:
            self._shared.children.pop(known.metadata.uid, None)
            self._ask(each.key for each in self._shared.cache.of_owner(known.metadata.uid))
            if self.leads:
                await self._publish(known, "deleted")

    def _ask(self, keys: Any) -> None:
        for each in sorted(keys):
            self._queue.add(each)

    # Tasks.

    async def _work(self) -> None:
        while True:
            key = await self._queue.take()
            try:
                await self._reconcile(key)
            except (StoreUnavailableError, ConflictError) as error:
                logger.debug("%s is reconciled again: %s", key, error)
                self._queue.fail(key)
            except Exception:
                logger.exception("%s could not be reconciled", key)
                self._queue.fail(key)
            finally:
                self._queue.done(key)

    async def _resync(self) -> None:
        while True:
            await asyncio.sleep(self._settings.resync_s)
            self._ask(each.key for each in self._shared.cache)

    async def _lead(self) -> None:
        clock = asyncio.get_running_loop().time
        held_at = clock()
        while True:
            await asyncio.sleep(self._leadership.pause_s)
            led = self.leads
            try:
                await self._leadership.renew()
                held_at = clock()
            except Exception as error:
                if not isinstance(error, StoreUnavailableError):
                    logger.exception("The lease of the leader cannot be renewed")
                logger.debug("The lease of the leader cannot be renewed: %s", error)
                if clock() - held_at > self._settings.lease_s:
                    self._leadership.leads = False
            if self.leads and not led:
                logger.info("This process leads now")
                self._ask(each.key for each in self._shared.cache)

    # One resource.

    async def _reconcile(self, key: ResourceKey) -> None:
        resource = self._shared.cache.get(key)
        if resource is None:
            self._shared.dependencies.forget(key)
            self._queue.succeed(key)
            if key in self._shared.compiled:
                await self._retire(self._shared.compiled.pop(key))
            return
        controller = self._controllers.get(key.kind)
        if self.leads and await self._is_leaving(resource, controller):
            return
        kind = self._shared.kinds.get(key.kind)
        if controller is None and kind is not None and kind.group == GROUP:
            return  # a controller of another program brings it about
        if resource.is_deleting or not (self.leads or getattr(controller, "everywhere", False)):
            return
        if self.leads and key.kind in self._shared.finalized and FINALIZER not in resource.metadata.finalizers:
            resource = await self._shared.store.put(
                resource.with_metadata(finalizers=(*resource.metadata.finalizers, FINALIZER))
            )
            self._shared.cache.put(resource)
        context = Context(self._shared, resource, leads=self.leads)
        try:
            result = await self._attempt(controller, resource, context)
        except Exception as error:
            self._note(key, context)
            await self._failed(resource, controller, error, context)
            self._note(key, context)  # with what the last good spec depends on, if that was compiled
        else:
            self._note(key, context)
            await self._succeeded(resource, result, context)

    def _note(self, key: ResourceKey, context: Context) -> None:
        self._shared.dependencies.note(key, context.looked, context.compiled_from)

    async def _attempt(self, controller: Controller | None, resource: Resource, context: Context) -> ReconcileResult:
        schema.parsed(resource, kinds=self._shared.kinds, environment=self._shared.environment)
        if controller is None:
            unmanaged = Condition("Ready", "Unknown", "NoController", f"no controller of {resource.kind} is registered")
            return ReconcileResult([unmanaged])
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                return await controller.reconcile(resource, context)
        except TimeoutError as error:
            told = f"the controller took longer than {self._settings.timeout_s:g} s" if not str(error) else str(error)
            raise TimeoutError(told) from error

    async def _succeeded(self, resource: Resource, result: ReconcileResult, context: Context) -> None:
        key, generation = resource.key, resource.metadata.generation
        self._queue.succeed(key)
        await self._keep(key, result.compiled, generation)
        found = conditions.succeeded(result)
        ready = next(each for each in found if each.type == "Ready")
        serving = None
        if ready.status == "False":
            serving = self._serving(key, generation)
        await self._tell(resource, found, result.status, serving, context)
        if result.requeue_after is not None:
            self._queue.add_later(key, result.requeue_after)

    async def _failed(
        self, resource: Resource, controller: Controller | None, error: Exception, context: Context
    ) -> None:
        key, generation = resource.key, resource.metadata.generation
        if isinstance(error, StoreUnavailableError | ConflictError):
            raise error
        if not isinstance(error, InvalidResource | NotReady | UnresolvedReference | TimeoutError):
            told = hidden(f"{type(error).__name__}: {error}", context.values)
            logger.warning("The controller of %s failed: %s", key, told)
            logger.debug("Where it failed", exc_info=not context.values)  # a traceback may show what is secret
        await self._restore(resource, controller, context)
        found = conditions.failed(error, resource)
        known = self._shared.compiled.get(key)
        if known is not None and known.generation == generation:
            found.append(conditions.degraded(found))
        await self._tell(resource, found, None, self._serving(key, generation), context)
        if isinstance(error, InvalidResource | UnresolvedReference):
            self._queue.succeed(key)  # nothing but a change helps
        else:
            self._queue.fail(key)

    def _serving(self, key: ResourceKey, generation: int) -> int | None:
        """Return the generation that serves in place of one that does not."""
        known = self._shared.compiled.get(key)
        return None if known is None or known.generation == generation else known.generation

    async def _restore(self, resource: Resource, controller: Controller | None, context: Context) -> None:
        """Compile the last good spec, where this process has nothing and the present spec is not good.

        What it needs may not be compiled yet: then it is tried again when that is.
        """
        key, generation = resource.key, resource.metadata.generation
        if controller is None or key in self._shared.compiled or (key, generation) in self._tried_last_good:
            return
        good = await self._shared.store.last_good(key)
        if good is None or good.metadata.generation == generation:
            self._tried_last_good.add((key, generation))
            return
        trying = Context(self._shared, good, leads=False)
        try:
            result = await self._attempt(controller, good, trying)
        except (NotReady, UnresolvedReference) as error:
            logger.info("The last good spec of %s cannot be compiled yet: %s", key, error)
        except Exception as error:
            self._tried_last_good.add((key, generation))
            told = hidden(f"{type(error).__name__}: {error}", trying.values)
            logger.warning("The last good spec of %s cannot be compiled either: %s", key, told)
        else:
            await self._keep(key, result.compiled, good.metadata.generation)
        context.looked |= trying.looked
        context.compiled_from |= trying.compiled_from

    async def _keep(self, key: ResourceKey, value: Any, generation: int) -> None:
        """Keep what a resource became; those that are compiled from it look again if it is another."""
        known = self._shared.compiled.get(key)
        if value is None:
            return
        if known is not None and (known.value is value or known.value == value):
            self._shared.compiled[key] = replace(known, generation=generation)
            return
        self._shared.compiled[key] = Compiled(value, generation)
        self._ask(self._shared.dependencies.of_compiled(key))
        if known is not None:
            await self._retire(known)

    async def _retire(self, compiled: Compiled) -> None:
        close = getattr(compiled.value, "aclose", None)
        if close is not None:
            try:
                await close()
            except Exception:
                logger.exception("What a resource became could not be closed")

    async def _tell(
        self,
        resource: Resource,
        found: Sequence[Condition],
        fields: Any,
        serving: int | None,
        context: Context,
    ) -> None:
        """Write the status, if it changed and this process leads; one that never does keeps it for itself."""
        if not self.leads and self._settings.writes:
            return
        status = conditions.status_of(resource, found, fields, serving, _now)
        status = hidden(status, context.values)
        if status == resource.status:
            return
        if not self._settings.writes:
            told = replace(resource, status=status)
            self._shared.cache.tell(told)
            if _told(told) != _told(resource):
                self._ask(self._shared.dependencies.of_change(resource.key))
            return
        stored = await self._shared.store.put_status(replace(resource, status=status))
        self._take(stored)
        await self._publish(stored, "reconciled")

    async def _publish(self, resource: Resource, what: str) -> None:
        ready = resource.condition("Ready")
        event = {
            "key": str(resource.key),
            "namespace": resource.namespace,
            "name": resource.name,
            "generation": resource.metadata.generation,
            "resourceVersion": resource.metadata.resource_version,
            "ready": "Unknown" if ready is None else ready.status,
            "reason": "" if ready is None else ready.reason,
        }
        await self._shared.bus.publish(f"{resource.key.kind}.{what}", event)

    async def _is_leaving(self, resource: Resource, controller: Controller | None) -> bool:
        """Delete what lost its owners, clean up what is deleted; returns whether there is nothing else to do."""
        store, meta = self._shared.store, resource.metadata
        owners = meta.owner_references
        if owners and not resource.is_deleting and not any(self._shared.cache.has_uid(each.uid) for each in owners):
            await store.delete(resource.key)
            return True
        if not resource.is_deleting:
            return False
        if FINALIZER in meta.finalizers:
            if controller is not None:
                if resource.status.get("phase") != conditions.DELETING:
                    leaving = {**resource.status, "phase": conditions.DELETING}
                    resource = await store.put_status(replace(resource, status=leaving))
                    self._take(resource)
                context = Context(self._shared, resource, leads=True)
                async with asyncio.timeout(self._settings.timeout_s):
                    cleaned = await controller.finalize(resource, context)
                if not cleaned:
                    self._queue.fail(resource.key)
                    return True
            rest = tuple(each for each in meta.finalizers if each != FINALIZER)
            await store.put(resource.with_metadata(finalizers=rest))
        return True


def _told(resource: Resource) -> tuple[object, ...]:
    """Return what others look at in a status, or repeat of it."""
    own = ("conditions", "observedGeneration")
    ready = resource.condition("Ready")
    why = None if ready is None or ready.status == "True" else (ready.reason, ready.message)
    return resource.is_ready, why, {key: value for key, value in resource.status.items() if key not in own}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
