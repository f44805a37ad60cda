"""Numbers of a thread's events: made of those of its runs and of what these have logged.

An event's number has, from the left, the number of its run in the registry, that of the logged event, and its place
among the events that are made of it. So it grows along a thread, and any process makes the same; it is below 2**53, as
clients in JavaScript need, for 2**25 runs of 2**20 logged events each.
"""

from __future__ import annotations

from typing import Final

_EVENTS: Final = 20
_PLACES: Final = 8
_LAST_PLACE: Final = 2**_PLACES - 1


def number_of(run: int, seq: int, place: int) -> int:
    """Return the number of an event.

    Args:
        run: The number of its run.
        seq: The number of the logged event.
        place: Its place among those that are made of it.
    """
    return (run << _EVENTS + _PLACES) + (seq << _PLACES) + min(place, _LAST_PLACE)


def run_of(number: int) -> int:
    """Return the number of the run of an event."""
    return number >> _EVENTS + _PLACES
