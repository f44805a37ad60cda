"""What a stream transformer is."""

from stategraph.engine.projections.transformer import ProtocolEvent as ProtocolEvent
from stategraph.engine.projections.transformer import StreamTransformer as StreamTransformer
from stategraph.engine.projections.transformer import transformer_requires_async as transformer_requires_async
