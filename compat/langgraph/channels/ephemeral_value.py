"""A channel that forgets after one step."""

from stategraph.core.channels.ephemeral import EphemeralValue

__all__ = ("EphemeralValue",)
