"""Finds the checkpoint from which a nested graph with a separate history starts, to agree with the graph around it.

A nested graph and the graph around it are stored by separate saves. A process that dies between the two may leave
checkpoints of the nested graph that belong to a step which the graph around it never stored, and will take again.

Rules
-----
* A checkpoint of a nested graph names those of the graphs around it (``metadata["parents"]``), as LangGraph's do. It
  is lost if one of those is newer than what that graph's run started from, and older than the run: no run that is
  known made it. Checkpoint ids sort by the time they were made.
* A run starts from the newest checkpoint that is not lost. Those of an edit (``update_state``) never are.
* It goes on from there only if the checkpoint was made in the step that the graph around it goes on with. Otherwise
  the nested graph had not begun in that step, and takes its input.
* Where a caller names a checkpoint (replays, forks) it decides by id, and none of this applies. Nor does it to a
  nested graph that is called with a thread of its own, or where the metadata name nothing.
* With what is loaded anyway there is enough to see whether a checkpoint is lost; only if it is are others read.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple

from stategraph.constants import CONF, CONFIG_KEY_CHECKPOINT_NS, CONFIG_KEY_THREAD_ID
from stategraph.core.opening.course import EDITS
from stategraph.engine.checkpoints.pump import Ask, Procedure

logger = logging.getLogger(__name__)

_PAGE = 32
"""Checkpoints that are read at once in search of one that is not lost."""


class Lineage(NamedTuple):
    """Facts about a run with which the graphs nested in it have to agree.

    Attributes:
        around: The same of the run around it; None for a root run.
        thread_id: The thread it is stored in.
        ns: Its namespace.
        stored: The checkpoint it started from, "" if there was none.
        edited: Whether an edit made that checkpoint, rather than a run.
        began_at: When it began, as a boundary between checkpoint ids.
    """

    around: Lineage | None
    thread_id: str
    ns: str
    stored: str
    edited: bool
    began_at: str

    def lost(self, found: CheckpointTuple) -> bool:
        """Return whether a checkpoint of a nested graph belongs to a step that was never stored."""
        if found.metadata.get("source") in EDITS:
            return False
        named: Mapping[str, str] = found.metadata.get("parents") or {}
        run: Lineage | None = self
        while run is not None:
            outer = named.get(run.ns)
            if outer is not None and run.stored < outer < run.began_at:
                return True
            run = run.around
        return False

    def has_begun(self, found: CheckpointTuple, current: Mapping[str, str]) -> bool:
        """Return whether a nested graph made a checkpoint in the step that this run goes on with.

        Args:
            found: The nested graph's newest checkpoint that is not lost.
            current: The checkpoints that the graphs around it are at, by namespace.
        """
        named: Mapping[str, str] = found.metadata.get("parents") or {}
        return self.edited or not named or named.get(self.ns) == current.get(self.ns)

    def latest(
        self, saver: BaseCheckpointSaver[Any], config: RunnableConfig, newest: CheckpointTuple
    ) -> Procedure[CheckpointTuple | None]:
        """Find the newest checkpoint of a nested graph that is not lost; None if there is none.

        Args:
            saver: Where its checkpoints are.
            config: Addresses them.
            newest: The newest one, which is lost.
        """
        before: CheckpointTuple | None = newest
        found: CheckpointTuple | None = None
        while found is None and before is not None:
            bounds = {"before": before.config, "limit": _PAGE}
            listed: list[CheckpointTuple] = yield Ask(saver, "list", (config,), bounds)
            found = next((saved for saved in listed if not self.lost(saved)), None)
            before = listed[-1] if len(listed) == _PAGE else None
        logger.warning(
            "Thread %r, subgraph %r: checkpoint %s belongs to a step that was not stored, as the process ended before; "
            "%s",
            self.thread_id,
            config[CONF].get(CONFIG_KEY_CHECKPOINT_NS),
            newest.checkpoint["id"],
            "started from the beginning" if found is None else f"started from checkpoint {found.checkpoint['id']}",
        )
        return found


def shared(around: Lineage | None, config: RunnableConfig) -> Lineage | None:
    """Return the lineage that a nested graph has to agree with; None if it is called with a thread of its own."""
    if around is None or str(config[CONF].get(CONFIG_KEY_THREAD_ID)) != around.thread_id:
        return None
    return around
