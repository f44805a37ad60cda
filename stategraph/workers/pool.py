"""The port behind which jobs run: in this event loop, in threads, in processes or on other machines.

- A job is data: its target is an import path, its input bytes of the checkpoint serialiser. So a job that runs in one
  backend runs in each of them.
- A job's id is its idempotency key: a second submission of an id that the pool knows returns the first one's handle.
- Events of a job are numbered from 1 without holes. Each reader sees each event once, in order, whenever it comes; the
  job waits for its first reader when that falls behind.
- A job ends once: with a result, with the exception that it raised, with AbortError when it was cancelled, with
  JobTimeoutError at its deadline, or with WorkerError when its worker died. A backend that begins a job again on
  another worker tells so by the event `run.attempt`, after which the events are those of that attempt.

`tests/workers/contract.py` holds each backend to this.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, TypeAlias

from stategraph.errors import ConfigurationError

if TYPE_CHECKING:
    from stategraph.run.events.run_log import RunEvent

JsonValue: TypeAlias = "str | int | float | bool | list[JsonValue] | dict[str, JsonValue] | None"

#: What a job may ask of the process that submitted it, by name: called in the order in which jobs ask, in the pool's
#: event loop, with the value that the job passed. What it returns, or what its awaitable comes to, is the answer.
Calls: TypeAlias = Mapping[str, Callable[[Any], Any]]


class EventSink(Protocol):
    """Receiver of a job's events: a log, or a buffer before one."""

    def put(self, event: str, data: Any, metadata: Mapping[str, Any] | None) -> None:
        """Take an event."""

    @property
    def is_full(self) -> bool:
        """True if the job should wait."""

    async def room(self) -> None:
        """Wait until it need not."""


@dataclass(frozen=True, slots=True)
class Job:
    """Work for a worker.

    Attributes:
        id: Its name, and the idempotency key of the submission.
        kind: `run`: may share its worker with other jobs, and is cancelled politely. `task`: has its worker to itself
            while it runs, and is stopped with it.
        target: What to run, as `package.module:attribute`: a function that takes the input, a function that takes a
            `JobPort` (see `stategraph.workers.execution`), or a compiled graph.
        input: What the target is given, as `stategraph.workers.wire.encode` makes it; empty: None.
        thread_id: The thread that it works on; None: none.
        config: A RunnableConfig as JSON.
        context: Context variables, as `stategraph.workers.carrying.carried` makes them; empty: none.
        deadline: When to stop it, in seconds since the epoch; None: never.
        timeout_s: Seconds that it may take from when a worker begins it; None: as long as it likes.
        traceparent: The trace that it belongs to (https://www.w3.org/TR/trace-context/); None: none.
        priority: Jobs with a higher one begin earlier.
        queue: The queue that it waits in, for backends that have several.
    """

    id: str
    kind: Literal["run", "task"]
    target: str
    input: bytes = b""
    thread_id: str | None = None
    config: Mapping[str, JsonValue] = field(default_factory=dict)
    context: bytes = field(default=b"", repr=False)
    deadline: float | None = None
    timeout_s: float | None = None
    traceparent: str | None = None
    priority: int = 0
    queue: str = "default"

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not self.id:
            raise ConfigurationError(f"A job's id is {self.id!r}; expected a text that no other job has")
        if self.kind not in ("run", "task"):
            raise ConfigurationError(f"The kind of job '{self.id}' is {self.kind!r}; expected 'run' or 'task'")
        if not isinstance(self.target, str):
            raise ConfigurationError(
                f"The target of job '{self.id}' is a value of type {type(self.target).__name__}, and workers import "
                "code by its name: write 'package.module:attribute'"
            )


@dataclass(frozen=True, slots=True)
class PoolHealth:
    """State of a pool at one moment.

    Attributes:
        workers: How many workers can take jobs; those that start, or end, are not among them.
        busy: How many of them have one.
        queued: How many jobs wait for a worker.
        oldest_wait_s: Seconds that the first of them has waited; 0 if none waits.
        restarts: How many workers took the place of one that died.
        last_error: How the last one died, or why the connection to a server was lost or something on it was refused,
            whatever came last; None if nothing of the kind happened.
    """

    workers: int
    busy: int
    queued: int
    oldest_wait_s: float
    restarts: int
    last_error: str | None


@dataclass(frozen=True, slots=True)
class WorkerStatistics:
    """Statistics of one worker.

    Attributes:
        name: Its name in messages.
        pid: Its process; None for one in this process.
        running: The jobs that it holds, by their ids.
        ended: How many jobs ended on it.
        rss_bytes: Its resident memory; None if that is not known.
    """

    name: str
    pid: int | None
    running: tuple[str, ...]
    ended: int
    rss_bytes: int | None


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """Statistics of a pool since it was made.

    Attributes:
        submitted: Jobs that were accepted, each id once.
        succeeded: Jobs that returned.
        failed: Jobs that raised, passed their deadline or lost their worker.
        cancelled: Jobs that were cancelled.
        recycled: Workers that were replaced because they had done enough or grown too large.
        workers: Each worker that is there.
    """

    submitted: int
    succeeded: int
    failed: int
    cancelled: int
    recycled: int
    workers: tuple[WorkerStatistics, ...]


class JobHandle(Protocol):
    """A job that was submitted."""

    @property
    def job(self) -> Job:
        """The job."""

    def events(self, after_seq: int = 0) -> AsyncGenerator[RunEvent, None]:
        """Read its events: those that are kept, then new ones until it has ended.

        The first reader holds the job up when it falls behind; others may find a gap, which is an event as well.
        The last event, `on_run_end`, says how the job ended.

        Args:
            after_seq: The number of the last event that the reader has; 0: from the start.
        """

    async def result(self) -> Any:
        """Wait for its end and return its result.

        Raises:
            AbortError: It was cancelled.
            JobTimeoutError: It passed its deadline.
            WorkerError: Its worker died; the message names both.
            Exception: What it raised, with a note that holds the traceback of the worker. If its class cannot be made
                here, a JobError.
        """

    async def cancel(self, reason: str | None = None) -> bool:
        """Stop it, and wait until it has ended.

        Args:
            reason: Why, for the message of its AbortError.

        Returns:
            Whether this stopped it; False if it had ended.
        """


class WorkerPool(Protocol):
    """A pool of workers that runs jobs.

    An async context manager; belongs to the event loop in which it is first used.
    """

    async def submit(self, job: Job, *, calls: Calls | None = None, log: EventSink | None = None) -> JobHandle:
        """Have a job done as soon as a worker is free.

        Args:
            job: The job.
            calls: What it may ask of this process; None: nothing.
            log: Where its events go in place of the handle; None: to the handle.

        Returns:
            Its handle; for an id that is known, the handle that it has.

        Raises:
            TransferError: The target is no import path, or is not allowed.
            WorkerError: The pool takes no more jobs.
        """

    async def resize(self, workers: int) -> None:
        """Have more or fewer workers. Those that are too many end their jobs first.

        Raises:
            ConfigurationError: It is less than 1.
        """

    async def drain(self, timeout: float = 30.0) -> None:  # noqa: ASYNC109 (what is left is cancelled, not given up)
        """Take no more jobs and let those that are there end.

        Args:
            timeout: After so many seconds, the remaining jobs are cancelled.
        """

    async def health(self) -> PoolHealth:
        """Return the pool's present state."""

    def statistics(self) -> PoolStatistics:
        """Return the pool's statistics so far."""

    async def aclose(self) -> None:
        """Cancel the remaining jobs and stop all workers. Closing again does nothing."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_: object) -> None: ...
