"""Common base of the pools of one machine: the queue, the assignment of jobs to workers, and the loss of a worker.

A backend provides links to its workers; everything else is here, so that jobs behave alike in each of them.

- The job with the highest priority goes first, then the one that has waited longest, to the worker with the fewest
  jobs. A job of the kind `task` has its worker to itself.
- A worker that dies fails the jobs that it held, each with an error that names both, and is replaced. Workers that die
  before they are ready hold no job, and are replaced ever more slowly.
- A worker that has done `max_jobs_per_worker` jobs, or has grown beyond its limit, gets no more, ends what it has and
  is replaced.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import time
from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol, Self

from stategraph.errors import WorkerError
from stategraph.workers.handle import HostedJob
from stategraph.workers.hosting import HostingPool, at_least_one, fields_of
from stategraph.workers.pool import Job, PoolHealth, PoolStatistics, WorkerStatistics
from stategraph.workers.wire import Message

_log = logging.getLogger(__name__)

_LONGEST_BACKOFF_S = 5.0


class WorkerLink(Protocol):
    """A worker, as its pool sees it."""

    @property
    def pid(self) -> int | None:
        """Its process; None for one in this process."""

    def send(self, message: Message) -> None:
        """Send it a message, in order."""

    def rss_bytes(self) -> int | None:
        """Return its resident memory; None if that is not known."""

    def kill(self, why: str) -> None:
        """Stop it in any state. The pool is told when it is gone."""

    async def stop(self) -> None:
        """Let it end; it holds no job."""


@dataclass(eq=False, slots=True)
class Seat:
    """A worker and what it holds.

    Attributes:
        name: The worker's name.
        link: The way to it.
        jobs: What it holds, by id.
        ended: How many jobs ended on it.
        ready: Whether it can take jobs: a worker that dies while it starts takes none with it.
        retiring: Whether it gets no more.
        killed: Why it was killed; None if it was not.
        gone: Set when it is gone.
    """

    name: str
    link: WorkerLink
    jobs: dict[str, HostedJob] = field(default_factory=dict)
    ended: int = 0
    ready: bool = False
    retiring: bool = False
    killed: str | None = None
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def has_task(self) -> bool:
        """True if it holds a job that wants it for itself."""
        return any(each.job.kind == "task" for each in self.jobs.values())


class ScheduledPool(HostingPool):
    """A pool whose queue is in this process.

    Args:
        workers: How many workers.
        allow: Modules that targets and values may be imported from; a package stands for all in it.
        max_concurrency_per_worker: How many jobs of the kind `run` a worker has at a time.
        max_jobs_per_worker: After so many a worker is replaced; None: never.
        grace_s: Seconds that a cancelled job has to end.

    Attributes:
        when_room: Called when there may be room for another job.
    """

    #: The backend's name.
    backend: str

    def __init__(
        self,
        workers: int = 2,
        *,
        allow: Iterable[str] = (),
        max_concurrency_per_worker: int = 1,
        max_jobs_per_worker: int | None = None,
        grace_s: float = 5.0,
    ) -> None:
        for name, number in (("workers", workers), ("max_concurrency_per_worker", max_concurrency_per_worker)):
            at_least_one(name, number)
        if max_jobs_per_worker is not None:
            at_least_one("max_jobs_per_worker", max_jobs_per_worker)
        super().__init__(allow, grace_s)
        self.when_room: Callable[[], None] = lambda: None
        self._wanted = workers
        self._most_jobs = max_concurrency_per_worker
        self._most_ended = max_jobs_per_worker
        self._queue: list[tuple[int, int, HostedJob]] = []
        self._order = itertools.count()
        self._names = itertools.count(1)
        self._seats: list[Seat] = []
        self._deaths = 0
        self._last_error: str | None = None

    # For backends to provide.

    @abstractmethod
    def _start(self, name: str) -> WorkerLink:
        """Start a worker. It reports by `_received` and `_died`."""

    # The port.

    async def __aenter__(self) -> Self:
        self._affinity.check()
        self._fill()
        return self

    def enter(self, hosted: HostedJob) -> None:
        """Put a job into the queue, see `HostingPool.enter`."""
        self._accept(hosted)
        self._fill()
        heapq.heappush(self._queue, (-hosted.job.priority, next(self._order), hosted))
        self._dispatch()

    def forget(self, job_id: str) -> None:
        """Forget a job that has ended, so that its id may come again."""
        self._ended.pop(job_id, None)

    def room(self) -> int:
        """Return how many further jobs of the kind `run` would begin at once."""
        free = sum(
            self._most_jobs - len(each.jobs) for each in self._seats if self._is_open(each) and not each.has_task
        )
        return free - sum(hosted.outcome is None for _, _, hosted in self._queue)

    @staticmethod
    def _is_open(seat: Seat) -> bool:
        return seat.ready and not seat.retiring

    def allow(self, modules: Iterable[str]) -> None:
        """Let workers import further modules: those that this program itself names."""
        new = [each for each in modules if not self.targets.permits(each)]
        if new:
            self.targets.allow(new)
            for seat in self._seats:
                seat.link.send(("allow", new))

    async def resize(self, workers: int) -> None:
        """Have more or fewer workers, see `WorkerPool.resize`."""
        self._affinity.check()
        at_least_one("workers", workers)
        self._wanted = workers
        free = sorted((each for each in self._seats if not each.retiring), key=lambda each: len(each.jobs))
        for seat in free[: max(0, len(free) - workers)]:
            self._retire(seat)
        self._fill()
        self._dispatch()

    async def health(self) -> PoolHealth:
        """Return the pool's present state, see `WorkerPool.health`."""
        self._affinity.check()
        waiting = [each.submitted_at for _, _, each in self._queue if each.outcome is None]
        return PoolHealth(
            workers=sum(map(self._is_open, self._seats)),
            busy=sum(bool(each.jobs) for each in self._seats),
            queued=len(waiting),
            oldest_wait_s=time.monotonic() - min(waiting) if waiting else 0.0,
            restarts=self._count["restarts"],
            last_error=self._last_error,
        )

    def statistics(self) -> PoolStatistics:
        """Return the pool's statistics so far, see `WorkerPool.statistics`."""
        count = self._count
        workers = tuple(
            WorkerStatistics(each.name, each.link.pid, tuple(each.jobs), each.ended, each.link.rss_bytes())
            for each in self._seats
        )
        return PoolStatistics(
            count["submitted"], count["completed"], count["failed"], count["cancelled"], count["recycled"], workers
        )

    # Workers.

    async def _stop_workers(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*(self._dismiss(each) for each in list(self._seats)))
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _fill(self) -> None:
        """Start workers that are missing."""
        while not self._closed and sum(not each.retiring for each in self._seats) < self._wanted:
            name = f"{self.backend}-{next(self._names)}"
            self._seats.append(Seat(name, self._start(name)))

    def _seat(self, name: str) -> Seat | None:
        return next((each for each in self._seats if each.name == name), None)

    def _retire(self, seat: Seat) -> None:
        """Give a worker no more jobs; it leaves when it has none."""
        seat.retiring = True
        if not seat.jobs:
            self._spawn(self._dismiss(seat))

    async def _dismiss(self, seat: Seat) -> None:
        """Let a worker end that holds no job."""
        seat.retiring = True
        await seat.link.stop()
        if seat in self._seats:
            self._seats.remove(seat)
        seat.gone.set()

    def _kill(self, seat: Seat, why: str) -> None:
        if seat.killed is None:
            seat.retiring, seat.killed = True, why
            seat.link.kill(why)

    def _died(self, name: str, how: str) -> None:
        """Handle the loss of a worker, which ended by itself or was killed."""
        seat = self._seat(name)
        if seat is None:
            return
        self._seats.remove(seat)
        seat.gone.set()
        held, seat.jobs = list(seat.jobs.values()), {}
        for hosted in held:
            others = ", ".join(repr(each.job.id) for each in held if each is not hosted)
            beside = f" (and {others})" if others else ""
            ended = f"was stopped: {seat.killed}" if seat.killed is not None else how
            hosted.fail(WorkerError(f"Worker '{name}' {ended}, while it held job '{hosted.job.id}'{beside}"))
            self._job_ended(hosted)
        if self._closed:
            return
        if seat.killed is None and not (seat.retiring and not held):
            self._deaths += 0 if seat.ready else 1
            self._count["restarts"] += 1
            doing = f", while it held job {', '.join(repr(each.job.id) for each in held)}" if held else ""
            self._last_error = f"Worker '{name}' {how}{doing}"
            _log.error(self._last_error)
        self._spawn(self._replace())

    async def _replace(self) -> None:
        """Start a worker in place of one that is gone, the later the more of them died before they were ready."""
        if self._deaths:
            await asyncio.sleep(min(_LONGEST_BACKOFF_S, 0.05 * 2**self._deaths))
        self._fill()
        self._dispatch()

    def _received(self, name: str, message: Message) -> None:
        """Handle a message of a worker."""
        seat = self._seat(name)
        if seat is None:
            return
        if message[0] == "ready":
            seat.ready, self._deaths = True, 0
            self._dispatch()
            return
        hosted = seat.jobs.get(message[1])
        if hosted is None:
            return
        hosted.receive(message)
        if message[0] in ("done", "failed", "cancelled"):
            left_behind = message[0] == "cancelled" and message[3]
            self._leave(seat, hosted, left_behind=left_behind)

    def _leave(self, seat: Seat, hosted: HostedJob, *, left_behind: bool) -> None:
        """Handle the end of a job on its worker; one whose thread still runs is followed by no other."""
        del seat.jobs[hosted.job.id]
        seat.ended += 1
        self._job_ended(hosted)
        if left_behind:
            self._kill(seat, f"job '{hosted.job.id}' was cancelled, and its function goes on")
            self._fill()
        elif seat.retiring:
            self._retire(seat)
        elif self._is_worn(seat):
            self._count["recycled"] += 1
            self._retire(seat)
            self._fill()
        self._dispatch()

    def _is_worn(self, seat: Seat) -> bool:
        return self._most_ended is not None and seat.ended >= self._most_ended

    # Jobs.

    def _dispatch(self) -> None:
        while self._queue:
            _, _, hosted = self._queue[0]
            if hosted.outcome is not None:
                heapq.heappop(self._queue)
                continue
            seat = self._free_for(hosted.job)
            if seat is None:
                return
            heapq.heappop(self._queue)
            self._give(seat, hosted)
        self.when_room()

    def _free_for(self, job: Job) -> Seat | None:
        """Return the worker with the fewest jobs, if it can take this one."""
        most = 1 if job.kind == "task" else self._most_jobs
        free = [each for each in self._seats if self._is_open(each) and len(each.jobs) < most and not each.has_task]
        return min(free, key=lambda each: len(each.jobs), default=None)

    def _give(self, seat: Seat, hosted: HostedJob) -> None:
        job = hosted.job
        seat.jobs[job.id] = hosted
        seat.link.send(("job", fields_of(job)))
        hosted.begun(seat.link.send)
        if job.timeout_s is not None:
            self._after(job.timeout_s, hosted, self._too_slow)

    def _withdraw(self, hosted: HostedJob) -> None:
        """Leave it in the queue, which passes over jobs that have ended."""

    def stop_worker_of(self, hosted: HostedJob, why: str) -> None:
        """Stop the worker that holds a job, with whatever else it holds."""
        for seat in self._seats:
            if seat.jobs.get(hosted.job.id) is hosted:
                self._kill(seat, why)
