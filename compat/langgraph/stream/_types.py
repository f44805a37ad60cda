"""The interface of stream transformers."""

from stategraph.engine.streams.events.transformer import ProtocolEvent as ProtocolEvent
from stategraph.engine.streams.events.transformer import StreamTransformer as StreamTransformer
from stategraph.engine.streams.events.transformer import transformer_requires_async as transformer_requires_async
