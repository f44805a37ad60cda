"""Ids of checkpoints: UUIDs of version 6, which sort by the time they were made.

Rules
-----
* The latest checkpoint of a thread is the one with the greatest id, so all ids of a process come from one clock that
  never stands still: this one.
* The sequence number is the step's, as in LangGraph's checkpoints.
"""

from __future__ import annotations

import random
import time
from typing import Final

_EPOCH: Final = 0x01B21DD213814000
"""Distance between the epochs of UUIDs (1582-10-15) and of Unix, in units of 100 ns."""

_last = 0


def new_checkpoint_id(step: int) -> str:
    """Return a new id, greater than all before.

    Spelled at once: a run that stores at its end makes one for each step, and by way of `uuid.UUID` it takes three
    times as long.

    Args:
        step: The step's number; -2 for the state before anything was written.
    """
    global _last
    now = time.time_ns() // 100 + _EPOCH
    if now <= _last:
        now = _last + 1
    _last = now
    parts = (now >> 28, now >> 12 & 0xFFFF, now & 0xFFF, 0x8000 | step & 0x3FFF, random.getrandbits(48))
    return "%08x-%04x-6%03x-%04x-%012x" % parts  # noqa: UP031  an f-string takes a third longer


def moment() -> int:
    """Return a moment on the clock that ids are made by: after all ids made so far, before all to come."""
    global _last
    now = time.time_ns() // 100 + _EPOCH
    if now <= _last:
        now = _last + 1
    _last = now
    return now


def earliest_id(at: int) -> str:
    """Return the least that an id made at a moment, or later, can be; for comparisons."""
    return "%08x-%04x-6%03x" % (at >> 28, at >> 12 & 0xFFFF, at & 0xFFF)  # noqa: UP031
