"""The interfaces of `langgraph-checkpoint` that upper rooms name in their signatures: where state and results go.

Only this room may import that package.
"""

from langgraph.cache.base import BaseCache as BaseCache
from langgraph.checkpoint.base import BaseCheckpointSaver as BaseCheckpointSaver
from langgraph.checkpoint.base import Checkpoint as Checkpoint
from langgraph.store.base import BaseStore as BaseStore
