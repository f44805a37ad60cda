"""Checkpoint helpers that other packages import by LangGraph's private names.

The engine itself has no use for them: each is one call into the core, with a
clock, ids and a saver added.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from types import ModuleType
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import Checkpoint

from stategraph.constants import MISSING
from stategraph.core import checkpoint as checkpoints
from stategraph.core import deltas
from stategraph.core.channels import BaseChannel, DeltaChannel
from stategraph.engine.checkpoints.saver_interfaces import Saver
from stategraph.engine.config import environment
from stategraph.engine.config import runnable_config as configs
from stategraph.engine.config.procedures import Procedure, aperform, perform


def empty_checkpoint() -> Checkpoint:
    """Return the checkpoint of a thread in which nothing has been written."""
    around = environment.current()
    return cast(Checkpoint, checkpoints.empty(around.ids.checkpoint_id(-2), around.now()))


def delta_channels_to_snapshot(
    channels: Mapping[str, BaseChannel[Any, Any, Any]],
    counters_since_delta_snapshot: Mapping[str, tuple[int, int]],
    channel_versions: Mapping[str, object],
) -> set[str]:
    """Return the delta channels whose counters say that the next checkpoint stores them in full."""
    counters = {
        name: counters_since_delta_snapshot.get(name, (0, 0))
        for name, channel in channels.items()
        if isinstance(channel, DeltaChannel)
    }
    return deltas.due(channels, counters, channel_versions, configs.DELTA_MAX_SUPERSTEPS_SINCE_SNAPSHOT)


def channels_from_checkpoint(
    specs: Mapping[str, object],
    checkpoint: Checkpoint,
    *,
    saver: Saver | None = None,
    config: RunnableConfig | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the channels as a checkpoint describes them, and the managed values among the specs."""
    read = None if saver is None else saver.get_delta_channel_history
    return perform(_channels(specs, checkpoint, read, config))


async def achannels_from_checkpoint(
    specs: Mapping[str, object],
    checkpoint: Checkpoint,
    *,
    saver: Saver | None = None,
    config: RunnableConfig | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Like `channels_from_checkpoint`."""
    read = None if saver is None else saver.aget_delta_channel_history
    return await aperform(_channels(specs, checkpoint, read, config))


def _channels(
    specs: Mapping[str, object],
    checkpoint: Checkpoint,
    read: Callable[..., object] | None,
    config: RunnableConfig | None,
) -> Procedure[tuple[dict[str, Any], dict[str, Any]]]:
    channels = {name: spec for name, spec in specs.items() if isinstance(spec, BaseChannel)}
    managed = {name: spec for name, spec in specs.items() if name not in channels}
    needed = deltas.needing_history(channels, checkpoint)
    histories: Mapping[str, object] = {}
    if needed:
        if read is None or config is None:
            raise ValueError(
                f"DeltaChannel {needed} has history to replay but no checkpointer or config was passed to read it"
            )
        histories = yield partial(read, config=config, channels=needed)
    return _thawed(channels, checkpoint, histories), managed


def _thawed(
    channels: Mapping[str, Any], checkpoint: Checkpoint, histories: Mapping[str, Any]
) -> dict[str, BaseChannel[Any, Any, Any]]:
    stored = checkpoint["channel_values"]
    return {
        name: deltas.replay(spec, histories[name])
        if name in histories
        else spec.from_checkpoint(stored.get(name, MISSING))
        for name, spec in channels.items()
    }


def share_setting(module: str, name: str, reader: ModuleType = configs, read_as: str | None = None) -> None:
    """Make setting ``name`` in ``module`` set it where it is read too.

    Args:
        module: Name of the module that programs patch.
        name: What they patch there.
        reader: The module that reads it; the engine's configuration unless said otherwise.
        read_as: Its name in that module; None means the same name.
    """
    sys.modules[module].__class__ = _Sharing
    setattr(sys.modules[module], _SHARED, (name, reader, read_as or name))


_SHARED = "__stategraph_shared__"


class _Sharing(ModuleType):
    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        shared, reader, read_as = vars(self).get(_SHARED, ("", None, ""))
        if name == shared:
            setattr(reader, read_as, value)
