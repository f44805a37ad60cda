"""A channel stored as a chain of changes."""

from stategraph.core.channels.delta import DeltaChannel

__all__ = ("DeltaChannel",)
