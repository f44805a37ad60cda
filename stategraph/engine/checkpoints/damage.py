"""Checkpoints that cannot be read: one error for all of them, which names thread, checkpoint and channel.

Rules
-----
* Nothing is checked that is not about to fail: a checkpoint is examined once reading or using it has raised.
* What a saver raises about its connection, its configuration or its own limits is passed on. What it raises about data
  (a value that does not decode, a file that is no database) is damage.
* An error that a graph's own code raises is passed on, unless the checkpoint itself is not what it should be.
"""

from __future__ import annotations

import pickle
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from langgraph.checkpoint.base import CheckpointTuple

from stategraph.constants import (
    CONF,
    CONFIG_KEY_CHECKPOINT_ID,
    CONFIG_KEY_CHECKPOINT_NS,
    CONFIG_KEY_THREAD_ID,
    MISSING,
)
from stategraph.core.checkpoint import FORMAT_VERSION
from stategraph.core.program import Program
from stategraph.errors import ConfigurationError, DamagedCheckpointError

READS: Final = frozenset(("get_tuple", "list", "get_delta_channel_history"))
"""A saver's methods that read."""

_OF_DATA: Final = (
    AttributeError,
    EOFError,
    LookupError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    struct.error,
    zlib.error,
)
#: What aiosqlite says of a connection that is closed, by a `ValueError`: nothing is wrong with the data.
_CLOSED: Final = frozenset(("no active connection", "Connection closed"))

_OTHER_SAVER: Final = (
    "Another saver, or another serializer, has stored it: open the store with that one. What savers of "
    "stategraph.savers store in the compact form (sg.1), others read after 'stategraph store convert --store URL plain'"
)

_PARTS: Final[Mapping[str, type]] = {
    "id": str,
    "v": int,
    "channel_values": dict,
    "channel_versions": dict,
    "versions_seen": dict,
}


class _Fault(NamedTuple):
    """A fault of a checkpoint, and its channel if it has one."""

    words: str
    channel: str | None = None


def of_read(config: object, error: Exception) -> Exception:
    """Return an error of a saver that reads: the same, or if it is about data, that the checkpoint is damaged."""
    conf = config.get(CONF) if isinstance(config, Mapping) else None
    if not conf or CONFIG_KEY_THREAD_ID not in conf or isinstance(error, DamagedCheckpointError | ConfigurationError):
        return error
    if isinstance(error, ValueError) and str(error) in _CLOSED:
        return error
    kind = type(error)
    unknown_format = isinstance(error, NotImplementedError) and "serialization type" in str(error)
    # Of the database's errors the class itself stands for a file that is none; those about locks and connections are
    # subclasses.
    no_database = (kind.__module__, kind.__name__) == ("sqlite3", "DatabaseError")  # a graph need not load sqlite3
    if not (isinstance(error, _OF_DATA) or no_database or unknown_format):
        return error
    words = f"The saver raised {kind.__name__}: {error}"
    if unknown_format:
        words += f". {_OTHER_SAVER}"
    damage = _error(conf, _Fault(words))
    damage.__cause__ = error
    return damage


@contextmanager
def using(saved: CheckpointTuple | None, program: Program) -> Iterator[None]:
    """Tell a checkpoint that is not what it should be from other errors while it is used.

    Args:
        saved: The checkpoint; None if there is none.
        program: The graph that it is for.

    Raises:
        DamagedCheckpointError: Something was raised, and the checkpoint is damaged.
    """
    try:
        if saved is not None and saved.checkpoint["v"] > FORMAT_VERSION:
            raise _error(saved.config[CONF], _unknown_version(saved.checkpoint["v"]), saved)
        yield
    except DamagedCheckpointError:
        raise
    except _OF_DATA as error:
        if saved is not None and (fault := _fault(saved, program)) is not None:
            raise _error(saved.config[CONF], fault, saved) from error
        raise


def _error(conf: Mapping[str, Any], fault: _Fault, saved: CheckpointTuple | None = None) -> DamagedCheckpointError:
    checkpoint: object = None if saved is None else saved.checkpoint
    named = checkpoint.get("id") if isinstance(checkpoint, dict) else None
    checkpoint_id = named or conf.get(CONFIG_KEY_CHECKPOINT_ID)
    ns = conf.get(CONFIG_KEY_CHECKPOINT_NS) or ""
    which = f"Checkpoint '{checkpoint_id}'" if checkpoint_id else "The latest checkpoint"
    of_graph = f", of the subgraph at '{ns}'," if ns else ""
    at = f" Channel '{fault.channel}':" if fault.channel else ""
    return DamagedCheckpointError(
        f"{which} of thread '{conf[CONFIG_KEY_THREAD_ID]}'{of_graph} cannot be read.{at} {fault.words}. Continue from "
        "an earlier checkpoint by its checkpoint_id, restore the store, or delete the thread.",
        thread_id=str(conf[CONFIG_KEY_THREAD_ID]),
        checkpoint_id=checkpoint_id,
        checkpoint_ns=ns,
        channel=fault.channel,
    )


def _unknown_version(version: object) -> _Fault:
    return _Fault(
        f"Its format is version {version!r}; this release knows versions up to {FORMAT_VERSION}. A newer one wrote it"
    )


def _fault(saved: CheckpointTuple, program: Program) -> _Fault | None:
    """Find the fault of a checkpoint; None if it is sound."""
    checkpoint: object = saved.checkpoint
    if not isinstance(checkpoint, dict):
        return _Fault(f"It is a value of type {type(checkpoint).__name__}; expected a dict")
    for name, kind in _PARTS.items():
        if name not in checkpoint:
            return _Fault(f"It has no '{name}'")
        if not isinstance(checkpoint[name], kind):
            return _Fault(f"Its '{name}' is {checkpoint[name]!r:.80}; expected a value of type {kind.__name__}")
    for node, seen in checkpoint["versions_seen"].items():
        if not isinstance(seen, dict):
            return _Fault(f"What node '{node}' has seen is {seen!r:.80}; expected a dict of versions")
    return _mixed(checkpoint["channel_versions"]) or _unusable(checkpoint["channel_values"], program)


def _mixed(versions: Mapping[str, object]) -> _Fault | None:
    """Return the fault of versions that cannot be compared with the first one: numbers and texts in one checkpoint."""
    first = next(iter(versions.items()), None)
    for name, version in versions.items():
        if not isinstance(version, (str, int, float)):
            return _Fault(f"its version is {version!r:.80}; expected a number or a text", name)
        if first is not None and isinstance(version, str) is not isinstance(first[1], str):
            return _Fault(
                f"its version {version!r:.40} cannot be compared with {first[1]!r:.40}, that of '{first[0]}': "
                "the thread can be read and not be written to",
                name,
            )
    return None


def _unusable(values: Mapping[str, object], program: Program) -> _Fault | None:
    for name, channel in program.specs.items():
        if (value := values.get(name, MISSING)) is MISSING:
            continue
        try:
            channel.from_checkpoint(value)
        except Exception as error:  # any error of the channel's own code
            kind = type(value).__name__
            return _Fault(f"its value, of type {kind}, is refused with {type(error).__name__}: {error}", name)
    return None
