"""Delta channels between the savers and the core: histories in, snapshots and ids of messages out.

Rules
-----
* The walk through a thread's history belongs to the saver, and is asked for once per loaded checkpoint, for all
  channels that need it; a checkpoint that holds every value causes none.
* Everything here is asked for by a run or an update of a graph that has delta channels (or had: an ordinary reducer
  reads what one has left); other graphs never come here.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any
from uuid import UUID, uuid5

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.checkpoint.serde.types import _DeltaSnapshot

from stategraph.constants import CONF, CONFIG_KEY_CHECKPOINT_NS, INPUT
from stategraph.core import deltas
from stategraph.core.delta_journal import DeltaCodec
from stategraph.core.program import Program
from stategraph.engine.checkpoints.message_delta import ensure_message_ids
from stategraph.engine.checkpoints.pump import Ask, Procedure
from stategraph.engine.checkpoints.saver_interfaces import Saver
from stategraph.engine.config import runnable_config as configs

Histories = Mapping[str, Any]
"""History by channel, from a saver: the writes, oldest first, and the seed they start from."""


def codec(program: Program) -> DeltaCodec | None:
    """Return how a run of a program identifies and stores its delta channels; None if it has none."""
    if not program.deltas:
        return None
    identify = partial[None](ensure_message_ids, program.specs)
    return DeltaCodec(_DeltaSnapshot, identify, input_task_id, configs.DELTA_MAX_SUPERSTEPS_SINCE_SNAPSHOT)


def input_task_id(checkpoint_id: str) -> str:
    """Return the task id under which a checkpoint keeps the input that came after it."""
    return str(uuid5(UUID(checkpoint_id), INPUT))


def request(program: Program, saved: CheckpointTuple | None, config: RunnableConfig) -> dict[str, object] | None:
    """Return the arguments for a saver's `get_delta_channel_history`; None if no history is needed.

    Args:
        program: The graph.
        saved: The loaded checkpoint.
        config: Names its thread.

    Returns:
        The method's arguments; None if the checkpoint holds every value.
    """
    if saved is None or not program.replayable:
        return None
    channels = deltas.needing_history(program.replayable, saved.checkpoint)
    if not channels:
        return None
    conf = {CONFIG_KEY_CHECKPOINT_NS: "", **config.get(CONF, {}), **saved.config.get(CONF, {})}
    return {"config": {**config, CONF: conf}, "channels": channels}


def fetch(program: Program, saver: Saver, saved: CheckpointTuple) -> Procedure[Histories | None]:
    """Ask a saver for the histories that a checkpoint needs; None if it holds every value."""
    asked = request(program, saved, saved.config)
    if asked is None:
        return None
    histories: Histories = yield Ask(saver, "get_delta_channel_history", (), asked)
    return histories
