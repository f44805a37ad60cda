"""The resources of a store in memory, as the log tells of them, with indexes by kind and owner."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from stategraph.resources.model import Resource, ResourceKey


class Cache:
    """Resources by key. Belongs to one event loop."""

    def __init__(self) -> None:
        self._resources: dict[ResourceKey, Resource] = {}
        self._of_kind: defaultdict[str, set[ResourceKey]] = defaultdict(set)
        self._of_owner: defaultdict[str, set[ResourceKey]] = defaultdict(set)
        self._uids: set[str] = set()

    def __len__(self) -> int:
        return len(self._resources)

    def __iter__(self) -> Iterator[Resource]:
        return iter(list(self._resources.values()))

    def get(self, key: ResourceKey) -> Resource | None:
        """Return a resource; None if there is none."""
        return self._resources.get(key)

    def put(self, resource: Resource) -> Resource | None:
        """Take a resource, unless a newer one is known; returns the one that was known."""
        key, before = resource.key, self._resources.get(resource.key)
        if before is not None:
            if before.metadata.resource_version >= resource.metadata.resource_version:
                return before
            self.remove(key)
        self._resources[key] = resource
        self._of_kind[key.kind].add(key)
        self._uids.add(resource.metadata.uid)
        for owner in resource.metadata.owner_references:
            self._of_owner[owner.uid].add(key)
        return before

    def tell(self, resource: Resource) -> None:
        """Take a status that is not stored, unless the resource is gone or a newer one is known."""
        known = self._resources.get(resource.key)
        if known is not None and known.metadata.resource_version == resource.metadata.resource_version:
            self._resources[resource.key] = resource

    def remove(self, key: ResourceKey) -> Resource | None:
        """Forget a resource, and return it."""
        known = self._resources.pop(key, None)
        if known is not None:
            self._of_kind[key.kind].discard(key)
            self._uids.discard(known.metadata.uid)
            for owner in known.metadata.owner_references:
                self._of_owner[owner.uid].discard(key)
        return known

    def has_uid(self, uid: str) -> bool:
        """Return whether a resource with a uid is there."""
        return uid in self._uids

    def of_kind(self, kind: str) -> list[Resource]:
        """Return the resources of a kind, in the order of their keys."""
        return [self._resources[key] for key in sorted(self._of_kind.get(kind.lower(), ()))]

    def of_owner(self, uid: str) -> list[Resource]:
        """Return the resources that a resource owns, in the order of their keys."""
        return [self._resources[key] for key in sorted(self._of_owner.get(uid, ()))]

    def chosen(self, kind: str | None, namespace: str | None, labels: Mapping[str, str] | None) -> Iterable[Resource]:
        """Yield the resources of a kind and a namespace with some labels, in the order of their keys."""
        found = self.of_kind(kind) if kind is not None else [self._resources[key] for key in sorted(self._resources)]
        words = (labels or {}).items()
        for each in found:
            has_labels = all(each.metadata.labels.get(name) == value for name, value in words)
            if has_labels and namespace in (None, each.namespace):
                yield each


def declared(resource: Resource) -> tuple[object, ...]:
    """Return what was declared of a resource, and that it is deleted: the rest is status."""
    meta = resource.metadata
    return meta.uid, meta.generation, meta.labels, meta.annotations, meta.owner_references, meta.deletion_timestamp
