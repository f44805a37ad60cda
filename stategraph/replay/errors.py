"""The errors of recordings: one that cannot be made or read, and a replay that came to something else."""

from __future__ import annotations


class RecordingError(ValueError):
    """A run cannot be recorded, or a file is not a recording that can be replayed; the message says why."""


class ReplayMismatch(AssertionError):
    """A replay came to something else than its recording: the first difference, in words.

    Attributes:
        node: The node, with those around it, as `outer/inner`; empty if it was not inside of one.
        step: The step of the run; None where it is not known.
    """

    def __init__(self, message: str, *, node: str = "", step: int | None = None) -> None:
        super().__init__(message)
        self.node = node
        self.step = step
