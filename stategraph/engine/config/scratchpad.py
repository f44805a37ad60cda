"""Counters of one running task: its place in the run, and how many children, calls and waits it had.

The counters number things in the order in which the task asks for them. Task ids, and the answers to a task's
interrupts, are derived from these numbers, so a task that runs again must count the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any


def new_counter() -> Callable[[], int]:
    """Make a function that returns 0, 1, 2, ...

    Each number is given out once, whichever threads ask: one step of `itertools.count` cannot be divided.
    """
    return count().__next__


@dataclass(frozen=True, kw_only=True, slots=True)
class PregelScratchpad:
    """The bookkeeping of one task.

    Attributes:
        step: The superstep that the task belongs to.
        stop: The first superstep that the run may not take.
        call_counter: Numbers the functional tasks that this task calls.
        interrupt_counter: Numbers the interrupts that this task asks for.
        get_null_resume: Returns the answer that was given to no interrupt in particular, or None. With True, takes it,
            so that no other call gets it.
        resume: The answers to this task's interrupts, in order.
        subgraph_counter: Numbers the graphs that this task runs.
    """

    step: int
    stop: int
    call_counter: Callable[[], int]
    interrupt_counter: Callable[[], int]
    get_null_resume: Callable[[bool], Any]
    resume: list[Any]
    subgraph_counter: Callable[[], int]
