"""Projections of a run as a stream."""

from stategraph.dropin_names import names_of as _names_of
from stategraph.engine.streams.events.lifecycle import LifecycleTransformer
from stategraph.engine.streams.events.modes import (
    CheckpointsTransformer,
    CustomTransformer,
    DebugTransformer,
    TasksTransformer,
    UpdatesTransformer,
)
from stategraph.engine.streams.events.nested import SubgraphStatus
from stategraph.engine.streams.events.payload import LifecyclePayload
from stategraph.engine.streams.events.queue import StreamChannel
from stategraph.engine.streams.events.run import (
    AsyncGraphRunStream,
    AsyncSubgraphRunStream,
    GraphRunStream,
    SubgraphRunStream,
)
from stategraph.engine.streams.events.subgraphs import SubgraphTransformer
from stategraph.engine.streams.events.transformer import ProtocolEvent, StreamTransformer

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
