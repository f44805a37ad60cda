"""A channel that takes any of the values written in a step."""

from stategraph.core.channels.any_value import AnyValue
from stategraph.dropin_names import names_of as _names_of

__all__ = ("AnyValue",)

__getattr__ = _names_of(__name__)
