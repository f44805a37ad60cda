"""The runtime of resources: a store, the loop that reconciles what is in it, and what the resources became.

async with Runtime.from_url("sqlite:///app.db", allow=("app.",)) as runtime:
    await runtime.apply(load("app/"))
    await runtime.wait("agent/greeter", "Ready")
    answer = await runtime.graph("agent/greeter").ainvoke(...)
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeAlias

from stategraph.resources import controllers, persistence, refs, schema
from stategraph.resources.bus import EventBus
from stategraph.resources.controller import Controller, cleans_up
from stategraph.resources.errors import ResourceError, UnknownResource
from stategraph.resources.kind_table import DEFAULT_NAMESPACE, GROUP, KINDS, Kind, KindTable
from stategraph.resources.loading import load_text
from stategraph.resources.loop.context import FINALIZER, Shared
from stategraph.resources.loop.loop import Loop, LoopSettings
from stategraph.resources.loop.secrets import FOLDERS
from stategraph.resources.model import Metadata, Resource, ResourceKey
from stategraph.resources.places import Problem
from stategraph.resources.state.store import StateStores
from stategraph.resources.store.following import changes_over_gaps
from stategraph.resources.store.opening import MEMORY, open_store
from stategraph.resources.store.port import AppliedResource, Change, ResourceStore

#: A resource's name as callers write it: a key, `agent/greeter`, or `cooking.greeter` where the kind is known.
Name: TypeAlias = ResourceKey | str | Mapping[str, str]

#: Status of a `Condition` to wait for: that the resource is gone.
DELETED = "Deleted"


@dataclass(frozen=True, slots=True)
class Applied:
    """Outcome of applying one resource.

    Attributes:
        key: The resource.
        action: `created`, `configured` or `unchanged`.
        problems: What is wrong with it. If its spec does not fit its kind it is stored all the same, what it was before
            goes on serving, and its condition `Valid` says so; where another writer has changed a field, nothing is.
    """

    key: ResourceKey
    action: Literal["created", "configured", "unchanged"]
    problems: tuple[Problem, ...] = ()


class Runtime:
    """Keeps resources and brings about what they declare.

    Use it as a context manager, or call `start` and `stop`. Before `start` it reads and writes the store alone, which
    is what commands need.

    Args:
        store: The store.
        allow: Prefixes of the modules that manifests may name, such as `app.`; code is imported from no others.
        environment: The variables of `${VAR}` and of secrets; None for those of the process.
        bus: The event bus; None for one within this process.
        secret_folders: Folders from which secrets may be read, besides the current one.
        settings: Times of the loop.
        services: What controllers find in `Ctx.services`, such as `model_factory`. Threads of what is declared are kept
            by `saver`; without one, by a saver that is opened at the address `database`.
        states: State that networks share, which controllers find as `Ctx.services["states"]`; None for one in memory.

    Attributes:
        store: The store.
        states: State that networks and programs share.
        bus: The event bus: topics are `<kind>.reconciled`, `<kind>.deleted` and what controllers tell.
    """

    def __init__(
        self,
        store: ResourceStore,
        *,
        allow: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        bus: EventBus | None = None,
        secret_folders: Sequence[str] = FOLDERS,
        settings: LoopSettings | None = None,
        services: Mapping[str, Any] | None = None,
        states: StateStores | None = None,
    ) -> None:
        self.store = store
        self.states = states or StateStores()
        self.bus = bus or EventBus()
        self._controllers: dict[str, Controller] = {}
        self._services = {"bus": self.bus, "states": self.states, **(services or {})}
        self._exits = AsyncExitStack()
        self._shared = Shared(
            store,
            self.bus,
            KINDS,
            os.environ if environment is None else environment,
            tuple(allow),
            self._services,
            tuple(secret_folders),
            self._define,
            self._undefine,
        )
        self._loop = Loop(self._shared, self._controllers, settings or LoopSettings())
        self._has_started = False

    @classmethod
    def from_url(
        cls,
        url: str = "memory:",
        *,
        allow: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        bus: str | None = None,
        secret_folders: Sequence[str] = FOLDERS,
        settings: LoopSettings | None = None,
        **services: Any,
    ) -> Self:
        """Make a runtime on the store of an address; nothing is opened before its first use.

        Args:
            url: `memory:`, `sqlite:///app.db`, `libsql:///app.db` or `postgresql://...`.
            allow: Prefixes of the modules that manifests may name.
            environment: The variables of `${VAR}`; None for those of the process.
            bus: `nats://...` for events in all processes that share the store; None for events in this one.
            secret_folders: Folders from which secrets may be read, besides the current one.
            settings: Times of the loop.
            services: What controllers find in `Ctx.services`, such as `model_factory`. Threads, and state that networks
                share, are at the address `database`, if one is given.

        Raises:
            ConfigurationError: An address is not understood.
            MissingPackageError: A package that the store needs is not installed.
        """
        return cls(
            open_store(url),
            allow=allow,
            environment=environment,
            bus=EventBus(bus),
            secret_folders=secret_folders,
            settings=settings,
            services={"database": url, **services},
            states=StateStores(str(services.get("database", url))),
        )

    # Kinds and controllers.

    @property
    def kinds(self) -> KindTable:
        """The kinds that there are, those that resources define among them."""
        return self._shared.kinds

    @property
    def leads(self) -> bool:
        """True if this process is the one that writes status; others with the same store only compile."""
        return self._loop.leads

    def register(self, controller: Controller) -> None:
        """Let a controller reconcile its kind, in place of the one that did.

        Raises:
            ResourceError: There is no such kind.
        """
        kind = self.kinds.get(controller.kind)
        if kind is None:
            raise ResourceError(f"There is no kind '{controller.kind}' to register a controller for")
        self._install(kind, controller)

    def define_kind(self, kind: Kind, controller: Controller | None = None) -> None:
        """Let there be a kind of the program's own, with its controller if it has one.

        Raises:
            ResourceError: There is a built-in kind of that name.
        """
        known = self.kinds.get(kind.name)
        if known is not None and known.group == GROUP:
            raise ResourceError(f"There is a built-in kind '{known.name}'; give yours another name")
        self._define(kind, controller)

    def _install(self, kind: Kind, controller: Controller) -> None:
        self._controllers[kind.key] = controller
        if cleans_up(controller):
            self._shared.finalized[kind.key] = FINALIZER
        else:
            self._shared.finalized.pop(kind.key, None)
        if self._loop.is_running:
            self._loop.controller_changed(kind.key)

    def _define(self, kind: Kind, controller: Controller | None) -> None:
        known = self.kinds.get(kind.name)
        if known == kind and (controller is None or self._controllers.get(kind.key) is controller):
            return
        self._shared.kinds = KindTable(each for each in self.kinds if each.name != kind.name).with_kinds([kind])
        if controller is not None:
            self._install(kind, controller)
        else:
            self._loop.controller_changed(kind.key)

    def _undefine(self, name: str) -> None:
        self._shared.kinds = KindTable(each for each in self.kinds if each.name != name)
        self._controllers.pop(name.lower(), None)
        self._shared.finalized.pop(name.lower(), None)
        self._loop.controller_changed(name.lower())

    # Its life.

    async def start(self) -> None:
        """Begin to reconcile, in the background."""
        if self._loop.is_running:
            return
        if not self._has_started:
            self._has_started = True
            for each in controllers.built_in():
                if each.kind.lower() not in self._controllers:
                    self.register(each)
        if "saver" not in self._services:
            self._services["saver"] = await self._exits.enter_async_context(self._saver())
        await self.bus.start()
        await self._loop.start()

    def _saver(self) -> AbstractAsyncContextManager[Any]:
        return persistence.saver_of(self._services.get("database", MEMORY))

    async def stop(self) -> None:
        """Stop reconciling and close the store."""
        if self._loop.is_running:
            await self._loop.stop()
        await self.bus.stop()
        await self._exits.aclose()
        await self.states.close()
        await self.store.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    # Resources.

    async def apply(self, resources: Sequence[Resource], *, force: bool = False) -> list[Applied]:
        """Store resources as declared.

        Fields that the manifest of before had and this one lacks go; those that others set stay.

        Args:
            resources: The resources, in any order.
            force: Whether fields are taken over that another writer changed since the manifest of before.
        """
        stored = await self.store.apply(resources, force=force, finalizers=self._shared.finalized)
        return [self._applied(each, found) for each, found in zip(resources, stored, strict=True)]

    def _applied(self, resource: Resource, found: AppliedResource) -> Applied:
        problems = [
            Problem(
                f"another writer changed the field to {value!r} since this manifest was applied; apply with force to "
                "take it over",
                path,
                resource.source,
                resource=str(resource.key),
            )
            for path, value in found.conflicts
        ]
        problems += schema.check(resource, kinds=self.kinds, environment=self._shared.environment)
        return Applied(resource.key, found.action, tuple(problems))

    async def load_from_string(self, text: str, timeout: float = 30.0) -> list[Applied]:  # noqa: ASYNC109 - as `wait`
        """Apply the documents of a text in YAML or JSON, and wait until they are reconciled, if the loop runs.

        Raises:
            ManifestError: The text cannot be read; nothing is applied.
            TimeoutError: Reconciling takes longer than so many seconds.
        """
        applied = await self.apply(load_text(text, kinds=self.kinds))
        await self.settled(timeout)
        return applied

    async def settled(self, timeout: float = 30.0) -> None:  # noqa: ASYNC109 - as `wait`
        """Wait until all that is stored is reconciled; what is not ready and is tried again later does not count.

        Raises:
            TimeoutError: That takes longer than so many seconds.
        """
        if self._loop.is_running:
            version = -1
            async with asyncio.timeout(timeout):
                while version != (
                    newest := await self.store.version()
                ):  # reconciling may write what is to be reconciled
                    version = newest
                    await self._loop.settled(version)

    async def get(self, name: Name) -> Resource | None:
        """Return a resource; None if there is none."""
        return await self.store.get(self.key(name))

    async def list(
        self, kind: str | None = None, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> Sequence[Resource]:
        """Return resources in the order of their keys.

        Args:
            kind: Of this kind, in any word for it; None for all.
            namespace: Of this namespace; None for all.
            labels: With all of these labels.
        """
        return await self.store.list(None if kind is None else self._kind(kind), namespace, labels)

    async def watch(self, from_version: int | None = None) -> AsyncIterator[Change]:
        """Yield every change behind a version, once, in order; None for those from now on.

        Raises:
            WatchGapError: The log begins after that version.
        """
        version = await self.store.version() if from_version is None else from_version
        async for each in self.store.watch(version):
            yield each

    async def delete(self, name: Name) -> bool:
        """Ask for the deletion of a resource; what it owns goes after it. Returns whether it was there."""
        key = self.key(name)
        if await self.store.get(key) is None:
            return False
        await self.store.delete(key)
        return True

    async def wait(
        self,
        name: Name,
        condition: str = "Ready",
        timeout: float = 30.0,  # noqa: ASYNC109 - a name that callers know
    ) -> Resource:
        """Wait until a condition is true for the present generation.

        Args:
            name: The resource.
            condition: The type of the condition; `Deleted` for the end of the resource.
            timeout: How long, in seconds.

        Returns:
            The resource; as it was last if it was to be deleted.

        Raises:
            TimeoutError: It did not become so; the message has the conditions.
        """
        key = self.key(name)
        found: Resource | None = None
        try:
            async with asyncio.timeout(timeout):
                version = await self.store.version()
                last = found = await self.store.get(key)
                if _has(found, condition):
                    return _known(found or last, key)
                async for change in changes_over_gaps(self.store, version):
                    if change is None or change.key == key:
                        last, found = found or last, await self.store.get(key)
                        if _has(found, condition):
                            return _known(found or last, key)
        except TimeoutError:
            # Its time may be over before the first answer of the store: how the resource stands is then not known yet.
            stands = found if found is not None else await self.store.get(key)
            raise TimeoutError(_not_yet(stands, key, condition, timeout)) from None
        raise ResourceError("The store is closed")

    # What resources became.

    def seen(self, name: Name) -> Resource | None:
        """Return a resource as this process knows it, with what it found where it does not write; None: there is none.

        See `LoopSettings.writes`.
        """
        return self._shared.cache.get(self.key(name))

    def compiled(self, name: Name) -> Any:
        """Return what a resource became in this process.

        Raises:
            UnknownResource: Nothing yet; the message says why.
        """
        key = self.key(name)
        found = self._shared.compiled.get(key)
        if found is not None:
            return found.value
        resource = self._shared.cache.get(key)
        ready = None if resource is None else resource.condition("Ready")
        why = "there is no such resource" if resource is None else "it was not reconciled yet"
        raise UnknownResource(f"{key} is not running: {why if ready is None else ready.message}")

    def agent(self, name: Name) -> Any:
        """Return what an agent became; errors as `compiled`."""
        return self.compiled(self._of_kind(name, "Agent"))

    def graph(self, name: Name) -> Any:
        """Return the graph of a workflow, network or agent; errors as `compiled`.

        Raises:
            ResourceError: It has no graph.
        """
        key = self.key(name)
        found = self.compiled(key)
        graph = getattr(found, "graph", None)
        if graph is None:
            raise ResourceError(f"{key} became a {type(found).__name__}, which has no graph")
        return graph

    def get_workflow(self, name: Name) -> Any:
        """Return a workflow, with `execute`; errors as `compiled`."""
        return self.compiled(self._of_kind(name, "Workflow"))

    def get_network(self, name: Name) -> Any:
        """Return a network, with `generate`; errors as `compiled`."""
        return self.compiled(self._of_kind(name, "Network"))

    # Names.

    def key(self, name: Name) -> ResourceKey:
        """Return the key of a resource.

        Raises:
            ResourceError: It is none, or there is no such kind.
        """
        if isinstance(name, ResourceKey):
            return name
        if isinstance(name, str):
            return ResourceKey.parse(name, kinds=self.kinds)
        reference = refs.parse(name, self.kinds)
        if reference.kind is None:
            raise ResourceError(f"Which kind is {dict(name)}? Add 'kind', or write 'agent/{reference}'")
        return reference.key(reference.kind, DEFAULT_NAMESPACE, self.kinds)

    def _of_kind(self, name: Name, kind: str) -> ResourceKey:
        return refs.parse(name, self.kinds).key(kind, DEFAULT_NAMESPACE, self.kinds)

    def _kind(self, word: str) -> str:
        found = self.kinds.get(word)
        if found is not None:
            return found.key
        return word


def _has(resource: Resource | None, condition: str) -> bool:
    if resource is None or condition == DELETED:
        return resource is None and condition == DELETED
    found = resource.condition(condition)
    return found is not None and found.status == "True" and found.observed_generation == resource.metadata.generation


def _known(resource: Resource | None, key: ResourceKey) -> Resource:
    if resource is None:  # it was gone before anybody waited
        return Resource("", key.kind, Metadata(key.name, key.namespace))
    return resource


def _not_yet(resource: Resource | None, key: ResourceKey, condition: str, seconds: float) -> str:
    if resource is None:
        return f"{key} was not there after {seconds:g} s"
    told = "; ".join(f"{each.type}={each.status} ({each.reason}: {each.message})" for each in resource.conditions)
    return (
        f"{key} was not {condition} after {seconds:g} s: {told or 'it was not reconciled yet; is a runtime running?'}"
    )
