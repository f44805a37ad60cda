"""A channel that collects values."""

from stategraph.core.channels.topic import Topic

__all__ = ("Topic",)
