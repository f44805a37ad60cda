"""Figures of a plug-in."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from stategraph.resources.plugins.instance import Usage
from stategraph.resources.plugins.lifecycle import PluginState

#: Calls whose durations are kept.
_KEPT: Final = 512


@dataclass(frozen=True, slots=True)
class PluginStatus:
    """A plug-in at one moment.

    Attributes:
        name: Its name.
        state: Its state.
        detail: Why it is in that state; empty: nothing to say.
        since: Seconds since it came to that state.
        isolation: Where it runs: `none`, `process` or `sandbox`.
        generation: How many times it was started, replaced ones too.
        restarts: How many times it was started again because it was gone or not well.
        replaced: How many times a new instance took the place of one that was well.
        calls: Calls that ended.
        failed: Those of them that raised.
        timed_out: Those that took too long.
        running: Calls that run.
        p50_ms: Median duration of the last calls, in milliseconds; None: there was none.
        p99_ms: The same, of the slowest hundredth.
        events: Events that it published.
        dropped: Events that were dropped, because there were too many.
        usage: What its process uses.
    """

    name: str
    state: PluginState
    detail: str
    since: float
    isolation: str
    generation: int
    restarts: int
    replaced: int
    calls: int
    failed: int
    timed_out: int
    running: int
    p50_ms: float | None
    p99_ms: float | None
    events: int
    dropped: int
    usage: Usage


@dataclass(slots=True)
class Counters:
    """Counts what happens to a plug-in; the fields are those of `PluginStatus`."""

    generation: int = 0
    restarts: int = 0
    replaced: int = 0
    calls: int = 0
    failed: int = 0
    timed_out: int = 0
    running: int = 0
    events: int = 0
    dropped: int = 0
    durations: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT))

    def quantile(self, part: float) -> float | None:
        """Return a quantile of the last durations, in milliseconds."""
        found = sorted(self.durations)
        return round(found[min(len(found) - 1, int(part * len(found)))] * 1000, 3) if found else None


class TokenBucket:
    """Lets so many events pass a second.

    Args:
        rate: Events a second.
        most: Events at once.
    """

    def __init__(self, rate: float = 200.0, most: float = 1000.0) -> None:
        self._rate = rate
        self._most = most
        self._left = most
        self._at: float | None = None

    def take(self, now: float) -> bool:
        """Take one; false if there is none left."""
        if self._at is not None:
            self._left = min(self._most, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
