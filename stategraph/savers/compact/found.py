"""Rows as they are found, of whichever database, and what is read of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import PendingWrite

from stategraph.savers.compact import records
from stategraph.savers.compact.coder import Coder
from stategraph.savers.compact.decoder import Decoder


class CheckpointFound(NamedTuple):
    """A row of the checkpoints."""

    thread_id: str
    namespace: str
    id: str
    parent_id: str | None
    kind: str
    body: bytes
    metadata: bytes | None
    refs: str | None


class WriteFound(NamedTuple):
    """A row of the writes."""

    task_id: str
    channel: str
    kind: str
    value: bytes
    task_path: str
    position: int
    refs: str | None


def written(row: WriteFound, coder: Coder, decoder: Decoder) -> PendingWrite:
    """Return a pending write of its row."""
    kind, value = coder.open(row.kind, row.value)
    if records.is_record(kind):
        return row.task_id, row.channel, records.read_write(decoder, value)
    return row.task_id, row.channel, coder.load(kind, value)


def config_of(thread_id: str, namespace: str, checkpoint_id: str) -> RunnableConfig:
    """Return the config that addresses a checkpoint."""
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": namespace, "checkpoint_id": checkpoint_id}}


def config_of_put(arguments: Sequence[Any]) -> RunnableConfig:
    """Return the config that addresses a checkpoint, of the arguments of `put`."""
    config, checkpoint = arguments[:2]
    conf = config["configurable"]
    return config_of(conf["thread_id"], conf.get("checkpoint_ns", ""), checkpoint["id"])
