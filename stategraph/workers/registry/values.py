"""Values of the registry: submissions, leases, claimed runs, and the view of runs for hosts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from stategraph.workers.leases import RunStatus

OnConflict: TypeAlias = Literal["reject", "enqueue", "interrupt", "rollback"]
ON_CONFLICT: Final[tuple[OnConflict, ...]] = ("reject", "enqueue", "interrupt", "rollback")

#: The target of runs that stand for a process which holds a thread; no worker executes them.
HELD: Final = "stategraph.workers.holding:hold"


class ThreadBusy(Exception):
    """A run was refused, because its thread has one that waits or runs.

    Attributes:
        thread_id: The thread.
        run_ids: Its runs, the oldest first.
    """

    def __init__(self, message: str, *, thread_id: str = "", run_ids: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.thread_id = thread_id
        self.run_ids = tuple(run_ids)


class UnknownRunError(LookupError):
    """The registry has no such run."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write to a thread, as long as no other has claimed the run.

    Attributes:
        run_id: The run.
        thread_id: Its thread.
        token: Greater than every token of the thread before it.
        owner: The process that has it.
    """

    run_id: str
    thread_id: str
    token: int
    owner: str


@dataclass(frozen=True, slots=True)
class RunInfo:
    """A run as hosts are shown it: no input, no context, as those may hold secrets.

    Attributes:
        run_id: The run.
        thread_id: Its thread.
        queue: The queue it was put into.
        priority: Runs with a greater one are claimed first.
        status: What has become of it.
        target: What executes it, `package.module:attribute`.
        attempt: How often it was begun or taken over.
        owner: The process that has it; None if none has.
        cancel_requested: Why it is to stop; None if it is not.
        error: What its last attempt failed with.
        tenant: Whose run it is.
        created_at: When it was submitted, in seconds since 1970, as all times.
        finished_at: When it ended; None before.
        lease_until: Until when its owner has it; None if there is no owner.
    """

    run_id: str
    thread_id: str
    queue: str
    priority: int
    status: RunStatus
    target: str
    attempt: int
    owner: str | None
    cancel_requested: str | None
    error: str | None
    tenant: str
    created_at: float
    finished_at: float | None
    lease_until: float | None


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A worker as others see it.

    Attributes:
        worker_id: Its name, the owner of its runs' leases.
        host: The machine.
        pid: The process.
        capacity: How many runs it executes at a time.
        version: Its version of this package.
        started_at: When it began, in seconds since 1970, as all times.
        seen_at: When it was last seen.
        busy: How many runs it has.
        gone: Whether it has not been seen for too long: it was killed, hangs, or cannot reach the database.
        queues: The queues that it claims from, the most important one first; empty: an older version of this package
            does not say.
    """

    worker_id: str
    host: str
    pid: int
    capacity: int
    version: str
    started_at: float
    seen_at: float
    busy: int
    gone: bool
    queues: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Submission:
    """A run to be.

    Attributes:
        thread_id: The thread it writes to.
        target: What executes it, `package.module:attribute`.
        input: Serialised; None to go on from the thread's checkpoint.
        run_id: Names the submission: the same one twice is one run. Empty for a new name.
        config: Plain values for the run's config.
        context: Serialised; opaque here.
        queue: Which workers may have it.
        priority: Runs with a greater one are claimed first.
        graph_version: Only workers of this version claim it; None: all do.
        max_attempts: How often it is begun or taken over.
        delay_s: Not claimed before, and overtaken on its thread until then; at most `LONGEST_S`.
        deadline_s: Not begun after; None: no limit.
        tenant: Whose run it is; opaque here.
        rollback_of: The run whose writes to the thread it takes back.
        options: How it is executed, see `hosted.options`; None: as the worker executes runs.
        labels: JSON that the host keeps with it; no worker looks at it.
        kept_s: Seconds after its end for which the host keeps its thread; None: for good.
    """

    thread_id: str
    target: str
    input: bytes | None = None
    run_id: str = ""
    config: Mapping[str, Any] | None = None
    context: bytes | None = None
    queue: str = "default"
    priority: int = 0
    graph_version: str | None = None
    max_attempts: int = 3
    delay_s: float = 0.0
    deadline_s: float | None = None
    tenant: str = ""
    rollback_of: str | None = None
    options: Mapping[str, Any] | None = None
    labels: Mapping[str, Any] | None = None
    kept_s: float | None = None

    def __post_init__(self) -> None:
        for name, kind, expected in _KINDS:
            if not isinstance(value := getattr(self, name), kind):
                raise TypeError(f"A run's {name} is {value!r}, of type {type(value).__name__}; expected {expected}")
        if not 0 <= self.delay_s <= LONGEST_S:
            raise ValueError(f"A run's delay_s is {self.delay_s!r:.40}; expected 0 to {LONGEST_S:.0f} seconds")


#: The longest time that a run may be submitted ahead, in seconds: a hundred years.
LONGEST_S: Final = 100 * 365.25 * 86_400

#: What SQLite would store although it is of the wrong type; a priority that is a text is above all numbers there.
_KINDS: Final = (
    ("run_id", str, "a text"),
    ("queue", str, "a text"),
    ("tenant", str, "a text"),
    ("priority", int, "a whole number"),
    ("delay_s", int | float, "a number of seconds"),
    ("deadline_s", int | float | None, "a number of seconds, or None"),
)


def thread_name(thread_id: object) -> str:
    """Return a thread's id as text.

    Raises:
        ValueError: There is none; all runs without one would share a thread.
    """
    if thread_id is None or thread_id == "":
        raise ValueError(f"The thread_id is {thread_id!r}: name the thread that the run belongs to")
    return str(thread_id)


@dataclass(frozen=True, slots=True)
class Base:
    """The checkpoint of a thread before a run that is to be taken back.

    Attributes:
        checkpoint_id: Its latest checkpoint then; None if it had none.
    """

    checkpoint_id: str | None


@dataclass(frozen=True, slots=True)
class Claimed:
    """A run that a worker has now.

    Attributes:
        lease: The right to write.
        attempt: The number of this attempt.
        queue: The queue it came from.
        target: What executes it.
        input: Serialised; None to go on from the thread's checkpoint.
        config: Plain values for the run's config.
        context: Serialised; opaque here.
        tenant: Whose run it is.
        began: Whether an earlier attempt has stored something, so the input is not given again.
        rollback: Where to begin instead of at the latest checkpoint; None: nowhere else.
        last_seq: The number of the newest event.
        options: How it is executed, as it was submitted with.
        waited_s: For how many seconds it could have begun; None: it had been begun before.
    """

    lease: Lease
    attempt: int
    queue: str
    target: str
    input: bytes | None
    config: Mapping[str, Any]
    context: bytes | None
    tenant: str
    began: bool
    rollback: Base | None
    last_seq: int
    options: Mapping[str, Any] = field(default_factory=dict)
    waited_s: float | None = None


@dataclass(frozen=True, slots=True)
class Beat:
    """The result of a heartbeat.

    Attributes:
        lost: Leases that are lost.
        cancelled: Runs that are to stop, with the reason.
    """

    lost: tuple[Lease, ...]
    cancelled: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Event:
    """A row of the event log, before it has a number.

    Attributes:
        type: What happened.
        data: Serialised; None for nothing.
    """

    type: str
    data: bytes | None
