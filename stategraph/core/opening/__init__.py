"""The opening of a run: its course, its input or answers, and a checkpoint that it goes back to."""

from stategraph.core.opening.opening import Opening

__all__ = ("Opening",)
