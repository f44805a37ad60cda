"""The schema of a graph's state, as its checkpoints name it, and whether a stored thread fits the one of today.

Rules
-----
* The fingerprint is that of the stored keys and their types in words (`words.py`), in any order.
* A thread fits if the keys that it was stored with are those of today, with the same types. A key that has come since
  is no obstacle if a state may be without it.
* A thread without a fingerprint fits: it was stored before there were any.
* A checkpoint that was brought up by migrations fits: that was their work.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import xxhash

from stategraph.constants import CONF, CONFIG_KEY_CHECKPOINT_NS, CONFIG_KEY_THREAD_ID
from stategraph.engine.checkpoints.saver_interfaces import CheckpointTuple
from stategraph.engine.compile.versions import GraphSchemaError
from stategraph.graph.typed import key_types, words
from stategraph.graph.typed.key_types import Declared

SCHEMA_KEY: Final = "graph_schema"
"""The entry of the metadata that holds the fingerprint, and the types of the keys in words."""

_LONGEST: Final = 160
"""Characters of a type that are stored; of a longer one the beginning, and a digest of the rest."""


class SchemaFingerprint:
    """The fingerprint of a graph's schema.

    Attributes:
        types: The types of the stored keys, in words.
        digest: The fingerprint: equal for two schemas with the same keys and types.
    """

    __slots__ = ("_optional", "_stored", "digest", "types")

    def __init__(self, types: Mapping[str, str], optional: frozenset[str] = frozenset()) -> None:
        """Take the types.

        Args:
            types: Of the stored keys, in words.
            optional: The keys that a state may be without.
        """
        self.types = {key: _short(types[key]) for key in sorted(types)}
        self.digest = _digest(json.dumps(self.types))
        self._optional = optional
        self._stored = {SCHEMA_KEY: {"fingerprint": self.digest, "keys": self.types}}

    @classmethod
    def of(cls, declared: Declared) -> SchemaFingerprint:
        """Return the fingerprint of what a builder declares."""
        packages = frozenset(words.package_of(schema) for schema in declared.schemas)
        found = key_types.of_graph(declared)
        types = {key: words.told(each.type_, packages) for key, each in found.items()}
        return cls(types, frozenset(key for key, each in found.items() if each.optional))

    @property
    def stored(self) -> Mapping[str, Any]:
        """The entry of a checkpoint's metadata."""
        return self._stored

    def check(self, saved: CheckpointTuple) -> None:
        """Check that a stored thread fits.

        Raises:
            GraphSchemaError: It does not.
        """
        described = saved.metadata.get(SCHEMA_KEY)
        if not isinstance(described, Mapping) or described.get("fingerprint") == self.digest:
            return
        before = described.get("keys")
        if not isinstance(before, Mapping):
            return
        error = self.difference({str(key): str(before[key]) for key in before}, _thread(saved))
        if error is not None:
            raise error

    def difference(self, before: Mapping[str, str], thread: str) -> GraphSchemaError | None:
        """Return what stands between a thread and this schema; None if nothing does.

        Args:
            before: The types that it was stored with, in words.
            thread: The thread, in words, for the message.
        """
        now = self.types
        added = {key: now[key] for key in now if key not in before}
        removed = {key: before[key] for key in before if key not in now}
        changed = {key: (before[key], now[key]) for key in now if key in before and before[key] != now[key]}
        missed = added.keys() - self._optional
        if not (removed or changed or missed):
            return None
        parts = [
            *(f"'{key}' was {old} and is {new}" for key, (old, new) in changed.items()),
            *(f"'{key}' ({old}) is gone" for key, old in removed.items()),
            *(f"'{key}' ({new}) is new{' and required' if key in missed else ''}" for key, new in added.items()),
        ]
        return GraphSchemaError(
            f"{thread} was stored with another schema of the state: {'; '.join(parts)}. Nothing was run or stored. Add "
            "a Migration that leads to this version (docs/graph-versions.md), give the key its former type, a default "
            "or NotRequired, or begin a new thread",
            added,
            removed,
            changed,
        )


def _thread(saved: CheckpointTuple) -> str:
    conf = saved.config[CONF]
    ns = conf.get(CONFIG_KEY_CHECKPOINT_NS) or ""
    inside = f" (in '{ns}')" if ns else ""
    return f"Thread {conf.get(CONFIG_KEY_THREAD_ID)!r}{inside}"


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… {_digest(text)[:12]}"


def _digest(text: str) -> str:
    return xxhash.xxh3_128_hexdigest(text.encode())
