"""Projections of a run as a stream."""

from stategraph.dropin_names import names_of as _names_of
from stategraph.engine.events.lifecycle import LifecycleTransformer
from stategraph.engine.events.modes import (
    CheckpointsTransformer,
    CustomTransformer,
    DebugTransformer,
    TasksTransformer,
    UpdatesTransformer,
)
from stategraph.engine.events.nested import SubgraphStatus
from stategraph.engine.events.payload import LifecyclePayload
from stategraph.engine.events.queue import StreamChannel
from stategraph.engine.events.run import AsyncGraphRunStream, GraphRunStream
from stategraph.engine.events.subgraphs import SubgraphTransformer
from stategraph.engine.events.subruns import AsyncSubgraphRunStream, SubgraphRunStream
from stategraph.engine.events.transformer import ProtocolEvent, StreamTransformer

__all__ = (
    "AsyncGraphRunStream",
    "AsyncSubgraphRunStream",
    "CheckpointsTransformer",
    "CustomTransformer",
    "DebugTransformer",
    "GraphRunStream",
    "LifecyclePayload",
    "LifecycleTransformer",
    "ProtocolEvent",
    "StreamChannel",
    "StreamTransformer",
    "SubgraphRunStream",
    "SubgraphStatus",
    "SubgraphTransformer",
    "TasksTransformer",
    "UpdatesTransformer",
)

__getattr__ = _names_of(__name__)
