"""The decision how many workers there should be: pure, with times as arguments.

Rules
-----
* There are never fewer workers than `least`, nor more than `most`.
* More, as soon as the queue would not be empty within `target_queue_s`: as many as would empty it, twice as many as
  there are at most. How long a job takes is known from what ran and what ended (Little's law, "A Proof for the Queuing
  Formula L = lambda W", 1961). One more, if that is not known yet, or if the oldest job has waited longer all the same.
* More, if jobs take longer than `target_latency_s` in all while every worker has its fill; not where workers are idle,
  as more of them would change nothing.
* Fewer, only if nothing waits and so many would have been enough all the time for `down_after_s`: of what was needed in
  that time the most counts. "Enough" leaves a fifth of the places free, so that what is right for fewer workers does
  not ask for more at once.
* After a change there is no further one for `up_after_s` upwards, nor for `down_after_s` downwards. Each time that
  fewer turn out to be too few, that pause doubles, up to eight times as long; it is as before when fewer were enough.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

from stategraph.errors import ConfigurationError

#: The part of the places that are taken where so many workers are enough.
ENOUGH: Final = 0.8

#: Seconds that the time of jobs is estimated from.
MEASURED_S: Final = 60.0

#: By how much the pause before there are fewer grows at most.
MOST_PATIENCE: Final = 8

#: Changes that are remembered.
REMEMBERED: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingSettings:
    """Limits and targets of the number of workers.

    Attributes:
        least: At least so many workers, 0 or more.
        most: At most so many.
        capacity: Jobs that one worker has at a time.
        target_queue_s: Seconds within which what waits should have begun.
        target_latency_s: Seconds that jobs should take from their submission to their end; None: however long.
        up_after_s: Seconds from one change until there are more.
        down_after_s: Seconds for which fewer have to be enough, and from one change until there are fewer.
    """

    least: int = 1
    most: int = 4
    capacity: int = 1
    target_queue_s: float = 10.0
    target_latency_s: float | None = None
    up_after_s: float = 5.0
    down_after_s: float = 60.0

    def __post_init__(self) -> None:
        if not 0 <= self.least <= self.most or self.most < 1:
            raise ConfigurationError(
                f"Workers are scaled from {self.least} to {self.most}; expected 0 <= least <= most, and most >= 1"
            )
        if self.capacity < 1:
            raise ConfigurationError(f"'capacity' is {self.capacity}; expected at least 1 job at a time")
        for name in ("target_queue_s", "target_latency_s"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigurationError(f"'{name}' is {value}; expected a number of seconds above 0")
        for name in ("up_after_s", "down_after_s"):
            if not getattr(self, name) >= 0:
                raise ConfigurationError(f"'{name}' is {getattr(self, name)}; expected 0 seconds or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A pool at one moment.

    Attributes:
        at: The time, in seconds of a clock that only goes forward.
        workers: How many there are, or are being started.
        running: Jobs that are being done.
        queued: Jobs that wait.
        oldest_wait_s: Seconds that the first of them has waited.
        ended: Jobs that have ended since the beginning.
    """

    at: float
    workers: int
    running: int = 0
    queued: int = 0
    oldest_wait_s: float = 0.0
    ended: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """A change of the number of workers.

    Attributes:
        at: The time of the observation that it was decided on.
        before: How many workers there were.
        after: How many there should be.
        reason: Why, as a sentence.
        queued: Jobs that waited.
        oldest_wait_s: Seconds that the first of them had waited.
        job_s: Seconds that a job took; None: that was not known.
    """

    at: float
    before: int
    after: int
    reason: str
    queued: int
    oldest_wait_s: float
    job_s: float | None

    def to_json(self) -> dict[str, object]:
        """Return it as JSON."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


class Meter:
    """Estimates how long a job takes on its worker: the jobs that ran, summed over time, for each that ended."""

    def __init__(self, over_s: float = MEASURED_S) -> None:
        self._over_s = over_s
        self._kept: deque[tuple[float, float, int]] = deque()
        self._running = 0

    def note(self, at: float, running: int, ended: int) -> None:
        """Note what runs, and how many have ended since the beginning."""
        last_at, worked, _ = self._kept[-1] if self._kept else (at, 0.0, ended)
        self._kept.append((at, worked + (self._running + running) / 2 * max(0.0, at - last_at), ended))
        self._running = running
        while len(self._kept) > 2 and self._kept[1][0] <= at - self._over_s:
            self._kept.popleft()

    @property
    def job_s(self) -> float | None:
        """Seconds that a job takes; None: none has ended yet."""
        if len(self._kept) < 2:
            return None
        (_, worked_before, ended_before), (_, worked, ended) = self._kept[0], self._kept[-1]
        if ended <= ended_before or worked <= worked_before:
            return None
        return (worked - worked_before) / (ended - ended_before)


class Scaler:
    """Decides how many workers there should be, and remembers why.

    Args:
        settings: Limits and targets.
    """

    def __init__(self, settings: ScalingSettings) -> None:
        self.settings = settings
        self._meter = Meter()
        self._needed: deque[tuple[float, int]] = deque()
        self._changed_at = -math.inf
        self._patience = 1
        self._began_at: float | None = None
        self._history: deque[Change] = deque(maxlen=REMEMBERED)
        self._wanted = settings.least

    @property
    def wanted(self) -> int:
        """The number of workers that there should be, by the last decision."""
        return self._wanted

    @property
    def history(self) -> Sequence[Change]:
        """The last changes, the oldest first."""
        return tuple(self._history)

    @property
    def job_s(self) -> float | None:
        """Seconds that a job takes on its worker; None: that is not known."""
        return self._meter.job_s

    def decide(self, seen: Seen) -> int:
        """Return how many workers there should be.

        Args:
            seen: The pool now; not earlier than before.
        """
        chosen = self.settings
        self._meter.note(seen.at, seen.running, seen.ended)
        if self._began_at is None:
            self._began_at = seen.at
        self._remember(seen.at, self._enough(seen))
        after, reason = self._more(seen)
        if after <= seen.workers:
            after, reason = self._fewer(seen)
        bounded = max(chosen.least, min(chosen.most, after))
        if bounded != after:
            reason = f"there are {chosen.least} to {chosen.most} workers"
        if bounded != seen.workers:
            self._note_turn(bounded > seen.workers)
            self._changed_at = seen.at
            self._history.append(
                Change(seen.at, seen.workers, bounded, reason, seen.queued, seen.oldest_wait_s, self.job_s)
            )
        self._wanted = bounded
        return bounded

    def _note_turn(self, is_more: bool) -> None:
        """Wait longer before the next time that there are fewer, if the last time was a mistake."""
        last = self._history[-1] if self._history else None
        if last is None or last.after > last.before:
            return
        self._patience = min(MOST_PATIENCE, 2 * self._patience) if is_more else 1

    def _places(self, jobs: float) -> int:
        """Return how many workers have places for so many jobs at a time."""
        return math.ceil(jobs / self.settings.capacity - 1e-9)

    def _enough(self, seen: Seen) -> int:
        """Return how many workers are enough for what runs and waits, with some places free."""
        return self._places((seen.running + seen.queued) / ENOUGH)

    def _more(self, seen: Seen) -> tuple[int, str]:
        """Return how many workers the targets ask for, and why."""
        chosen, job_s = self.settings, self.job_s
        if seen.at - self._changed_at < chosen.up_after_s:
            return seen.workers, ""
        if not seen.workers and seen.queued:
            return max(1, chosen.least), "jobs wait, and there is no worker"
        after, reason = seen.workers, ""
        if seen.queued and job_s is not None:
            needed = self._places(seen.running + seen.queued * job_s / chosen.target_queue_s)
            if needed > after:
                after = min(needed, 2 * seen.workers)
                reason = f"{seen.queued} jobs of {job_s:.3g} s wait, for less than {chosen.target_queue_s:g} s"
        if seen.queued and seen.oldest_wait_s > chosen.target_queue_s and after == seen.workers:
            after = seen.workers + 1
            reason = f"a job has waited {seen.oldest_wait_s:.3g} s, more than {chosen.target_queue_s:g} s"
        is_full = seen.running >= seen.workers * chosen.capacity
        limit, took_s = chosen.target_latency_s, (job_s or 0.0) + seen.oldest_wait_s
        if limit is not None and took_s > limit and is_full and after == seen.workers:
            after = seen.workers + 1
            reason = f"jobs take {took_s:.3g} s, more than {limit:g} s, and every worker is full"
        return after, reason

    def _fewer(self, seen: Seen) -> tuple[int, str]:
        """Return how many workers were enough all the time, and why that counts."""
        chosen = self.settings
        assert self._began_at is not None
        since = max(self._changed_at, self._began_at)
        if seen.queued or seen.at - since < chosen.down_after_s * self._patience:
            return seen.workers, ""
        enough = max(needed for _, needed in self._needed)
        if enough >= seen.workers:
            return seen.workers, ""
        return enough, f"{enough} workers were enough for {chosen.down_after_s:g} s"

    def _remember(self, at: float, needed: int) -> None:
        self._needed.append((at, needed))
        while self._needed[0][0] < at - self.settings.down_after_s:
            self._needed.popleft()
