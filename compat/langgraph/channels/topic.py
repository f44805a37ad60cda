"""A channel that collects values."""

from stategraph.core.channels.topic import Topic
from stategraph.dropin_names import names_of as _names_of

__all__ = ("Topic",)

__getattr__ = _names_of(__name__)
