"""Token counts of messages as they are stored: few bytes for each step, however long the conversation.

A checkpoint stores a key of the state whole whenever it was written. So the counts of a context are spread over several
keys: the newest, which change with every step, and behind them `LEVELS`, each of which takes up the one before when
that has more than its share, and is written only then. A count is written a few times in all, not once for each step.

Rules:

- A count in front stands before one behind it. Counts of messages that are gone are dropped when a level is written.
- A context whose counts are all in front, as it was stored before there were levels, is read as any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

LEVELS: Final = ("counts_1", "counts_2", "counts_3")
"""Keys of the state, by agent; the later, the larger, and the more seldom written."""

_MOST: Final = (32, 256, 2048)
"""How many counts stay in front, and in each level but the last."""

Counts = Mapping[str, int]


def levels_of(state: Mapping[str, Any], agent_id: str) -> tuple[Counts, ...]:
    """Return an agent's counts in each level of a state; nothing if there are none."""
    if all(state.get(key) is None for key in LEVELS):
        return ()
    return tuple(((state.get(key) or {}).get(agent_id) or {}).get("counts", {}) for key in LEVELS)


def together(front: Counts, levels: Sequence[Counts]) -> Counts:
    """Return all counts."""
    if not levels:
        return front
    every: dict[str, int] = {}
    for level in reversed(levels):
        every |= level
    return every | dict(front)


def spread(counts: Counts, levels: Sequence[Counts]) -> tuple[dict[str, int], dict[str, dict[str, int]]]:
    """Choose what is stored of counts.

    Args:
        counts: All counts.
        levels: What is stored in each level; nothing if nothing is.

    Returns:
        The counts in front, and for each level that has to be written, by its key, the counts in it.
    """
    stored = together({}, levels)
    front = {name: count for name, count in counts.items() if stored.get(name) != count} if stored else dict(counts)
    written: dict[str, dict[str, int]] = {}
    moved = front
    for number, (key, most) in enumerate(zip(LEVELS, _MOST, strict=True)):
        if len(moved) <= most:
            break
        if number == 0:
            front = {}
        else:
            written[LEVELS[number - 1]] = {}
        before = levels[number] if levels else {}
        moved = {name: count for name, count in before.items() if name in counts} | moved
        written[key] = moved
    return front, written
