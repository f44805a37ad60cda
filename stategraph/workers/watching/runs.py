"""Figures of a worker: runs that it executes, how long they waited and took, what it lost.

`WorkerMetrics` is an observer of a worker, see `stategraph.workers.worker.RunNotice`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from stategraph.workers.watching.exposition import Family, Histogram, gauge
from stategraph.workers.worker import RunNotice, WorkerHealth

#: Seconds that runs wait and take.
BUCKETS: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)


class Watched(Protocol):
    """A worker."""

    def health(self) -> WorkerHealth:
        """Describe it at this moment."""


class WorkerMetrics:
    """Counts what happens to runs on the workers of a process.

    Args:
        clock: Returns seconds of a clock that only goes forward.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._worker: Watched | None = None
        self._notices: Counter[tuple[str, str]] = Counter()
        self._takeovers = 0
        self._queue = Histogram(BUCKETS)
        self._durations: dict[str, Histogram] = {}
        self._claimed_at: dict[tuple[str, int], float] = {}

    def watch(self, worker: Watched) -> None:
        """Show a worker's health as well."""
        self._worker = worker

    def __call__(self, notice: RunNotice) -> None:
        """Count what happened to a run."""
        status = "" if notice.status is None else str(notice.status.value)
        self._notices[notice.kind, status] += 1
        key = (notice.run_id, notice.attempt)
        if notice.kind == "claimed":
            self._claimed_at[key] = self._clock()
            self._takeovers += notice.attempt > 1
            if notice.waited_s is not None:
                self._queue.observe(notice.waited_s)
            return
        began = self._claimed_at.pop(key, None)
        if began is not None and notice.kind == "ended":
            self._durations.setdefault(status, Histogram(BUCKETS)).observe(self._clock() - began)

    def families(self) -> Iterator[Family]:
        """Return the figures."""
        counted = [("", {"event": kind, "status": status}, n) for (kind, status), n in sorted(self._notices.items())]
        yield Family(
            "stategraph_worker_runs_total",
            "counter",
            "Runs by what happened to them here: claimed, ended, returned, lost, abandoned.",
            counted,
        )
        taken = "Runs that were claimed after an attempt that did not end: of a process that died, or gave them back."
        yield Family("stategraph_worker_takeovers_total", "counter", taken, [("", {}, self._takeovers)])
        waited = "Time that runs waited until they were claimed for the first time."
        yield Family("stategraph_run_queue_seconds", "histogram", waited, list(self._queue.samples({})))
        took = [each for s, h in sorted(self._durations.items()) for each in h.samples({"status": s})]
        yield Family("stategraph_run_duration_seconds", "histogram", "Time of attempts that ended a run.", took)
        if self._worker is not None:
            health = self._worker.health()
            yield gauge("stategraph_worker_capacity", "Runs that are executed here at a time.", health.capacity)
            yield gauge("stategraph_worker_busy", "Runs that are executed here.", health.busy)
            yield gauge("stategraph_worker_draining", "1: no more runs are claimed here.", health.draining)
            yield gauge(
                "stategraph_worker_events_unsaved", "Events of these runs that are not in the log yet.", health.unsaved
            )
