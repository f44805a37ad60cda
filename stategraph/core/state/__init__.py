"""The state of a run: its live channels, how nodes read them, what a step does to them, and their versions.

It must never know which tasks come next, what is recorded of them, or when a checkpoint is stored: it is given writes
in their order, and says what they changed.
"""

from stategraph.core.state.state import State

__all__ = ("State",)
