"""The host's side of each pool: ids of jobs, deadlines, cancelling, draining, counting.

- A job that is cancelled has `grace_s` seconds to end; then its worker is stopped, with whatever else it holds. A task
  at its deadline has none.
- An id that the pool knows, also of one of the last jobs that ended, stands for the job that it has.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Self

from stategraph.errors import ConfigurationError, JobTimeoutError, WorkerError
from stategraph.run.loop_affinity import LoopAffinity
from stategraph.workers.handle import HostedJob
from stategraph.workers.pool import Calls, EventSink, Job, PoolHealth, PoolStatistics
from stategraph.workers.references import Targets, split
from stategraph.workers.wire import Codec

#: Jobs that have ended and whose ids are known still.
ENDED_KEPT = 1024


class HostingPool(ABC):
    """The jobs of a pool, wherever they run.

    Args:
        allow: Modules that targets and values may be imported from; a package stands for all in it.
        grace_s: Seconds that a cancelled job has to end.
    """

    #: Whether jobs wait outside of this process, and are begun again when their worker is lost.
    begins_again = False

    def __init__(self, allow: Iterable[str], grace_s: float) -> None:
        self.targets = Targets(allow)
        self.codec = Codec(self.targets)
        self._grace_s = grace_s
        self._affinity = LoopAffinity("The worker pool")
        self._jobs: dict[str, HostedJob] = {}
        self._ended: OrderedDict[str, HostedJob] = OrderedDict()
        self._timers: dict[str, list[asyncio.TimerHandle]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._count = {"submitted": 0, "completed": 0, "failed": 0, "cancelled": 0, "recycled": 0, "restarts": 0}
        self._refusing: str | None = None
        self._closed = False

    # For backends to provide.

    @abstractmethod
    def _withdraw(self, hosted: HostedJob) -> None:
        """Take a job out of the queue; no worker has begun it."""

    @abstractmethod
    def stop_worker_of(self, hosted: HostedJob, why: str) -> None:
        """Stop the worker that holds a job, which does not end by itself."""

    @abstractmethod
    async def _stop_workers(self) -> None:
        """Stop all workers; the jobs have been cancelled."""

    @abstractmethod
    def enter(self, hosted: HostedJob) -> None:
        """Have a job done that its submitter has made, with an id that is not known.

        Nothing is waited for: if it cannot be brought to a worker, it ends with that error.

        Raises:
            TransferError: The target is no import path, or is not allowed.
            WorkerError: The pool takes no more jobs.
        """

    @abstractmethod
    def allow(self, modules: Iterable[str]) -> None:
        """Let the pool's own workers import further modules: those that this program itself names."""

    @abstractmethod
    async def __aenter__(self) -> Self: ...

    @abstractmethod
    async def resize(self, workers: int) -> None:
        """Have more or fewer workers, see `WorkerPool.resize`."""

    @abstractmethod
    async def health(self) -> PoolHealth:
        """Return the pool's present state, see `WorkerPool.health`."""

    @abstractmethod
    def statistics(self) -> PoolStatistics:
        """Return the pool's statistics so far, see `WorkerPool.statistics`."""

    # The port.

    async def submit(self, job: Job, *, calls: Calls | None = None, log: EventSink | None = None) -> HostedJob:
        """Have a job done, see `WorkerPool.submit`."""
        known = self.known(job)
        if known is None:
            known = HostedJob(job, self.codec, calls, log)
            self.enter(known)
        return known

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Cancel the remaining jobs and stop all workers, see `WorkerPool.aclose`."""
        self._affinity.check()
        if self._closed:
            return
        self._closed, self._refusing = True, "the pool is closed"
        try:
            await asyncio.gather(*(each.cancel("The pool was closed") for each in list(self._jobs.values())))
        finally:
            await self._stop_workers()

    async def drain(self, timeout: float = 30.0) -> None:  # noqa: ASYNC109 (what is left is cancelled, not given up)
        """Let the accepted jobs end, see `WorkerPool.drain`."""
        self._affinity.check()
        self._refusing = self._refusing or "the pool is being drained"
        left = list(self._jobs.values())
        if left:
            await asyncio.wait([asyncio.ensure_future(each.ended()) for each in left], timeout=timeout)
        await asyncio.gather(
            *(each.cancel(f"The pool was drained for {timeout:g} s") for each in list(self._jobs.values()))
        )

    # Jobs.

    def known(self, job: Job) -> HostedJob | None:
        """Return the job that has this id already; None if this is a new one."""
        self._affinity.check()
        return self._jobs.get(job.id) or self._ended.get(job.id)

    def _accept(self, hosted: HostedJob) -> None:
        """Begin to keep a job.

        Raises:
            TransferError: The target is no import path, or is not allowed.
            WorkerError: The pool takes no more jobs.
        """
        self._affinity.check()
        if self._refusing is not None:
            raise WorkerError(f"Job '{hosted.job.id}' was not accepted: {self._refusing}")
        module, _ = split(hosted.job.target)
        if not self.targets.permits(module):
            self.targets.load(hosted.job.target)
        hosted.stopping = lambda reason: self._stop_job(hosted, reason)
        self._jobs[hosted.job.id] = hosted
        self._count["submitted"] += 1
        if hosted.job.deadline is not None:
            self._after(hosted.job.deadline - time.time(), hosted, self._expired)

    def _job_ended(self, hosted: HostedJob) -> None:
        if self._jobs.get(hosted.job.id) is not hosted:
            return
        del self._jobs[hosted.job.id]
        for timer in self._timers.pop(hosted.job.id, ()):
            timer.cancel()
        self._count[hosted.outcome or "failed"] += 1
        self._ended[hosted.job.id] = hosted
        while len(self._ended) > ENDED_KEPT:
            self._ended.popitem(last=False)

    def _stop_job(self, hosted: HostedJob, reason: str | None) -> None:
        if not hosted.worked:
            hosted.abort(reason)
            self._withdraw(hosted)
            self._job_ended(hosted)
            return
        hosted.send(("cancel", hosted.job.id, reason))
        self._after(self._grace_s, hosted, lambda late: self._overdue(late, reason))

    def _overdue(self, hosted: HostedJob, reason: str | None) -> None:
        """Stop a job that was cancelled and has not ended."""
        hosted.abort(reason)
        self.stop_worker_of(hosted, f"job '{hosted.job.id}' had not ended {self._grace_s:g} s after it was cancelled")

    def _expired(self, hosted: HostedJob) -> None:
        self._end_late(hosted, "had not ended at its deadline")

    def _too_slow(self, hosted: HostedJob) -> None:
        self._end_late(hosted, f"had not ended after {hosted.job.timeout_s:g} s")

    def _end_late(self, hosted: HostedJob, how: str) -> None:
        """Fail a job that takes too long, and stop it."""
        hosted.fail(JobTimeoutError(f"Job '{hosted.job.id}' {how} and was stopped"))
        if not hosted.worked:
            self._withdraw(hosted)
            self._job_ended(hosted)
        elif hosted.job.kind == "task":
            self.stop_worker_of(hosted, f"job '{hosted.job.id}' {how}")
        else:
            self._stop_job(hosted, f"The job {how}")

    def _after(self, delay_s: float, hosted: HostedJob, what: Callable[[HostedJob], None]) -> None:
        timer = asyncio.get_running_loop().call_later(max(0.0, delay_s), what, hosted)
        self._timers.setdefault(hosted.job.id, []).append(timer)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def fields_of(job: Job) -> dict[str, object]:
    """Return a job as a value that a message can hold."""
    names = (
        "id",
        "kind",
        "target",
        "input",
        "thread_id",
        "config",
        "context",
        "deadline",
        "timeout_s",
        "traceparent",
        "priority",
        "queue",
    )
    return {name: getattr(job, name) for name in names}


def at_least_one(name: str, number: int) -> None:
    """Refuse a number that is not a whole one of 1 or more.

    Raises:
        ConfigurationError: It is not.
    """
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise ConfigurationError(f"{name!r} is {number!r}; expected a whole number of 1 or more")
