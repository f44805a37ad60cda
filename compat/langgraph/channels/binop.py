"""A channel that reduces what is written into what it holds."""

from stategraph.core.channels.binop import BinaryOperatorAggregate

__all__ = ("BinaryOperatorAggregate",)
