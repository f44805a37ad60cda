"""The changes of an apply: manifests beside what is stored, and beside what was applied last."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from stategraph.cli.resources.manifests import Manifests
from stategraph.cli.resources.opening import address_of, is_there, opened_store
from stategraph.resources.manifests.diff import Difference, differences
from stategraph.resources.model import Resource, ResourceKey


@dataclass(frozen=True, slots=True)
class Compared:
    """A manifest beside the resource that is stored.

    Attributes:
        new: What the manifest says.
        action: What an apply would do.
        found: How it differs, with what is kept.
    """

    new: Resource
    action: Literal["created", "configured", "unchanged"]
    found: tuple[Difference, ...] = ()

    @property
    def key(self) -> ResourceKey:
        """The resource."""
        return self.new.key

    @property
    def changes(self) -> tuple[Difference, ...]:
        """The differences that an apply would make."""
        return tuple(each for each in self.found if each.kind != "kept")


async def compared(given: Manifests, arguments: argparse.Namespace) -> list[Compared]:
    """Return manifests beside what is stored; a database that is not there has nothing."""
    if not is_there(address_of(arguments)):
        return [Compared(each, "created") for each in given.resources]
    async with opened_store(arguments) as store:
        return [
            _compared(await store.get(each.key), await store.last_applied(each.key), each) for each in given.resources
        ]


def _compared(stored: Resource | None, last: Mapping[str, Any] | None, new: Resource) -> Compared:
    if stored is None:
        return Compared(new, "created")
    before = last or {}
    found = (
        *differences(before.get("labels"), stored.metadata.labels, new.metadata.labels, "metadata.labels"),
        *differences(
            before.get("annotations"), stored.metadata.annotations, new.metadata.annotations, "metadata.annotations"
        ),
        *differences(before.get("spec"), stored.spec, new.spec),
    )
    changes = any(each.kind != "kept" for each in found)
    return Compared(new, "configured" if changes else "unchanged", found)
