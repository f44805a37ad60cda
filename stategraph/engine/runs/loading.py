"""Loads what a run starts from: names the checkpoint, fetches it, and makes of it what the core reads.

Rules
-----
* The procedure is performed by either driver. A run without a saver needs none.
* What was loaded is a value; it says how checkpoints of the run's thread are addressed from then on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple

from stategraph.constants import (
    CONF,
    CONFIG_KEY_CHECKPOINT_ID,
    CONFIG_KEY_CHECKPOINT_MAP,
    CONFIG_KEY_CHECKPOINT_NS,
    CONFIG_KEY_LINEAGE,
    CONFIG_KEY_REPLAY_STATE,
    CONFIG_KEY_THREAD_ID,
)
from stategraph.core import checkpoint as checkpoints
from stategraph.core import status
from stategraph.core.opening import travel
from stategraph.core.opening.course import EDITS
from stategraph.core.settings import Thread
from stategraph.engine.checkpoints import histories, known_lists
from stategraph.engine.checkpoints.message_lists import MessageList
from stategraph.engine.checkpoints.pump import Ask, Procedure
from stategraph.engine.compile import versions
from stategraph.engine.config.runnable_config import patch_configurable
from stategraph.engine.runs import lineage, replay
from stategraph.engine.runs.run_plan import RunPlan

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver


class Loaded(NamedTuple):
    """The checkpoint that a run starts from.

    Attributes:
        found: The checkpoint with what belongs to it; None if there is none.
        base: Addresses the run's thread, and the checkpoint if the caller named one.
        how: How it was looked up: by its id, as the last one before a replayed parent's, as the latest, or not at all.
        superseded: Whether the thread has moved past it.
        ns: The namespace that it is taken over from; None if it is the run's own.
        around: What it had to agree with; None if there was nothing.
        history: What the saver answered about channels that it does not hold; None if it holds all.
        lists: Lists of messages in it, and what is known of them.
        brought: What bringing it up to the graph's version came to; None if it is of that version.
    """

    found: CheckpointTuple | None
    base: RunnableConfig
    how: Literal["id", "replay", "latest", "none"]
    superseded: bool = False
    ns: str | None = None
    around: lineage.Lineage | None = None
    history: histories.Histories | None = None
    lists: Sequence[tuple[list[Any], MessageList]] = ()
    brought: versions.BroughtUp | None = None

    def address(self, ns: str) -> RunnableConfig:
        """Return the saver's own view of the address, with the run's namespace."""
        own = {} if self.found is None else self.found.config.get(CONF, {})
        return cast(RunnableConfig, {**self.base, CONF: {**self.base[CONF], **own, CONFIG_KEY_CHECKPOINT_NS: ns}})

    def thread(self, plan: RunPlan) -> Thread:
        """Return what the core reads of it."""
        found, named = self.found, self.how in ("id", "replay")
        if found is None:
            # Nobody sees the time of what is not stored.
            checkpoint = checkpoints.empty(plan.environment.ids.checkpoint_id(-2), "")
            stored_id = self.base[CONF].get(CONFIG_KEY_CHECKPOINT_ID) or None
            return Thread(checkpoint, {"step": -2}, None, None, stored_id, named)
        plan.spec.migrate(found.checkpoint)
        parent, moved, brought = found.parent_config, self.ns is not None, self.brought
        return Thread(
            dict(found.checkpoint),
            dict(found.metadata),
            parent_id=parent[CONF].get(CONFIG_KEY_CHECKPOINT_ID) if parent else None,
            pending=status.group(found.pending_writes),
            stored_id=None if moved else found.checkpoint["id"],
            addressed=named,
            superseded=self.superseded,
            found=True,
            moved=moved,
            histories=self.history,
            tasks=None if brought is None else brought.tasks,
            unstored=frozenset() if brought is None else brought.unstored,
        )

    def lineage(self, plan: RunPlan, thread: Thread) -> lineage.Lineage | None:
        """Say what the graphs inside the run have to agree with; None if they are told by id where to start."""
        config = plan.config
        around: lineage.Lineage | None = config[CONF].get(CONFIG_KEY_LINEAGE)
        if plan.saver is None:
            return around
        if plan.nested:
            named = around is None or self.how != "latest"
        else:
            named = self.how == "id" and (thread.superseded or not thread.found)
        if named:
            return None
        return lineage.Lineage(
            lineage.shared(around, config),
            str(config[CONF].get(CONFIG_KEY_THREAD_ID)),
            plan.ns,
            thread.checkpoint["id"] if thread.found else "",
            thread.metadata.get("source") in EDITS,
            # A run that found none starts from one of its own, whose id graphs in it may be stored with.
            plan.environment.ids.boundary() if thread.found else thread.checkpoint["id"],
        )


def nothing(plan: RunPlan) -> Loaded:
    """Return what a run without a saver starts from."""
    return Loaded(None, plan.config, "none")


def load(plan: RunPlan) -> Procedure[Loaded]:
    """Fetch the checkpoint that a run with a saver starts from, with the histories that it needs."""
    saver = plan.saver
    assert saver is not None
    wanted, state = _lookup(plan)
    reader = known_lists.Reader(saver)
    found, superseded = yield from _find(plan, reader.saver, wanted, state)
    brought: versions.BroughtUp | None = None
    lists: Sequence[tuple[list[Any], MessageList]] = reader.lists
    if found is not None and plan.spec.versions is not None:
        plan.spec.migrate(found.checkpoint)
        brought = plan.spec.versions.bring_up(found, plan.spec.program, saver.get_next_version)
        if brought is not None:
            # A migration may have changed messages in place: none is known any more.
            found, lists = brought.saved, ()
    asked = histories.request(plan.spec.program, found, wanted.base)
    history: histories.Histories | None = None
    if asked is not None:
        history = yield Ask(saver, "get_delta_channel_history", (), asked)
    ns = wanted.ns if found is not None else None
    return Loaded(found, wanted.base, wanted.how, superseded, ns, wanted.around, history, lists, brought)


def _lookup(plan: RunPlan) -> tuple[Loaded, replay.ReplayState | None]:
    """Say which checkpoint to look up, as what will have been loaded; and what a replay remembers, if one goes on."""
    config = plan.config
    conf = config[CONF]
    named = conf.get(CONFIG_KEY_CHECKPOINT_MAP) or {}
    if conf.get(CONFIG_KEY_CHECKPOINT_NS, None) in named:
        config = patch_configurable(config, {CONFIG_KEY_CHECKPOINT_ID: named[conf[CONFIG_KEY_CHECKPOINT_NS]]})
    thread_id = conf.get(CONFIG_KEY_THREAD_ID)
    if thread_id and not isinstance(thread_id, str):
        config = patch_configurable(config, {CONFIG_KEY_THREAD_ID: str(thread_id)})
    if config[CONF].get(CONFIG_KEY_CHECKPOINT_ID):
        return Loaded(None, config, "id"), None
    before = travel.namespace_before(plan.parent, plan.ns)
    if before is not None and before in named:
        return Loaded(None, config, "id", ns=before), None
    state: replay.ReplayState | None = conf.get(CONFIG_KEY_REPLAY_STATE)
    if state is not None:
        return Loaded(None, config, "replay"), state
    around = None
    if plan.nested and plan.keeps_history:
        around = lineage.shared(conf.get(CONFIG_KEY_LINEAGE), config)
    return Loaded(None, config, "latest", around=around), None


def _find(
    plan: RunPlan, saver: BaseCheckpointSaver[Any], wanted: Loaded, state: replay.ReplayState | None
) -> Procedure[tuple[CheckpointTuple | None, bool]]:
    """Fetch a run's checkpoint, and see whether the thread has moved past it."""
    config = wanted.base
    if state is not None:
        return (yield from state.find(plan.ns, saver, config)), False
    if wanted.ns is not None:
        named = config[CONF][CONFIG_KEY_CHECKPOINT_MAP][wanted.ns]
        place = {CONFIG_KEY_CHECKPOINT_NS: wanted.ns, CONFIG_KEY_CHECKPOINT_ID: named}
        return (yield Ask(saver, "get_tuple", (patch_configurable(config, place),))), True
    found: CheckpointTuple | None = yield Ask(saver, "get_tuple", (config,))
    if found is None:
        return None, False
    if wanted.how != "id":
        if wanted.around is not None and wanted.around.lost(found):
            found = yield from wanted.around.latest(saver, config, found)
        return found, False
    latest: CheckpointTuple | None = yield Ask(
        saver, "get_tuple", (patch_configurable(config, {CONFIG_KEY_CHECKPOINT_ID: None}),)
    )
    return found, latest is not None and latest.checkpoint["id"] != found.checkpoint["id"]
