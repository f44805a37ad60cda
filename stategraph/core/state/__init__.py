"""The state of a run: its live channels, how nodes read them, what a step does to them, and their versions."""

from stategraph.core.state.state import State

__all__ = ("State",)
