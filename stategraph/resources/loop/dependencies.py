"""Dependencies of resources, as their last reconciling found: who looks again after a change, and circles."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from stategraph.resources.model import ResourceKey


class Dependencies:
    """Edges from resources to what they looked at, and to what they are compiled from. Belongs to one event loop."""

    def __init__(self) -> None:
        self._looked: dict[ResourceKey, frozenset[ResourceKey | str]] = {}
        self._dependents: defaultdict[ResourceKey | str, set[ResourceKey]] = defaultdict(set)
        self._compiled_from: dict[ResourceKey, frozenset[ResourceKey]] = {}
        self._compiled_into: defaultdict[ResourceKey, set[ResourceKey]] = defaultdict(set)

    def note(self, key: ResourceKey, looked: Iterable[ResourceKey | str], compiled: Iterable[ResourceKey]) -> None:
        """Note what a resource depends on now, in place of before.

        Args:
            key: The resource.
            looked: Resources that it looked at, there or not, and kinds of which it looked at all.
            compiled: Resources whose compiled form it uses, or waits for.
        """
        new, used = frozenset(looked) - {key}, frozenset(compiled)
        for each in self._looked.get(key, frozenset()) - new:
            self._dependents[each].discard(key)
        for each in new:
            self._dependents[each].add(key)
        for target in self._compiled_from.get(key, frozenset()) - used:
            self._compiled_into[target].discard(key)
        for target in used:
            self._compiled_into[target].add(key)
        self._looked[key], self._compiled_from[key] = new, used

    def add(self, key: ResourceKey, target: ResourceKey | str, *, compiled: bool = False) -> None:
        """Note one more thing that a resource depends on, at the moment when it looks: a change right after counts.

        Args:
            key: The resource.
            target: A resource, or a kind.
            compiled: Whether it is the compiled form that is used.
        """
        if target != key:
            self._looked[key] = self._looked.get(key, frozenset()) | {target}
            self._dependents[target].add(key)
        if compiled and isinstance(target, ResourceKey):
            self._compiled_from[key] = self._compiled_from.get(key, frozenset()) | {target}
            self._compiled_into[target].add(key)

    def forget(self, key: ResourceKey) -> None:
        """Forget what a resource depends on; those that depend on it still do."""
        self.note(key, (), ())
        self._looked.pop(key, None)
        self._compiled_from.pop(key, None)

    def of_change(self, key: ResourceKey) -> set[ResourceKey]:
        """Return the resources that looked at one, or at all of its kind."""
        return self._dependents.get(key, set()) | self._dependents.get(key.kind, set()) - {key}

    def of_compiled(self, key: ResourceKey) -> set[ResourceKey]:
        """Return the resources that are compiled from one."""
        return set(self._compiled_into.get(key, ()))

    def circle(self, key: ResourceKey, target: ResourceKey) -> list[ResourceKey]:
        """Return the way from a resource over a target, that it wants to be compiled from, back to itself.

        Returns:
            The circle, which begins and ends with the resource; empty if there is none.
        """
        if key == target:
            return [key, key]
        came_from: dict[ResourceKey, ResourceKey] = {target: key}
        front = [target]
        while front:
            at = front.pop()
            for each in sorted(self._compiled_from.get(at, ())):
                if each == key:
                    way = [key, at]
                    while way[-1] != key:
                        way.append(came_from[way[-1]])
                    return way[::-1]
                if each not in came_from:
                    came_from[each] = at
                    front.append(each)
        return []
