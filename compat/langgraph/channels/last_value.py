"""A channel that holds what was written last."""

from stategraph.core.channels.last_value import LastValue, LastValueAfterFinish

__all__ = ("LastValue", "LastValueAfterFinish")
