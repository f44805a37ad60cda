"""The interfaces of `langgraph-checkpoint` that packages above name in their signatures: where state and results go.

Only the engine may import that package.
"""

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

from langgraph.cache.base import BaseCache as BaseCache
from langgraph.checkpoint.base import BaseCheckpointSaver as BaseCheckpointSaver
from langgraph.checkpoint.base import ChannelVersions as ChannelVersions
from langgraph.checkpoint.base import Checkpoint as Checkpoint
from langgraph.checkpoint.base import CheckpointMetadata as CheckpointMetadata
from langgraph.checkpoint.base import CheckpointTuple as CheckpointTuple
from langgraph.checkpoint.memory import InMemorySaver as InMemorySaver
from langgraph.store.base import BaseStore as BaseStore

Saver: TypeAlias = BaseCheckpointSaver[Any]
"""A saver, whatever the versions of its channels are: numbers, text or another kind."""

Save: TypeAlias = tuple[str, tuple[Any, ...]]
"""A save that waits: the method, `put` or `put_writes`, and its arguments."""


class SavesTogether(Protocol):
    """A saver that stores several saves at the price of one; it has these methods beside those of `Saver`."""

    def put_together(self, saves: Sequence[Save]) -> int:
        """Store saves of one thread, in order, as one transaction.

        Args:
            saves: At least one.

        Returns:
            How many were stored, at least one: the first ones, up to one that cannot be.

        Raises:
            Exception: What the first one failed with; nothing was stored.
        """

    async def aput_together(self, saves: Sequence[Save]) -> int:
        """Store saves of one thread, in order, as one transaction; as `put_together`."""
