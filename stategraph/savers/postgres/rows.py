"""Saves as rows of the tables of `langgraph-checkpoint-postgres`, and rows as one statement.

Rules
-----
* A statement writes the rows of any number of saves: it is one transaction and one round trip, whatever they are.
* Within it each row stands once, as saves one after the other would have left it: of checkpoints, and of errors,
  interrupts and answers, the last one; of blobs and other writes, the first.
* `None`, text, numbers and booleans stand in the checkpoint itself, as there. What JSON in PostgreSQL cannot hold, or
  would bring back as another type, is a blob, which their savers read all the same: text with a NUL or half a
  character, numbers that are not finite, objects of subclasses.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, TypeAlias

from langgraph.checkpoint.base import WRITES_IDX_MAP, get_serializable_checkpoint_metadata
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.types import _DeltaSnapshot

from stategraph.engine.checkpoints.saver_interfaces import Save

Statement: TypeAlias = tuple[str, tuple[Any, ...]]

_BLOBS: Final = """INSERT INTO checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob)
SELECT * FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::bytea[])
ON CONFLICT (thread_id, checkpoint_ns, channel, version) DO NOTHING"""

_CHECKPOINTS: Final = """INSERT INTO checkpoints
(thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata)
SELECT t, n, c, p, v::jsonb, m::jsonb
FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::text[]) AS rows (t, n, c, p, v, m)
ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id)
DO UPDATE SET checkpoint = EXCLUDED.checkpoint, metadata = EXCLUDED.metadata"""

_WRITES: Final = """INSERT INTO checkpoint_writes
(thread_id, checkpoint_ns, checkpoint_id, task_id, idx, task_path, channel, type, blob)
SELECT * FROM unnest(
%b::text[], %b::text[], %b::text[], %b::text[], %b::int[], %b::text[], %b::text[], %b::text[], %b::bytea[])
ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id, task_id, idx) DO """

_PARTS: Final = (
    ("blobs", _BLOBS),
    ("writes", _WRITES + "NOTHING"),
    ("replacing", _WRITES + "UPDATE SET channel = EXCLUDED.channel, type = EXCLUDED.type, blob = EXCLUDED.blob"),
    ("checkpoints", _CHECKPOINTS),
)
"""Tables, in the order of their statements."""


class Rows:
    """The rows of saves.

    Attributes:
        blobs: Values of channels, by thread, namespace, channel and version.
        writes: Writes of tasks, by thread, namespace, checkpoint, task and index, that keep a row which is there.
        replacing: Writes that replace such a row.
        checkpoints: Checkpoints, by thread, namespace and id.
    """

    __slots__ = ("blobs", "checkpoints", "replacing", "writes")

    def __init__(self) -> None:
        self.blobs: dict[tuple[Any, ...], tuple[Any, ...]] = {}
        self.writes: dict[tuple[Any, ...], tuple[Any, ...]] = {}
        self.replacing: dict[tuple[Any, ...], tuple[Any, ...]] = {}
        self.checkpoints: dict[tuple[Any, ...], tuple[Any, ...]] = {}

    def add(self, serde: SerializerProtocol, save: Save) -> None:
        """Add the rows of a save; of one that fails, none.

        Args:
            serde: Serialises values.
            save: The save.

        Raises:
            Exception: A value cannot be serialised.
        """
        method, arguments = save
        if method == "put_writes":
            self._add_writes(serde, *arguments)
        else:
            self._add_checkpoint(serde, *arguments)

    def _add_checkpoint(
        self, serde: SerializerProtocol, config: Any, checkpoint: Any, metadata: Any, new_versions: Mapping[str, Any]
    ) -> None:
        conf = config["configurable"]
        thread_id, namespace = str(conf["thread_id"]), conf.get("checkpoint_ns", "")
        inline: dict[str, Any] = {}
        blobs: dict[tuple[Any, ...], tuple[Any, ...]] = {}
        for channel, value in checkpoint["channel_values"].items():
            if is_inline(value):
                inline[channel] = value
                continue
            if isinstance(value, _DeltaSnapshot):
                inline[channel] = True
            if channel in new_versions:
                key = (thread_id, namespace, channel, str(new_versions[channel]))
                blobs[key] = serde.dumps_typed(value)
        stored = json.dumps({**checkpoint, "channel_values": inline})
        about = json.dumps(get_serializable_checkpoint_metadata(config, metadata))
        for key, blob in blobs.items():
            self.blobs.setdefault(key, blob)
        place = (thread_id, namespace, checkpoint["id"])
        parent = self.checkpoints[place][0] if place in self.checkpoints else conf.get("checkpoint_id")
        self.checkpoints[place] = (parent, stored, about)

    def _add_writes(
        self,
        serde: SerializerProtocol,
        config: Any,
        writes: Sequence[tuple[str, Any]],
        task_id: str,
        task_path: str = "",
    ) -> None:
        conf = config["configurable"]
        at = (str(conf["thread_id"]), conf.get("checkpoint_ns", ""), conf["checkpoint_id"], task_id)
        rows: list[tuple[tuple[Any, ...], tuple[Any, ...]]] = [
            ((*at, WRITES_IDX_MAP.get(channel, index)), (task_path, channel, *serde.dumps_typed(value)))
            for index, (channel, value) in enumerate(writes)
        ]
        replaces = all(channel in WRITES_IDX_MAP for channel, _ in writes)
        for key, row in rows:
            if replaces:
                self.writes.pop(key, None)
                self.replacing[key] = row
            elif key not in self.replacing:
                self.writes.setdefault(key, row)

    def statement(self) -> Statement | None:
        """Return the statement that stores the rows; None if there are none."""
        tables = [(name, rows) for name, _ in _PARTS if (rows := getattr(self, name))]
        if not tables:
            return None
        parameters: list[list[Any]] = []
        for _, rows in tables:
            parameters += map(list, zip(*((*key, *row) for key, row in rows.items()), strict=True))
        return _text(tuple(name for name, _ in tables)), tuple(parameters)


@lru_cache(maxsize=16)
def _text(tables: tuple[str, ...]) -> str:
    *first, last = [text for name, text in _PARTS if name in tables]
    if not first:
        return last
    return "WITH " + ",\n".join(f"t{number} AS ({text})" for number, text in enumerate(first)) + "\n" + last


def is_inline(value: object) -> bool:
    """Return whether a value of a channel stands in the checkpoint itself."""
    if value is None or type(value) is bool or type(value) is int:
        return True
    if type(value) is str:
        return "\x00" not in value and (value.isascii() or _is_whole(value))
    return type(value) is float and math.isfinite(value)


def _is_whole(value: str) -> bool:
    """Return whether a text has no halves of characters, which UTF-8 does not have."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def of_saves(serde: SerializerProtocol, saves: Sequence[Save]) -> tuple[Rows, int]:
    """Return the rows of saves, up to the first that cannot be serialised, and how many saves these are.

    Raises:
        Exception: The first one cannot be.
    """
    rows = Rows()
    for number, save in enumerate(saves):
        try:
            rows.add(serde, save)
        except Exception:
            if number == 0:
                raise
            return rows, number
    return rows, len(saves)
