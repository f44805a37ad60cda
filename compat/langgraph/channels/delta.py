"""A channel stored as a chain of changes."""

from stategraph.core.channels.delta import DeltaChannel
from stategraph.dropin_names import names_of as _names_of

__all__ = ("DeltaChannel",)

__getattr__ = _names_of(__name__)
