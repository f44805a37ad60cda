"""The lines between two layers of text: at which column each leaves and arrives, and in which row it goes sideways.

Rules
-----
* Lines leave and arrive at columns of their own, spread over the box, moved to be straight where that is possible.
* Two lines that go sideways in one row do not touch, and one that leaves a column goes sideways above one that arrives
  in it; only where these wishes form a circle, or a box is too narrow, lines share cells.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from stategraph.drawing.layout import Layout, Route, Slot

#: Columns from one line to the next at a box.
APART = 2


@dataclass(slots=True, eq=False)
class Line:
    """A part of an edge between two layers.

    Attributes:
        route: The edge.
        upper: Where it leaves.
        lower: Where it arrives.
        leaves: The column at which it leaves.
        arrives: The column at which it arrives.
        row: The row of the channel in which it goes sideways, from 1; 0 if it is straight.
    """

    route: Route
    upper: Slot
    lower: Slot
    leaves: int = 0
    arrives: int = 0
    row: int = 0

    @property
    def is_head(self) -> bool:
        """True if the edge ends in this part."""
        return self.upper is self.route.slots[0] if self.route.upward else self.lower is self.route.slots[-1]


@dataclass(frozen=True, slots=True)
class Box:
    """The columns of a place: the first and the last one."""

    left: int
    right: int


def channels(layout: Layout, box_of: Mapping[Slot, Box]) -> list[list[Line]]:
    """Return the lines of each channel, from the one below the first layer on."""
    found: list[list[Line]] = [[] for _ in layout.layers]
    for route in layout.routes:
        for upper, lower in pairwise(route.slots):
            found[upper.layer].append(Line(route, upper, lower))
    for lines in found:
        uppers = _ports(lines, box_of, lambda line: line.upper, lambda line: line.lower.x)
        lowers = _ports(lines, box_of, lambda line: line.lower, lambda line: line.upper.x)
        for port, line in uppers:
            line.leaves = port
        for port, line in lowers:
            line.arrives = port
        _straighten(lines, box_of)
        _rows(lines)
    return found


def _ports(
    lines: Sequence[Line],
    box_of: Mapping[Slot, Box],
    slot_of: Callable[[Line], Slot],
    towards: Callable[[Line], float],
) -> list[tuple[int, Line]]:
    """Return a column for each line at one of its ends, spread over the box there."""
    by_slot: dict[Slot, list[Line]] = defaultdict(list)
    for line in lines:
        by_slot[slot_of(line)].append(line)
    found = []
    for slot, own in by_slot.items():
        box = box_of[slot]
        own.sort(key=towards)
        width = box.right - box.left
        found += [
            (box.left + (width * (at + 1) + len(own) // 2) // (len(own) + 1), line) for at, line in enumerate(own)
        ]
    return found


def _straighten(lines: Sequence[Line], box_of: Mapping[Slot, Box]) -> None:
    """Move ends of lines along their boxes where that makes a line straight."""
    for line in sorted(lines, key=lambda line: abs(line.leaves - line.arrives)):
        if line.leaves == line.arrives:
            continue
        taken_below = [each.arrives for each in lines if each.lower is line.lower and each is not line]
        taken_above = [each.leaves for each in lines if each.upper is line.upper and each is not line]
        if line.lower.node is not None and _fits(line.leaves, line.arrives, box_of[line.lower], taken_below):
            line.arrives = line.leaves
        elif line.upper.node is not None and _fits(line.arrives, line.leaves, box_of[line.upper], taken_above):
            line.leaves = line.arrives


def _fits(wanted: int, now: int, box: Box, taken: Sequence[int]) -> bool:
    """Return whether a line may arrive at another column, without passing one of the others at its box."""
    if not box.left < wanted < box.right:
        return False
    low, high = min(now, wanted) - APART + 1, max(now, wanted) + APART - 1
    return not any(low <= each <= high for each in taken)


def _rows(lines: Sequence[Line]) -> None:
    """Give each line that is not straight a row."""
    bent = [line for line in lines if line.leaves != line.arrives]
    # A line that leaves a column must turn before one that arrives there comes down in it.
    before = {line: [each for each in bent if each is not line and each.leaves == line.arrives] for line in bent}
    waiting = sorted(bent, key=lambda line: (abs(line.arrives - line.leaves), line.leaves))
    done: list[Line] = []
    while waiting:
        free = (line for line in waiting if not any(other in waiting for other in before[line]))
        line = next(free, waiting[0])
        waiting.remove(line)
        line.row = _free_row(line, done, 1 + max((other.row for other in before[line]), default=0))
        done.append(line)


def _free_row(line: Line, others: Sequence[Line], row: int) -> int:
    """Return the first row from one on in which a line touches none of the others."""
    while any(other.row == row and _touch(line, other) for other in others):
        row += 1
    return row


def _touch(one: Line, other: Line) -> bool:
    first, second = sorted([sorted([one.leaves, one.arrives]), sorted([other.leaves, other.arrives])])
    return second[0] <= first[1] + 1
