"""Private names of the event stream."""

from stategraph.engine.streams.events.mux import StreamMux as StreamMux
from stategraph.engine.streams.events.transformer import TransformerFactory as TransformerFactory
