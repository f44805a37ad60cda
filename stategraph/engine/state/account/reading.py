"""The checkpoints of a run, as a saver has them: from one of them back to the input that the run began with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langgraph.checkpoint.base import CheckpointTuple

from stategraph.constants import (
    CONF,
    CONFIG_KEY_CHECKPOINT_ID,
    CONFIG_KEY_CHECKPOINT_NS,
    CONFIG_KEY_THREAD_ID,
)
from stategraph.engine.checkpoints import damage, histories
from stategraph.engine.checkpoints.pump import Ask, Procedure
from stategraph.engine.checkpoints.saver_interfaces import Saver
from stategraph.engine.compile import versions
from stategraph.engine.compile.compiled_graph import CompiledGraph


@dataclass(frozen=True, slots=True)
class Stored:
    """A checkpoint with what a saver has of it.

    Attributes:
        brought: The checkpoint, as the graph's version has it.
        history: The writes of delta channels that it needs; None: none.
        version: The graph's version that stored it; empty: none is named.
        problem: Why the graph does not read it as its own, such as a version that no migration leads from; else empty.
    """

    brought: versions.BroughtUp
    history: histories.Histories | None
    version: str
    problem: str = ""

    @property
    def saved(self) -> CheckpointTuple:
        """The checkpoint as the saver returns it."""
        return self.brought.saved

    @property
    def id(self) -> str:
        """Its id."""
        return str(self.saved.checkpoint["id"])

    @property
    def parent_id(self) -> str:
        """The id of the checkpoint before it; empty: there is none."""
        return checkpoint_id_of(self.saved.parent_config)

    @property
    def source(self) -> str:
        """The way in which it was made: `input`, `loop`, `update` or `fork`."""
        return str((self.saved.metadata or {}).get("source") or "")

    @property
    def number(self) -> int | None:
        """The step's number; None if it is not stored."""
        found: Any = (self.saved.metadata or {}).get("step")
        return found if isinstance(found, int) else None


def checkpoint_id_of(config: Mapping[str, Any] | None) -> str:
    """Return the checkpoint that a config names; empty: none."""
    return str(((config or {}).get(CONF) or {}).get(CONFIG_KEY_CHECKPOINT_ID) or "")


def place(thread_id: str, namespace: str, checkpoint_id: str = "") -> dict[str, Any]:
    """Return the config of a checkpoint; of the newest, if none is named."""
    conf = {CONFIG_KEY_THREAD_ID: thread_id, CONFIG_KEY_CHECKPOINT_NS: namespace}
    return {CONF: {**conf, CONFIG_KEY_CHECKPOINT_ID: checkpoint_id} if checkpoint_id else conf}


def one(graph: CompiledGraph | None, saver: Saver, config: Mapping[str, Any]) -> Procedure[Stored | None]:
    """Return a checkpoint; None if there is none."""
    saved: CheckpointTuple | None = yield Ask(saver, "get_tuple", (config,))
    if saved is None:
        return None
    named = (saved.metadata or {}).get("graph_version")
    version = named if isinstance(named, str) else ""
    if graph is None:
        return Stored(versions.BroughtUp(saved), None, version)
    problem = ""
    with damage.using(saved, graph.program):
        graph.migrate_checkpoint(saved.checkpoint)
        try:
            brought = versions.brought_up(graph._versions, saved, graph.program, saver.get_next_version)
        except versions.GraphVersionError as error:
            brought, problem = versions.BroughtUp(saved), str(error)
        history = yield from histories.fetch(graph.program, saver, brought.saved)
    return Stored(brought, history, version, problem)


def line(
    graph: CompiledGraph | None, saver: Saver, config: Mapping[str, Any], most: int
) -> Procedure[tuple[list[Stored], bool]]:
    """Return a checkpoint and those that it came from, back to the input of its run; the oldest first.

    Args:
        graph: The graph; None if it is not known.
        saver: The saver.
        config: Names the checkpoint, or a thread, of which the newest is taken.
        most: How many at most.

    Returns:
        The checkpoints, and whether there are more before them that belong to the run.
    """
    found: list[Stored] = []
    asked: Mapping[str, Any] = config
    while len(found) < most:
        stored = yield from one(graph, saver, asked)
        if stored is None:
            break
        found.append(stored)
        if stored.source == "input" or not stored.parent_id:
            return found[::-1], False
        conf = stored.saved.config[CONF]
        asked = place(str(conf[CONFIG_KEY_THREAD_ID]), str(conf.get(CONFIG_KEY_CHECKPOINT_NS) or ""), stored.parent_id)
    return found[::-1], len(found) >= most
