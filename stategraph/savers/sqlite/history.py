"""Histories that delta channels are rebuilt from: writes, back to a checkpoint that holds the channel."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from langgraph.checkpoint.base import writes_sort_key

from stategraph.savers.compact.coder import Coder
from stategraph.savers.compact.decoder import Decoder
from stategraph.savers.compact.found import CheckpointFound, WriteFound, written
from stategraph.savers.sqlite.reading import Reader


class _Channel:
    """The part of a history that was found.

    Attributes:
        ids: The checkpoints whose writes belong to it, the newest first.
        seed: Its value in the one after those, in a list; empty if there is none.
    """

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.seed: list[Any] = []


def histories(
    reader: Reader,
    connection: sqlite3.Connection,
    coder: Coder,
    place: tuple[str, str, str],
    channels: Sequence[str],
) -> Mapping[str, Any]:
    """Return for each channel the writes since its last value, the oldest first, and this value.

    Args:
        reader: Reads rows.
        connection: The database.
        coder: Opens and decodes.
        place: Thread, namespace and checkpoint; its own values and writes do not count.
        channels: The channels.
    """
    thread_id, namespace, checkpoint_id = place
    found = {channel: _Channel() for channel in channels}
    for row in _ancestors(reader, thread_id, namespace, checkpoint_id):
        looking = [channel for channel in found.values() if not channel.seed]
        if not looking:
            break
        for channel in looking:
            channel.ids.append(row.id)
        _seed(reader, coder, row, found)
    return {
        name: _history(reader, connection, coder, (thread_id, namespace, name), each) for name, each in found.items()
    }


def _ancestors(reader: Reader, thread_id: str, namespace: str, checkpoint_id: str) -> Iterable[CheckpointFound]:
    """Yield the checkpoints before one, the nearest first, by their parents: ids are in order only within a process.

    A checkpoint that was stored again under a later one makes a circle, which ends where it began.
    """
    seen = {checkpoint_id}
    found = reader.find(thread_id, namespace, checkpoint_id)
    while found is not None and found.parent_id and found.parent_id not in seen:
        seen.add(found.parent_id)
        found = reader.find(thread_id, namespace, found.parent_id)
        if found is not None:
            yield found


def _seed(reader: Reader, coder: Coder, row: CheckpointFound, found: Mapping[str, _Channel]) -> None:
    """Take the values that a checkpoint has of the channels that have none yet."""
    opened = reader.opened(row, coder)
    if opened is None:
        values = coder.serde.loads_typed((row.kind, row.body)).get("channel_values") or {}
    else:
        values = opened.nodes or {}
    wanted = [(name, channel) for name, channel in found.items() if not channel.seed and name in values]
    decoder = None
    if wanted and opened is not None:
        decoder = Decoder(coder, reader.values(row.thread_id, coder, [row.refs]).values)
    for name, channel in wanted:
        channel.seed = [values[name] if decoder is None else decoder.value(values[name])]


def _history(
    reader: Reader, connection: sqlite3.Connection, coder: Coder, place: tuple[str, str, str], channel: _Channel
) -> dict[str, Any]:
    statement = f"{reader.writes} WHERE thread_id = ? AND checkpoint_ns = ? AND checkpoint_id = ? AND channel = ?"
    thread_id, namespace, name = place
    rows: list[WriteFound] = []
    for checkpoint_id in reversed(channel.ids):
        several = [
            WriteFound(*row) for row in connection.execute(statement, (thread_id, namespace, checkpoint_id, name))
        ]
        rows += sorted(several, key=lambda each: writes_sort_key(each.task_path, each.task_id, each.position))
    decoder = Decoder(coder, reader.values(thread_id, coder, [row.refs for row in rows]).values)
    history: dict[str, Any] = {"writes": [written(row, coder, decoder) for row in rows]}
    if channel.seed:
        history["seed"] = channel.seed[0]
    return history
