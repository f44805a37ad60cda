"""Saves of one thread as rows, in the compact form or in the plain one.

The rows are the same for every database; what differs is how a database is told of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import WRITES_IDX_MAP

from stategraph.engine.checkpoints.saver_interfaces import Save
from stategraph.savers.compact import records
from stategraph.savers.compact.coder import Coder
from stategraph.savers.compact.encoder import Encoder, Value
from stategraph.savers.compact.known import Known


class CheckpointRow(NamedTuple):
    """A row of the checkpoints; it replaces one of the same thread, namespace and id."""

    namespace: str
    id: str
    parent_id: str | None
    kind: str
    body: bytes
    refs: str | None
    config: RunnableConfig
    metadata: Mapping[str, object]


class WriteRow(NamedTuple):
    """A row of the writes; it replaces one of the same place, or yields to it."""

    namespace: str
    checkpoint_id: str
    task_id: str
    task_path: str
    position: int
    channel: str
    kind: str
    value: bytes
    refs: str | None
    replaces: bool


Row: TypeAlias = CheckpointRow | WriteRow


@dataclass(slots=True)
class Plan:
    """The rows and values of some saves of one thread.

    Attributes:
        thread_id: The thread.
        stored: The saves that it holds, the first ones of those that were given.
        rows: The rows, in order: those of a later save come after those of an earlier one.
        values: The values that are not stored yet, with their bytes sealed.
        first: The number of the first of them: the thread's next number, or the database knows more of the thread than
            this process.
        next: The number after the last of them.
        error: What the save after those failed with.
        known: What it was made with; nothing holds for another one. None in the plain form.
    """

    thread_id: str
    known: Known | None = None
    stored: int = 0
    rows: list[Row] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    first: int = 1
    next: int = 1
    error: Exception | None = None


def thread_of(save: Save) -> str:
    """Return the thread that a save is for."""
    return str(save[1][0]["configurable"]["thread_id"])


def plan(saves: Sequence[Save], coder: Coder, known: Known | None) -> Plan:
    """Encode saves of one thread, up to the first that cannot be.

    Args:
        saves: Methods and their arguments, all of one thread.
        coder: Encodes and seals.
        known: What is known of the thread; what is encoded is added to it. None for the plain form.
    """
    made = Plan(thread_of(saves[0]), known)
    encoder = None
    if known is not None:
        encoder = Encoder(coder, known)
        made.first = known.next
    for method, arguments in saves:
        try:
            if method == "put":
                made.rows.append(_checkpoint(arguments, coder, known, encoder))
            else:
                made.rows += _writes(arguments, coder, encoder)
        except Exception as error:  # what the values' own code raises
            made.error = error
            break
        made.stored += 1
    if encoder is not None and known is not None:
        made.next = known.next
        made.values = [Value(each.number, *coder.seal(each.kind, each.data), each.refs) for each in encoder.new]
    return made


def _checkpoint(arguments: Sequence[Any], coder: Coder, known: Known | None, encoder: Encoder | None) -> CheckpointRow:
    config, checkpoint, metadata, new_versions = arguments
    conf = config["configurable"]
    namespace, parent_id = conf.get("checkpoint_ns", ""), conf.get("checkpoint_id")
    if encoder is None or known is None:
        record = records.Record(*coder.serde.dumps_typed(checkpoint), None)
    else:
        record = records.of_checkpoint(encoder, coder, known, (namespace, parent_id), checkpoint, new_versions)
    return CheckpointRow(namespace, checkpoint["id"], parent_id, *record, config, metadata)


def _writes(arguments: Sequence[Any], coder: Coder, encoder: Encoder | None) -> list[WriteRow]:
    config, writes, task_id, *path = arguments
    conf = config["configurable"]
    namespace, checkpoint_id = str(conf.get("checkpoint_ns", "")), str(conf["checkpoint_id"])
    replaces = all(channel in WRITES_IDX_MAP for channel, _ in writes)
    task_path = path[0] if path else ""
    rows = []
    for index, (channel, value) in enumerate(writes):
        if encoder is None:
            record = records.Record(*coder.serde.dumps_typed(value), None)
        else:
            record = records.of_write(encoder, coder, (namespace, channel), value)
        position = WRITES_IDX_MAP.get(channel, index)
        rows.append(WriteRow(namespace, checkpoint_id, task_id, task_path, position, channel, *record, replaces))
    return rows
