"""A channel that is never stored."""

from stategraph.core.channels.untracked import UntrackedValue

__all__ = ("UntrackedValue",)
