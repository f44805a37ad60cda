"""The opening of a run: its course, its input or answers, and a checkpoint that it goes back to.

It must never know the machine that it opens, nor how a task ends: it leaves a run that can be planned.
"""

from stategraph.core.opening.opening import Opening, take_plainly

__all__ = ("Opening", "take_plainly")
