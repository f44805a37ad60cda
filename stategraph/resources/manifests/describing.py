"""The state of resources in words: whether one is ready, why it is not, what it uses and what uses it.

References are found in specs as they are stored, so that what is said is true also where no controller runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from stategraph.resources.kind_table import KINDS, KindTable
from stategraph.resources.model import Resource, ResourceKey
from stategraph.resources.places import Path


def state_of(resource: Resource) -> tuple[str, str, str]:
    """Return whether a resource is ready (True, False, Unknown), the reason, and the message."""
    if resource.is_deleting:
        return "False", "Deleting", ""
    ready = resource.condition("Ready")
    if ready is None:
        return "Unknown", "Pending", "No controller has looked at it yet"
    if ready.observed_generation != resource.metadata.generation:
        return "Unknown", "Pending", "No controller has looked at its present generation yet"
    return ready.status, ready.reason, ready.message


def why_not(resource: Resource) -> list[str]:
    """Return why a resource is not ready: the messages of its conditions, each once."""
    ready, _, message = state_of(resource)
    if ready == "True":
        return []
    bad = [each.message for each in resource.conditions if each.status == "False" and each.message]
    found = dict.fromkeys([*bad, message])
    return [each for each in found if each and not any(each != other and each in other for other in found)]


class Around:
    """Resources by what they use and are used by.

    Args:
        resources: All that there are.
        kinds: The kinds that there are.
    """

    def __init__(self, resources: Sequence[Resource], kinds: KindTable = KINDS) -> None:
        self._by_key = {each.key: each for each in resources}
        self._kinds = kinds
        self._paths = {each.key: list(self._found(each)) for each in resources}
        self._used = {key: list(dict.fromkeys(used for used, _ in found)) for key, found in self._paths.items()}

    def _found(self, resource: Resource) -> Iterator[tuple[ResourceKey, Path]]:
        from stategraph.resources.references import references  # models of kinds: pydantic

        for each in references(resource, self._kinds):
            key = each.key(resource.namespace, self._kinds)
            if key is not None:
                yield key, each.path

    def places(self, resource: Resource, key: ResourceKey) -> list[Path]:
        """Return the fields of a resource that refer to another one."""
        return [path for used, path in self._paths[resource.key] if used == key]

    def used(self, resource: Resource) -> list[tuple[ResourceKey, Resource | None]]:
        """Return what a resource refers to, and what that is; None: it is not there."""
        return [(key, self._by_key.get(key)) for key in self._used[resource.key]]

    def users(self, resource: Resource) -> list[Resource]:
        """Return the resources that refer to one."""
        return [self._by_key[key] for key, used in self._used.items() if resource.key in used]

    def owned(self, resource: Resource) -> list[Resource]:
        """Return the resources that belong to one."""
        uid = resource.metadata.uid
        owners = ((each, each.metadata.owner_references) for each in self._by_key.values())
        return [each for each, references in owners if any(owner.uid == uid for owner in references)]


def facts(resource: Resource, around: Around) -> dict[str, Any]:
    """Return what is known of a resource, as JSON: its document, why it is not ready, what is around it."""
    from stategraph.resources.loading import to_document

    ready, reason, _ = state_of(resource)
    return {
        **to_document(resource, status=True),
        "key": str(resource.key),
        "ready": ready,
        "reason": reason,
        "file": resource.source.place() if resource.source else None,
        "why": why_not(resource),
        "uses": [_fact(key, other) for key, other in around.used(resource)],
        "usedBy": [_fact(each.key, each) for each in around.users(resource)],
        "owns": [_fact(each.key, each) for each in around.owned(resource)],
    }


def _fact(key: ResourceKey, resource: Resource | None) -> dict[str, str]:
    ready, reason = ("False", "NotFound") if resource is None else state_of(resource)[:2]
    return {"key": str(key), "ready": ready, "reason": reason}
