"""A channel that holds what was written last."""

from stategraph.core.channels.last_value import LastValue, LastValueAfterFinish
from stategraph.dropin_names import names_of as _names_of

__all__ = ("LastValue", "LastValueAfterFinish")

__getattr__ = _names_of(__name__)
