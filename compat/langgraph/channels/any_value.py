"""A channel that takes any of the values written in a step."""

from stategraph.core.channels.any_value import AnyValue

__all__ = ("AnyValue",)
