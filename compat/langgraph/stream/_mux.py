"""Private names of the event stream."""

from stategraph.engine.projections.transformer import TransformerFactory as TransformerFactory
