"""What anything that runs like a graph offers."""

from stategraph.engine.protocol import GraphProtocol as PregelProtocol
from stategraph.engine.protocol import StreamChunk as StreamChunk
from stategraph.engine.protocol import StreamProtocol

__all__ = ("PregelProtocol", "StreamProtocol")
