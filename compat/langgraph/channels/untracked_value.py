"""A channel that is never stored."""

from stategraph.core.channels.untracked import UntrackedValue
from stategraph.dropin_names import names_of as _names_of

__all__ = ("UntrackedValue",)

__getattr__ = _names_of(__name__)
