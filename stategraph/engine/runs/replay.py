"""Finds the checkpoint that a nested graph starts from while the graph around it replays its past.

When a graph is run again from an earlier checkpoint, a nested graph must not start from the newest of its own
checkpoints: that one belongs to a future that is being done over. It starts from the last one before the replayed
checkpoint. That holds for the first time each nested graph runs in the replay; when it runs again, in a loop say, the
newest checkpoint is the one that the replay itself has made.
"""

from __future__ import annotations

from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple

from stategraph.constants import NS_END
from stategraph.engine.checkpoints import pump


class ReplayState:
    """Notes of one replay, shared by all the graphs that it runs.

    Attributes:
        checkpoint_id: The checkpoint of the outer graph that is replayed.
    """

    __slots__ = ("_visited_ns", "checkpoint_id")

    def __init__(self, checkpoint_id: str) -> None:
        self.checkpoint_id = checkpoint_id
        self._visited_ns: set[str] = set()

    def get_checkpoint(
        self, checkpoint_ns: str, checkpointer: BaseCheckpointSaver[Any], checkpoint_config: RunnableConfig
    ) -> CheckpointTuple | None:
        """Load the checkpoint that a nested graph starts from.

        Args:
            checkpoint_ns: The namespace of the nested graph.
            checkpointer: Where its checkpoints are.
            checkpoint_config: Addresses them.

        Returns:
            The checkpoint, or None if the nested graph had none at that time.
        """
        return pump.run(self.find(checkpoint_ns, checkpointer, checkpoint_config))

    async def aget_checkpoint(
        self, checkpoint_ns: str, checkpointer: BaseCheckpointSaver[Any], checkpoint_config: RunnableConfig
    ) -> CheckpointTuple | None:
        """Load the checkpoint that a nested graph starts from; see `get_checkpoint`."""
        return await pump.arun(self.find(checkpoint_ns, checkpointer, checkpoint_config))

    def find(
        self, ns: str, saver: BaseCheckpointSaver[Any], config: RunnableConfig
    ) -> pump.Procedure[CheckpointTuple | None]:
        """Find the checkpoint that a nested graph starts from; see `get_checkpoint`."""
        if not self._is_first_visit(ns):
            found: CheckpointTuple | None = yield pump.Ask(saver, "get_tuple", (config,))
            return found
        before: RunnableConfig = {"configurable": {"checkpoint_id": self.checkpoint_id}}
        earlier = yield pump.Ask(saver, "list", (config,), {"before": before, "limit": 1})
        return earlier[0] if earlier else None

    def _is_first_visit(self, checkpoint_ns: str) -> bool:
        # The task id at the end differs each time the same nested graph runs.
        graph = checkpoint_ns.rpartition(NS_END)[0] or checkpoint_ns
        first = graph not in self._visited_ns
        self._visited_ns.add(graph)
        return first
