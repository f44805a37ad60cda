"""The engine."""

from stategraph.engine.engine import StateGraphEngine as Pregel
from stategraph.engine.node import NodeBuilder

__all__ = ("NodeBuilder", "Pregel")
