"""The interface of everything that runs like a graph."""

from stategraph.dropin_names import names_of as _names_of
from stategraph.engine.compile.protocol import GraphProtocol as PregelProtocol
from stategraph.engine.compile.protocol import StreamChunk as StreamChunk
from stategraph.engine.compile.protocol import StreamProtocol

__all__ = ("PregelProtocol", "StreamProtocol")

__getattr__ = _names_of(__name__)
