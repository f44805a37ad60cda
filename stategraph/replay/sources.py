"""Time, ids and chance for nodes: the machine's, and in a replay those that were recorded."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from stategraph.engine.config import environment


def now() -> datetime:
    """Return the time, in UTC; in a replay the one that was recorded."""
    return environment.current().datetime()


def uuid() -> UUID:
    """Return a new random id; in a replay the one that was recorded."""
    return environment.current().ids.unique()


def random() -> float:
    """Return a random number between 0 and 1; in a replay the one that was recorded."""
    return environment.current().ids.random()
