"""The engine."""

from stategraph.dropin_names import names_of as _names_of
from stategraph.engine.compile.node import NodeBuilder
from stategraph.engine.engine import StateGraphEngine as Pregel
from stategraph.engine.streams.events.opening import factories_of as _normalize_stream_transformer_factories

__all__ = ("NodeBuilder", "Pregel")

__getattr__ = _names_of(__name__)
