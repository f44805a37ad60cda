"""One execution of a node in a window, and the order in which several are applied."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cmp_to_key
from itertools import zip_longest
from typing import Union

from stategraph.core.state import State
from stategraph.core.task import Task

Cause = Union["Firing", None]
"""A task that triggered a node; None for one of before the window."""


class Firing:
    """One execution of a node in a window.

    Attributes:
        task: The task.
        causes: The tasks of the window that triggered it.
        is_due: Whether one of before the window triggered it, too.
        order: Sorts the tasks of a wave: nodes by name, then packets. Those that are equal are sorted by their causes.
        index: The number of a packet among those of its sender.
        digest: Tells it from all others of the window, whatever ran first.
        bit: Stands for it in sets.
        past: The set of those that led to it.
        wave: The number of its superstep, from 1.
        ended: Whether it has ended.
    """

    __slots__ = ("bit", "causes", "digest", "ended", "index", "is_due", "order", "past", "task", "wave")

    def __init__(
        self, task: Task, bit: int, causes: Sequence[Cause], order: str, digest: str, *, index: int = 0
    ) -> None:
        known = [cause for cause in causes if cause is not None]
        self.task = task
        self.causes: Sequence[Firing] = known
        self.is_due = len(known) < len(causes)
        self.order = order
        self.index = index
        self.digest = digest
        self.bit = bit
        self.past = past_of(known)
        self.wave = wave_after(known)
        self.ended = False

    @property
    def by_edges(self) -> bool:
        """True if edges started it, not a packet or a failure."""
        return self.order[0] == "0"


def past_of(causes: Iterable[Cause]) -> int:
    """Return the set of tasks that led to what some tasks trigger, as bits."""
    past = 0
    for cause in causes:
        if cause is not None:
            past |= cause.past | cause.bit
    return past


def wave_after(causes: Iterable[Firing]) -> int:
    """Return the wave of what some tasks trigger."""
    return 1 + max((cause.wave for cause in causes), default=0)


def in_order(wave: Iterable[Firing]) -> list[Firing]:
    """Sort tasks as they are applied: it follows from the graph, not from what has ended first."""
    return sorted(wave, key=cmp_to_key(_compare))


def _compare(one: Firing, other: Firing) -> int:
    if one is other:
        return 0
    first, second = (one.wave, one.order), (other.wave, other.order)
    if first != second:
        return -1 if first < second else 1
    if one.is_due is not other.is_due:
        return -1 if one.is_due else 1
    for cause, cause_of_other in zip_longest(in_order(one.causes), in_order(other.causes)):
        if cause is None or cause_of_other is None:
            return -1 if cause is None else 1
        if difference := _compare(cause, cause_of_other):
            return difference
    return one.index - other.index


def rounds(wave: Iterable[Firing]) -> Wave:
    """Split a wave such that no node that edges start is twice in one superstep.

    Args:
        wave: Its tasks.
    """
    found: list[list[Firing]] = [[]]
    counts: dict[str, int] = {}
    for firing in in_order(wave):
        number = 0
        if firing.by_edges:
            number = counts.get(firing.task.name, 0)
            counts[firing.task.name] = number + 1
        if number == len(found):
            found.append([])
        found[number].append(firing)
    return found


Wave = list[list[Firing]]
"""The tasks of a wave, in parts that are applied one after the other; mostly there is one."""


def waves(firings: Iterable[Firing]) -> list[Wave]:
    """Return tasks as they are applied, one superstep after the other."""
    by_wave: dict[int, list[Firing]] = {}
    for firing in firings:
        by_wave.setdefault(firing.wave, []).append(firing)
    return [rounds(by_wave[number]) for number in sorted(by_wave)]


def apply(state: State, wave: Wave) -> set[str]:
    """Apply a wave to a state; returns the channels that changed and have a value."""
    first, *others = ([firing.task for firing in part] for part in wave)
    return state.apply(first, (), others)
