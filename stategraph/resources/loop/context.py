"""Context of a controller while it reconciles one resource; see `stategraph.resources.controller.Ctx`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

from stategraph.resources import refs, schema
from stategraph.resources.bus import EventBus
from stategraph.resources.controller import Controller
from stategraph.resources.errors import InvalidResource, NotReady, ResourceError, UnresolvedReference
from stategraph.resources.kind_table import Kind, KindTable
from stategraph.resources.kinds.secret import SecretSpec
from stategraph.resources.loop import secrets
from stategraph.resources.loop.cache import Cache, declared
from stategraph.resources.loop.dependencies import Dependencies
from stategraph.resources.model import OwnerReference, Resource, ResourceKey
from stategraph.resources.places import Path
from stategraph.resources.store.port import ResourceStore

if TYPE_CHECKING:
    from pydantic import BaseModel

#: Holds up the deletion of a resource whose controller has to clean up.
FINALIZER: Final = "stategraph.dev/controller"

ANY_NAMESPACE: Final = "*"


@dataclass(frozen=True, slots=True)
class Compiled:
    """A compiled resource.

    Attributes:
        value: The graph, model or whatever it is.
        generation: The generation of the spec that it was made of.
    """

    value: Any
    generation: int


@dataclass(frozen=True, slots=True)
class Children:
    """Children that an owner has applied.

    Attributes:
        wanted: As they are wanted.
        stored: What was stored of each, see `cache.declared`.
    """

    wanted: Sequence[Resource]
    stored: Mapping[ResourceKey, tuple[object, ...]]

    def stand(self, wanted: Sequence[Resource], found: Mapping[ResourceKey, Resource]) -> bool:
        """Return whether children are still wanted so, are as they were stored, and none besides them is there."""
        if wanted != self.wanted or found.keys() != self.stored.keys():
            return False
        return all(declared(found[key]) == self.stored[key] for key in found)


@dataclass(slots=True)
class Shared:
    """State that all reconciling of a loop has in common.

    Attributes:
        store: The store.
        bus: Where events go.
        kinds: The kinds that there are; replaced when one is defined.
        environment: The variables of `${VAR}`.
        allow: Prefixes of modules that manifests may name.
        services: What the program gave the runtime.
        secret_folders: Folders from which secrets may be read.
        define: Defines a kind, with its controller if it has one.
        undefine: Takes a kind back, by its name.
        cache: The resources.
        dependencies: What they depend on.
        compiled: What they became.
        finalized: Finalizers by kind in small letters.
        children: The children that owners have applied last, by the uids of these.
    """

    store: ResourceStore
    bus: EventBus
    kinds: KindTable
    environment: Mapping[str, str]
    allow: Sequence[str]
    services: Mapping[str, Any]
    secret_folders: Sequence[str]
    define: Callable[[Kind, Controller | None], None]
    undefine: Callable[[str], None]
    cache: Cache = field(default_factory=Cache)
    dependencies: Dependencies = field(default_factory=Dependencies)
    compiled: dict[ResourceKey, Compiled] = field(default_factory=dict)
    finalized: dict[str, str] = field(default_factory=dict)
    children: dict[str, Children] = field(default_factory=dict)


class Context:
    """The context of one reconciling.

    Args:
        shared: What all have in common.
        resource: The resource.
        leads: Whether this process leads: if not, nothing is written or told.

    Attributes:
        looked: Resources and kinds that were looked at.
        compiled_from: Resources whose compiled form was asked for.
        values: Values of secrets that were handed out.
    """

    def __init__(self, shared: Shared, resource: Resource, *, leads: bool) -> None:
        self._shared = shared
        self._resource = resource
        self.leads = leads
        self.looked: set[ResourceKey | str] = set()
        self.compiled_from: set[ResourceKey] = set()
        self.values: set[str] = set()

    @property
    def kinds(self) -> KindTable:
        """The kinds that there are."""
        return self._shared.kinds

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables of `${VAR}`."""
        return self._shared.environment

    @property
    def allow(self) -> Sequence[str]:
        """Prefixes of modules that manifests may name."""
        return self._shared.allow

    @property
    def services(self) -> Mapping[str, Any]:
        """Objects that the program gave the runtime."""
        return self._shared.services

    @property
    def previous(self) -> Any:
        """The value that the resource was compiled to last; None if it never was."""
        known = self._shared.compiled.get(self._resource.key)
        return None if known is None else known.value

    def _look(self, target: ResourceKey | str, *, compiled: bool = False) -> None:
        """Note that the resource depends on something, before it is looked at."""
        self.looked.add(target)
        if compiled and isinstance(target, ResourceKey):
            self.compiled_from.add(target)
        self._shared.dependencies.add(self._resource.key, target, compiled=compiled)

    def spec(self, resource: Resource) -> Mapping[str, Any]:
        """Return a resource's spec with `${VAR}` expanded; see `Ctx`."""
        return schema.expanded(resource, self.environment)

    def parsed(self, resource: Resource) -> BaseModel:
        """Return a resource's spec as the model of its kind; see `Ctx`."""
        found = schema.parsed(resource, kinds=self.kinds, environment=self.environment)
        if isinstance(found, Mapping):
            raise InvalidResource(f"{resource.kind} is a custom kind, whose spec has no model; read Ctx.spec")
        return found

    async def get(self, key: ResourceKey) -> Resource | None:
        """Return a resource; see `Ctx`."""
        self._look(key)
        return self._shared.cache.get(key)

    async def list(
        self, kind: str, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> Sequence[Resource]:
        """Return resources of a kind; see `Ctx`."""
        known = self.kinds.get(kind)
        word = kind.lower() if known is None else known.key
        self._look(word)
        return list(self._shared.cache.chosen(word, namespace, labels))

    async def resolve(self, ref: Any, kind: str, *, path: Path = ()) -> Resource:
        """Return the resource of a reference; see `Ctx`."""
        own = self._resource.namespace
        try:
            key = refs.parse(ref, self.kinds).key(kind, own, self.kinds)
        except ResourceError as error:
            raise UnresolvedReference(str(error), path=path, reason="InvalidReference") from None
        found = await self.get(key)
        if found is None:
            names = [each.name for each in self._shared.cache.of_kind(key.kind) if each.namespace == key.namespace]
            near = get_close_matches(key.name, names, n=1, cutoff=0.6)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise UnresolvedReference(f"there is no {key}{hint}", path=path)
        allowed = found.spec.get("allowedNamespaces") or ()
        if found.namespace not in ("", own) and own not in allowed and ANY_NAMESPACE not in allowed:
            raise UnresolvedReference(
                f"{key} does not allow references from the namespace '{own}'; add it to its allowedNamespaces",
                path=path,
                reason="NamespaceNotAllowed",
            )
        return found

    async def compiled(self, key: ResourceKey, *, path: Path = ()) -> Any:
        """Return what a resource became; see `Ctx`."""
        own = self._resource.key
        self._look(key, compiled=True)
        circle = self._shared.dependencies.circle(own, key)
        if circle:
            way = " -> ".join(str(each) for each in circle)
            raise NotReady(f"these wait for each other: {way}", path=path, reason="DependencyCycle")
        known = self._shared.compiled.get(key)
        if known is not None:
            return known.value
        found = self._shared.cache.get(key)
        ready = None if found is None else found.condition("Ready")
        why = "it is not there" if found is None else "it was not reconciled yet" if ready is None else ready.message
        raise NotReady(f"{key} is not ready: {why}", path=path)

    async def secret(self, ref: Any, key: str | None = None, *, path: Path = ()) -> str:
        """Return a value of a Secret; see `Ctx`."""
        resource = await self.resolve(ref, "Secret", path=path)
        spec = self.parsed(resource)
        assert isinstance(spec, SecretSpec)
        places = secrets.sources(spec)
        name = key if key is not None else next(iter(places)) if len(places) == 1 else None
        if name is None:
            raise UnresolvedReference(f"{resource.key} has several values ({_names(places)}): name one", path=path)
        if name not in places:
            raise UnresolvedReference(f"{resource.key} has no value '{name}'; it has {_names(places)}", path=path)
        folders = self._shared.secret_folders
        try:
            value = await asyncio.to_thread(secrets.read, places[name], self.environment, folders, resource.namespace)
        except (NotReady, InvalidResource) as error:
            raise NotReady(f"{resource.key}: {error}", path=path, reason=error.reason) from None
        self.values.add(value)
        return value

    async def apply_children(self, children: Sequence[Resource]) -> Sequence[Resource]:
        """Make, change and delete what the resource owns; see `Ctx`."""
        owner, store = self._resource, self._shared.store
        reference = OwnerReference(owner.kind, owner.name, owner.metadata.uid)
        wanted = [each.with_metadata(namespace=owner.namespace, owner_references=(reference,)) for each in children]
        keys = [each.key for each in wanted]
        for key in keys:
            self._look(key)
        if not self.leads:
            return [self._shared.cache.get(key) or each for key, each in zip(keys, wanted, strict=True)]
        present = {each.key: each for each in self._shared.cache.of_owner(reference.uid)}
        known = self._shared.children.get(reference.uid)
        if known is not None and known.stand(wanted, present):
            return [present[key] for key in keys]
        _check_owned(await store.get_many(keys), reference)
        applied = await store.apply(wanted, force=True, finalizers=self._shared.finalized)
        await self._delete(each for each in present.values() if each.key not in keys)
        made = {each.resource.key: declared(each.resource) for each in applied}
        self._shared.children[reference.uid] = Children(wanted, made)
        return [each.resource for each in applied]

    async def _delete(self, resources: Iterable[Resource]) -> None:
        """Ask for the deletion of resources, unless somebody has."""
        for each in resources:
            if not each.is_deleting:
                await self._shared.store.delete(each.key)

    async def publish(self, topic: str, event: Mapping[str, Any]) -> None:
        """Tell subscribers something; see `Ctx`."""
        if self.leads:
            await self._shared.bus.publish(topic, secrets.hidden(dict(event), self.values))

    def define_kind(self, kind: Kind, controller: Controller | None = None) -> None:
        """Let there be a kind, with its controller; see `Ctx`."""
        self._shared.define(kind, controller)

    def undefine_kind(self, name: str) -> None:
        """Take a kind back that was defined; see `Ctx`."""
        self._shared.undefine(name)


def _check_owned(stored: Mapping[ResourceKey, Resource], reference: OwnerReference) -> None:
    """Check that what is there already belongs to an owner.

    Raises:
        NotReady: It does not.
    """
    for key, found in stored.items():
        if all(each.uid != reference.uid for each in found.metadata.owner_references):
            raise NotReady(
                f"{key} is there already and belongs to somebody else; rename or delete it", reason="NameTaken"
            )


def _names(places: Mapping[str, object]) -> str:
    return ", ".join(sorted(places))
