"""Checkpoints as plain data, in the format of the ``langgraph-checkpoint`` package.

Rules
-----
* A checkpoint holds the value of every channel ever written, every channel's
  version, and which versions each node has seen; together they say what runs
  next.
* Format version 4. Older checkpoints are brought up to it when they are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from stategraph.constants import TASKS

FORMAT_VERSION = 4

VERSION_KEY: Final = "graph_version"
"""The entry of the metadata that names the version of the graph which made the checkpoint."""

VERSION_CHANNEL: Final = "__graph_version__"
"""The last write of a task that ended behind a checkpoint of an earlier version: the version in whose form its writes
are."""

Checkpoint = dict[str, Any]

Values = dict[str, Any]
"""Values by channel: of a node's input, of a checkpoint, of an update."""

Metadata = dict[str, Any]
"""The metadata of a checkpoint: what made it, of which step it is, and what the caller's config adds."""

Versions = dict[str, Any]
"""Versions by channel, of whichever type the saver gives: they can be compared, and nothing else is known."""


def empty(checkpoint_id: str, created_at: str) -> Checkpoint:
    """Make the checkpoint of a thread that nothing was written to."""
    return {
        "v": FORMAT_VERSION,
        "id": checkpoint_id,
        "ts": created_at,
        "channel_values": {},
        "channel_versions": {},
        "versions_seen": {},
    }


def detached(checkpoint: Mapping[str, Any]) -> Checkpoint:
    """Copy a checkpoint so that later steps do not change it: containers are copied, values shared."""
    return {
        "v": checkpoint["v"],
        "ts": checkpoint["ts"],
        "id": checkpoint["id"],
        "channel_values": checkpoint["channel_values"].copy(),
        "channel_versions": checkpoint["channel_versions"].copy(),
        "versions_seen": {k: v.copy() for k, v in checkpoint["versions_seen"].items()},
        "updated_channels": checkpoint.get("updated_channels"),
    }


def newer_versions(before: Mapping[str, Any], now: Mapping[str, Any]) -> Versions:
    """Return the versions that are higher than before."""
    if not before:
        return dict(now)
    null = type(next(iter(now.values())))() if now else None
    known = before.get
    # Mostly it is the same object, which takes a third of the time to see.
    return {k: v for k, v in now.items() if v is not (then := known(k, null)) and v > then}


def migrate(checkpoint: Checkpoint) -> None:
    """Bring a checkpoint of format 1 to 3 to the current one, in place."""
    if checkpoint["v"] < FORMAT_VERSION and checkpoint.get("pending_sends"):
        checkpoint["channel_values"][TASKS] = checkpoint.pop("pending_sends")
        checkpoint["channel_versions"][TASKS] = max(checkpoint["channel_versions"].values())
