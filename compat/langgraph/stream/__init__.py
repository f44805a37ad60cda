"""Projections of a run as a stream."""

from stategraph.engine.projections.nested import AsyncSubgraphRunStream, SubgraphRunStream, SubgraphStatus
from stategraph.engine.projections.queue import StreamChannel
from stategraph.engine.projections.transformer import ProtocolEvent, StreamTransformer

__all__ = (
    "AsyncSubgraphRunStream",
    "ProtocolEvent",
    "StreamChannel",
    "StreamTransformer",
    "SubgraphRunStream",
    "SubgraphStatus",
)
