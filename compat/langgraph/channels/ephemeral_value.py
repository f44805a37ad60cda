"""A channel that forgets after one step."""

from stategraph.core.channels.ephemeral import EphemeralValue
from stategraph.dropin_names import names_of as _names_of

__all__ = ("EphemeralValue",)

__getattr__ = _names_of(__name__)
