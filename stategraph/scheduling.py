"""The words for when nodes start, and how several that run beside each other end; see `docs/dataflow.md`."""

from typing import Literal

__all__ = ("Join", "Scheduling")

Scheduling = Literal["barrier", "dataflow"]
"""The time at which the nodes begin that a step starts: when all of the step have run, or when their own inputs are
there."""

Join = Literal["all", "any", "all_selected"]
"""The way in which the edges that lead to a node start it: once all have been taken, by each of them, or once all that
were selected have been."""
