"""Private names of the event stream."""

from stategraph.engine.events.mux import StreamMux as StreamMux
from stategraph.engine.events.transformer import TransformerFactory as TransformerFactory
