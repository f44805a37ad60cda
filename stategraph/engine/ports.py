"""The ports of the engine: what a run needs of the world around it, one contract each.

Each port is implemented once in this package; tests, workers and simulations bring implementations of their own, which
`stategraph.engine.config.environment.use` puts in place.
"""

from __future__ import annotations

from typing import Protocol
from uuid import UUID


class Clock(Protocol):
    """Tells the time and lets it pass, for all in a run that would ask the machine; an event loop has its own."""

    def time(self) -> float:
        """Return the time in seconds since the epoch."""

    def monotonic(self) -> float:
        """Return a reading in seconds that never goes back; only differences mean anything."""

    def sleep(self, seconds: float, /) -> None:
        """Wait in a thread."""

    async def asleep(self, seconds: float, /) -> None:
        """Wait in an event loop."""


class IdFactory(Protocol):
    """Makes ids that no other call gets, and the random numbers that vary waiting times."""

    def checkpoint_id(self, step: int, /) -> str:
        """Return the id of a new checkpoint, greater than all before; `step` is -2 before anything was written."""

    def boundary(self) -> str:
        """Return a text that sorts after all checkpoint ids made so far, and before all to come."""

    def unique(self) -> UUID:
        """Return a new id for anything else."""

    def random(self) -> float:
        """Return a number between 0 and 1."""
