"""The engine."""

from stategraph.engine.engine import StateGraphEngine as Pregel
from stategraph.engine.events.opening import factories_of as _normalize_stream_transformer_factories
from stategraph.engine.node import NodeBuilder

__all__ = ("NodeBuilder", "Pregel")
