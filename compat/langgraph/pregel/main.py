"""The engine."""

from stategraph.engine.node import NodeBuilder

__all__ = ("NodeBuilder",)
