"""Loads what a run starts from: a procedure that either driver performs."""

from __future__ import annotations

from langgraph.checkpoint.base import CheckpointTuple

from stategraph.constants import CONFIG_KEY_CHECKPOINT_ID
from stategraph.engine.checkpoints import histories
from stategraph.engine.checkpoints.pump import Ask, Procedure
from stategraph.engine.config.runnable_config import patch_configurable
from stategraph.engine.runs.execution import Execution
from stategraph.engine.runs.request import Lookup


def load(execution: Execution) -> Procedure[None]:
    """Fetch the checkpoint that a run with a saver starts from, with the histories it needs, and make its machine."""
    lookup, saver = execution.lookup(), execution.saver
    assert lookup is not None
    assert saver is not None
    found, superseded = yield from _find(execution, lookup)
    asked = execution.history_request(found)
    history: histories.Histories | None = None
    if asked is not None:
        history = yield Ask(saver, "get_delta_channel_history", (), asked)
    execution.load(found, lookup.how, superseded, history)


def _find(execution: Execution, lookup: Lookup) -> Procedure[tuple[CheckpointTuple | None, bool]]:
    """Fetch a run's checkpoint, and see whether the thread has moved past it."""
    saver, config = execution.saver, lookup.config
    assert saver is not None
    if lookup.replay is not None:
        return (yield from lookup.replay.find(execution.ns, saver, config)), False
    found: CheckpointTuple | None = yield Ask(saver, "get_tuple", (config,))
    if lookup.ns is not None:
        return found, True
    if found is None:
        return None, False
    if lookup.how != "id":
        if lookup.lineage is not None and lookup.lineage.lost(found):
            found = yield from lookup.lineage.latest(saver, config, found)
        return found, False
    latest: CheckpointTuple | None = yield Ask(
        saver, "get_tuple", (patch_configurable(config, {CONFIG_KEY_CHECKPOINT_ID: None}),)
    )
    return found, latest is not None and latest.checkpoint["id"] != found.checkpoint["id"]
