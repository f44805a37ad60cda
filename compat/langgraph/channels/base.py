"""The base of all channels."""

from stategraph.core.channels.base import BaseChannel
from stategraph.core.channels.base import Checkpoint as Checkpoint
from stategraph.core.channels.base import Update as Update
from stategraph.core.channels.base import Value as Value
from stategraph.dropin_names import names_of as _names_of

__all__ = ("BaseChannel",)

__getattr__ = _names_of(__name__)
