"""Ids that are the same in every run of a program, so that two runs can be compared byte by byte."""

from __future__ import annotations

from itertools import count
from uuid import UUID


class CountedIds:
    """Ids and random numbers for graphs and runs of this engine (``stategraph.engine.ports.IdFactory``), by counting.

    Give each simulated run a new one. Ids repeat between two of these, so let them not
    write to one thread.

    Example:
        >>> ids = CountedIds()
        >>> str(ids.unique()), ids.boundary()
        ('00000000-0000-4000-8000-000000000001', '00000002')
    """

    def __init__(self) -> None:
        self._numbers = count(1)

    def checkpoint_id(self, step: int, /) -> str:
        """Return the next id, in the form of a checkpoint's."""
        return f"{next(self._numbers):08x}-0000-6000-8000-{step + 2:012x}"

    def boundary(self) -> str:
        """Return a text that sorts after the ids made so far, and before those to come."""
        return f"{next(self._numbers):08x}"

    def unique(self) -> UUID:
        """Return the next id, in the form of a UUID of version 4."""
        return UUID(int=next(self._numbers), version=4)

    def random(self) -> float:
        """Return 0.5."""
        return 0.5
