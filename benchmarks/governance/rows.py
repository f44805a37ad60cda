"""Rows of the table: a figure, its unit, and the budget that it has."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """A row.

    Attributes:
        name: What is measured.
        measure: Measures it, given the number of rounds.
        unit: Of the figure, such as `us` or `rows/s`.
        most: The budget, where less is better; None: there is none of this kind.
        least: The budget, where more is better.
    """

    name: str
    measure: Callable[[int], float]
    unit: str = "us"
    most: float | None = None
    least: float | None = None

    def judged(self, figure: float) -> str:
        """Return the budget in words, and whether the figure keeps it."""
        if self.most is not None:
            return f"< {self.most:,g}{'' if figure < self.most else '  OVER'}"
        if self.least is not None:
            return f">= {self.least:,g}{'' if figure >= self.least else '  UNDER'}"
        return ""


def microseconds(call: Callable[[], object], rounds: int, *, calls: int = 1000) -> float:
    """Return the processor time of one call in microseconds: the median of rounds of many calls."""
    for _ in range(calls // 10 + 1):
        call()
    gc.collect()
    found = []
    for _ in range(rounds):
        begun = time.thread_time_ns()
        for _ in range(calls):
            call()
        found.append((time.thread_time_ns() - begun) / calls / 1000)
    return statistics.median(found)
