"""Checkpoints of earlier versions of a graph, as the engine reads them: brought up to the graph's own.

The rules are the graph's (`stategraph.graph.versions`); this is what the engine asks, and is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

from langgraph.checkpoint.base import CheckpointTuple

from stategraph.core.program import Program
from stategraph.core.state.versioning import NextVersion


class GraphVersionError(ValueError):
    """A thread was stored by a version of the graph from which no migration leads to this one, or a migration failed.

    The message names the thread and both versions; the cause is what the migration raised. Nothing was run or stored.
    """


class GraphSchemaError(GraphVersionError):
    """A thread was stored by a graph whose state has other keys, or other types; raised with `schema_fingerprint`.

    Attributes:
        added: The types of keys that the graph has and the thread has not, in words.
        removed: The types of keys that the thread has and the graph has not.
        changed: For keys of another type, that of the thread and that of the graph.
    """

    def __init__(
        self,
        message: str,
        added: Mapping[str, str] = MappingProxyType({}),
        removed: Mapping[str, str] = MappingProxyType({}),
        changed: Mapping[str, tuple[str, str]] = MappingProxyType({}),
    ) -> None:
        super().__init__(message)
        self.added = dict(added)
        self.removed = dict(removed)
        self.changed = dict(changed)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle with the attributes."""
        return type(self), (str(self), self.added, self.removed, self.changed)


@dataclass(frozen=True, slots=True)
class BroughtUp:
    """A checkpoint as the graph's own version would have stored it.

    Attributes:
        saved: The checkpoint, with what is recorded behind it. Its metadata is what is stored.
        unstored: The channels whose value no checkpoint holds yet.
        tasks: By the ids of tasks of the next step, the ids and namespaces that they had under the earlier version.
            Their records, questions and the states of graphs inside them are found by these.
    """

    saved: CheckpointTuple
    unstored: frozenset[str] = frozenset()
    tasks: Mapping[str, tuple[str, str]] | None = None

    def without_unstored(self, versions: Mapping[str, Any]) -> dict[str, Any]:
        """Return versions of channels without those whose value is not stored."""
        return {name: version for name, version in versions.items() if name not in self.unstored}


class Versions(Protocol):
    """The versions of a graph."""

    @property
    def current(self) -> str:
        """The version of the graph itself; empty if it has none."""

    @property
    def marks(self) -> Mapping[str, Any]:
        """Entries of the metadata of each checkpoint that tell of the graph."""

    def bring_up(self, saved: CheckpointTuple, program: Program, next_version: NextVersion) -> BroughtUp | None:
        """Bring a checkpoint up to the graph's version; None if it is of that version.

        Raises:
            GraphVersionError: It is of a version from which no migration leads here, one failed, or its schema does not
                fit.
        """


def brought_up(
    versions: Versions | None, saved: CheckpointTuple, program: Program, next_version: NextVersion
) -> BroughtUp:
    """Return a checkpoint as a graph reads it; one without versions reads it as it is stored."""
    found = None if versions is None else versions.bring_up(saved, program, next_version)
    return BroughtUp(saved) if found is None else found
