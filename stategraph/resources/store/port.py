"""The interface of a store of resources.

Rules
-----
* Every write gets the next resource version of the store and one row in its log, in one transaction.
* A write of a resource that was read names the version that was read (`metadata.resource_version`); if another writer
  was faster it raises and changes nothing. Version 0 says that the resource is new.
* A watch yields every row of the log behind a version once, in order, also of other processes. The log is pruned; a
  watch from before its beginning raises `WatchGapError`, and the reader lists anew.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from stategraph.resources.errors import ResourceError
from stategraph.resources.model import Resource, ResourceKey
from stategraph.resources.places import Path

Operation: TypeAlias = Literal["added", "modified", "status", "deleting", "deleted"]


class WatchGapError(ResourceError):
    """The log begins after the version that a watch asked for: list everything, and watch from its version."""


@dataclass(frozen=True, slots=True)
class Change:
    """A row of the log.

    Attributes:
        op: What was done; `modified` is a change of spec or metadata, `status` of nothing but the status.
        resource_version: The version that it made.
        key: The resource.
    """

    op: Operation
    resource_version: int
    key: ResourceKey


@dataclass(frozen=True, slots=True)
class AppliedResource:
    """Outcome of applying one manifest.

    Attributes:
        resource: The resource as it is stored.
        action: `created`, `configured` or `unchanged`.
        conflicts: Fields that another writer changed since the last manifest and this one wants otherwise, with their
            stored values; then nothing was written.
    """

    resource: Resource
    action: Literal["created", "configured", "unchanged"]
    conflicts: tuple[tuple[Path, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Listing:
    """Resources at one moment.

    Attributes:
        resources: The resources, by key.
        version: The store's version at that moment: a watch from it misses nothing.
    """

    resources: tuple[Resource, ...]
    version: int


class ResourceStore(Protocol):
    """A store of resources; for any number of tasks, and with its other openings in other processes."""

    async def last_good(self, key: ResourceKey) -> Resource | None:
        """Return a resource with the spec and generation with which it was ready last; None if it never was."""

    async def get_many(self, keys: Iterable[ResourceKey]) -> Mapping[ResourceKey, Resource]:
        """Return those of several resources that there are, by key."""

    async def get(self, key: ResourceKey) -> Resource | None:
        """Return a resource; None if there is none."""

    async def list(
        self, kind: str | None = None, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> Sequence[Resource]:
        """Return resources in the order of their keys.

        Args:
            kind: Of this kind; None for all.
            namespace: Of this namespace; None for all.
            labels: With all of these labels.
        """

    async def snapshot(self) -> Listing:
        """Return everything, with the version from which to watch."""

    async def put(self, resource: Resource) -> Resource:
        """Write spec and metadata; the status that is stored stays.

        Returns:
            The resource as it is stored: its generation is one more if the spec changed. If nothing changed nothing is
            written, and its version is the old one.

        Raises:
            ConflictError: The resource was changed or deleted meanwhile, or is there already.
        """

    async def apply(
        self, resources: Sequence[Resource], *, force: bool = False, finalizers: Mapping[str, str] | None = None
    ) -> Sequence[AppliedResource]:
        """Apply manifests by the rules of `merging`, in one transaction.

        Args:
            resources: The resources as declared; their versions do not matter.
            force: Whether fields are taken over that another writer changed.
            finalizers: Finalizers that a new resource of a kind gets, by the kind in small letters.
        """

    async def last_applied(self, key: ResourceKey) -> Mapping[str, Any] | None:
        """Return what was applied last: `spec`, `labels`, `annotations`; None if nothing was."""

    async def put_status(self, resource: Resource) -> Resource:
        """Write the status; spec and metadata that are stored stay.

        Returns:
            The resource as it is stored; with its old version if nothing changed.

        Raises:
            ConflictError: The resource was changed or deleted meanwhile.
        """

    async def delete(self, key: ResourceKey, *, resource_version: int | None = None) -> Resource | None:
        """Ask for the deletion of a resource; one without finalizers is gone at once.

        Args:
            key: The resource.
            resource_version: Delete it only in this version; None for any.

        Returns:
            The resource, with its deletion timestamp, if finalizers hold it up; None if it is gone, or was not there.

        Raises:
            ConflictError: It has another version.
        """

    def watch(self, from_version: int) -> AsyncIterator[Change]:
        """Yield every change behind a version, once, in order; waits for more and never ends by itself.

        Raises:
            WatchGapError: The log begins after that version.
        """

    def batches(self, from_version: int) -> AsyncIterator[Sequence[Change]]:
        """Yield what `watch` yields, as many at once as there are.

        Raises:
            WatchGapError: As `watch`.
        """

    async def take_lease(self, name: str, holder: str, seconds: float, *, instead_of: str = "") -> str:
        """Take or lengthen a lease unless somebody else holds it.

        Args:
            name: What it is for.
            holder: Who wants it.
            seconds: How long it lasts, by the store's clock.
            instead_of: A holder that is known to be gone: it is taken over before its time.

        Returns:
            Who holds it now.
        """

    async def drop_lease(self, name: str, holder: str) -> None:
        """Give a lease back."""

    async def version(self) -> int:
        """Return the version of the last change; 0 for an empty store."""

    async def close(self) -> None:
        """End watches and close the database."""
