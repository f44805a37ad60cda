"""Checkpoints in the plain form, as each database has them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from langgraph.checkpoint.serde.types import _DeltaSnapshot

from stategraph.errors import DamagedCheckpointError
from stategraph.savers.compact.coder import Coder
from stategraph.savers.compact.records import Record, is_record
from stategraph.savers.plain import is_inline
from stategraph.savers.upkeep.converting import Place, StoredCheckpoint
from stategraph.savers.upkeep.words import SHIFT, Statements

_WHERE = "WHERE thread_id = ? AND checkpoint_ns = ? AND checkpoint_id = ?"


class SqliteTables:
    """Checkpoints as `langgraph-checkpoint-sqlite` has them: whole, in one column."""

    def checkpoints(self, thread_id: str, coder: Coder) -> Statements[list[StoredCheckpoint]]:
        """Read the checkpoints of a thread, the oldest first."""
        rows = yield (
            (
                "SELECT checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, checkpoint FROM checkpoints "
                "WHERE thread_id = ? ORDER BY checkpoint_id"
            ),
            (thread_id,),
        )
        found = []
        for namespace, checkpoint_id, parent_id, kind, body in rows:
            place = (thread_id, namespace, checkpoint_id)
            if is_record(coder.open(kind, body)[0]):
                found.append(StoredCheckpoint(place, parent_id, (kind, body), None))
            else:
                found.append(StoredCheckpoint(place, parent_id, None, coder.serde.loads_typed((kind, body))))
        return found

    def put_record(self, place: Place, record: Record) -> Statements[None]:
        """Replace a checkpoint by its record."""
        yield f"UPDATE checkpoints SET type = ?, checkpoint = ?, refs = ? {_WHERE}", (*record, *place)

    def put_plain(self, place: Place, checkpoint: Mapping[str, Any], coder: Coder) -> Statements[None]:
        """Replace a checkpoint by its plain form."""
        values = (*coder.serde.dumps_typed(checkpoint), None)
        yield f"UPDATE checkpoints SET type = ?, checkpoint = ?, refs = ? {_WHERE}", (*values, *place)

    def put_value(self, thread: int, values: Sequence[Any]) -> tuple[str, Sequence[Any]]:
        """Return the statement that inserts a value."""
        number, *rest = values
        return "INSERT INTO sg_values (id, type, value, refs) VALUES (?, ?, ?, ?)", (thread << SHIFT | number, *rest)


class PostgresTables:
    """Checkpoints as `langgraph-checkpoint-postgres` has them: their larger values in rows of their own."""

    def checkpoints(self, thread_id: str, coder: Coder) -> Statements[list[StoredCheckpoint]]:
        """Read the checkpoints of a thread, the oldest first."""
        rows = yield (
            (
                "SELECT checkpoint_ns, checkpoint_id, parent_checkpoint_id, type, body, checkpoint FROM checkpoints "
                "WHERE thread_id = ? ORDER BY checkpoint_id"
            ),
            (thread_id,),
        )
        blobs = yield (
            "SELECT checkpoint_ns, channel, version, type, blob FROM checkpoint_blobs WHERE thread_id = ?",
            (thread_id,),
        )
        values = {(ns, channel, version): (kind, blob) for ns, channel, version, kind, blob in blobs if kind != "empty"}
        found = []
        for namespace, checkpoint_id, parent_id, kind, body, checkpoint in rows:
            place = (thread_id, namespace, checkpoint_id)
            if body is not None:
                found.append(StoredCheckpoint(place, parent_id, (kind, body), None))
                continue
            if checkpoint.get("v", 4) < 4:
                raise DamagedCheckpointError(
                    f"Checkpoint '{checkpoint_id}' of thread '{thread_id}' is of a LangGraph before 0.5, whose packets "
                    "stand with the checkpoint before: go on with the thread once, or erase it, then convert"
                )
            held = dict(checkpoint.get("channel_values") or {})
            for channel, version in checkpoint["channel_versions"].items():
                if (blob := values.get((namespace, channel, str(version)))) is not None:
                    held[channel] = coder.serde.loads_typed(blob)
            found.append(StoredCheckpoint(place, parent_id, None, {**checkpoint, "channel_values": held}))
        return found

    def put_record(self, place: Place, record: Record) -> Statements[None]:
        """Replace a checkpoint by its record."""
        statement = f"UPDATE checkpoints SET checkpoint = '{{}}', type = ?, body = ?, refs = ? {_WHERE}"
        yield statement, (*record, *place)

    def put_plain(self, place: Place, checkpoint: Mapping[str, Any], coder: Coder) -> Statements[None]:
        """Replace a checkpoint by its plain form."""
        thread_id, namespace, _ = place
        inline: dict[str, Any] = {}
        versions = checkpoint["channel_versions"]
        for channel, value in checkpoint["channel_values"].items():
            if is_inline(value):
                inline[channel] = value
                continue
            if channel not in versions:
                raise DamagedCheckpointError(
                    f"Channel '{channel}' of checkpoint '{place[2]}' of thread '{thread_id}' has no version, and the "
                    "plain form has no place for its value: keep the thread in the compact form, or erase it"
                )
            if isinstance(value, _DeltaSnapshot):
                inline[channel] = True
            yield (
                (
                    "INSERT INTO checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob) "
                    "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (thread_id, checkpoint_ns, channel, version) DO NOTHING"
                ),
                (thread_id, namespace, channel, str(versions[channel]), *coder.serde.dumps_typed(value)),
            )
        stored = json.dumps({**checkpoint, "channel_values": inline})
        statement = (
            f"UPDATE checkpoints SET checkpoint = CAST(? AS jsonb), type = NULL, body = NULL, refs = NULL {_WHERE}"
        )
        yield statement, (stored, *place)

    def put_value(self, thread: int, values: Sequence[Any]) -> tuple[str, Sequence[Any]]:
        """Return the statement that inserts a value."""
        return "INSERT INTO sg_values (thread, number, type, value, refs) VALUES (?, ?, ?, ?, ?)", (thread, *values)
