"""What every channel is."""

from stategraph.core.channels.base import BaseChannel
from stategraph.core.channels.base import Checkpoint as Checkpoint
from stategraph.core.channels.base import Update as Update
from stategraph.core.channels.base import Value as Value

__all__ = ("BaseChannel",)
