"""Projections of a run as a stream."""

from stategraph.engine.events.nested import AsyncSubgraphRunStream, SubgraphRunStream, SubgraphStatus
from stategraph.engine.events.queue import StreamChannel
from stategraph.engine.events.transformer import ProtocolEvent, StreamTransformer

__all__ = (
    "AsyncSubgraphRunStream",
    "ProtocolEvent",
    "StreamChannel",
    "StreamTransformer",
    "SubgraphRunStream",
    "SubgraphStatus",
)
