"""Versions of a graph whose checkpoints name the schema of the state: what is loaded fits it, or was brought up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stategraph.core.program import Program
from stategraph.core.state.versioning import NextVersion
from stategraph.engine.checkpoints.saver_interfaces import CheckpointTuple
from stategraph.engine.compile.versions import BroughtUp
from stategraph.graph.typed.fingerprint import SchemaFingerprint
from stategraph.graph.versions.bringing import GraphVersions
from stategraph.graph.versions.migration import Chain


class FingerprintedVersions:
    """The fingerprint of a graph's schema, and its versions if it has any.

    Attributes:
        fingerprint: The fingerprint.
        versions: The versions of the graph, or None.
    """

    def __init__(self, fingerprint: SchemaFingerprint, versions: GraphVersions | None) -> None:
        self.fingerprint = fingerprint
        self.versions = versions

    @property
    def current(self) -> str:
        """The version of the graph itself; empty if it has none."""
        return "" if self.versions is None else self.versions.current

    @property
    def chain(self) -> Chain:
        """The migrations of a graph that has a version."""
        assert self.versions is not None
        return self.versions.chain

    @property
    def marks(self) -> Mapping[str, Any]:
        """Entries of the metadata of each checkpoint that tell of the graph."""
        version = {} if self.versions is None else self.versions.marks
        return {**version, **self.fingerprint.stored}

    def bring_up(self, saved: CheckpointTuple, program: Program, next_version: NextVersion) -> BroughtUp | None:
        """Bring a checkpoint up to the graph's version; None if it is of that version and its schema fits.

        Raises:
            GraphVersionError: It is of a version from which no migration leads here, or one failed.
            GraphSchemaError: No migration is due, and it was stored with another schema.
        """
        versions = self.versions
        brought = None if versions is None else versions.bring_up(saved, program, next_version)
        if brought is None:
            self.fingerprint.check(saved)
        return brought
