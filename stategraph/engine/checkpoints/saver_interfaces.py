"""The interfaces of `langgraph-checkpoint` that packages above name in their signatures: where state and results go.

Only the engine may import that package.
"""

from typing import Any, TypeAlias

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
