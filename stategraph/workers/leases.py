"""The life of a run in the registry, as a table: (row, now, event) -> (row, effects).

    pending  --claim-->      running        attempt + 1, a new token
    running  --heartbeat-->  running        the lease is longer
    running  --finish-->     success | error | interrupted | timeout | cancelled
    running  --release-->    pending        given back, at once or after a delay
    running  --claim-->      running        the lease was past: taken over, with a new token
    running  --claim-->      dead           the lease was past, and no attempts are left
    pending | running(past) --claim--> cancelled | timeout       cancelled or overdue meanwhile: it is not run
    pending  --cancel-->     cancelled
    running  --cancel-->     running        the owner is told with its next heartbeat
    dead     --requeue-->    pending

Rules
-----
* A token is greater than every token of the thread before it, and never used again. An owner whose token is not the
  row's has lost the lease, whatever its name: every move of an owner checks it.
* No move consults a clock: `now` is the database's, in seconds. No move touches a database either; the code that
  performs them reads a row, decides here, and writes the row back in one transaction.
* An illegal move raises and changes nothing.
* An owner that reports the end, or gives the run back, takes its own token out of use with that: nothing it does later
  counts. To say the same again is no error and changes nothing: the answer to the first time may have been lost.
* A lease that is past is not lost yet. Its owner may still lengthen it; it is lost once another owner has claimed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final, TypeAlias

from stategraph.errors import ConfigurationError


class RunStatus(StrEnum):
    """Status of a run."""

    PENDING = "pending"
    RUNNING = "running"
    INTERRUPTED = "interrupted"
    SUCCESS = "success"
    ERROR = "error"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    DEAD = "dead"

    @classmethod
    def _missing_(cls, value: object) -> RunStatus:
        raise ValueError(f"{value!r} is no status of a run; expected one of: {', '.join(cls)}") from None


#: A run in one of these has an end, and nothing but `Requeue` moves it.
ENDED: Final = frozenset(RunStatus) - {RunStatus.PENDING, RunStatus.RUNNING}

#: The ends that an owner can report.
_REPORTED: Final = ENDED - {RunStatus.DEAD}

FIRST_BACKOFF_S: Final = 1.0
LONGEST_BACKOFF_S: Final = 60.0


class LeaseLost(Exception):
    """Another worker has claimed the run, or it has ended: its former owner must stop and write nothing.

    Attributes:
        run_id: The run.
        token: The token that is worth nothing any more.
    """

    def __init__(self, message: str, *, run_id: str = "", token: int = 0) -> None:
        super().__init__(message)
        self.run_id = run_id
        self.token = token


class IllegalRunMove(Exception):
    """A run was asked for a move that its status does not have; nothing has changed."""


@dataclass(frozen=True, slots=True)
class LeaseSettings:
    """Settings of leases and attempts.

    Attributes:
        lease_s: Seconds for which a claim holds without a heartbeat.
        heartbeat_s: Seconds between heartbeats; less than half a lease, so that one may fail.
        max_attempts: How often a run is begun or taken over before it is `dead`.
    """

    lease_s: float = 15.0
    heartbeat_s: float = 5.0
    max_attempts: int = 3

    def __post_init__(self) -> None:
        if not 0 < self.heartbeat_s < self.lease_s / 2:
            raise ConfigurationError(
                f"A heartbeat every {self.heartbeat_s:g} s does not keep a lease of {self.lease_s:g} s: one that is "
                "late would lose the run. Set heartbeat_s to less than half of lease_s"
            )
        if self.max_attempts < 1:
            raise ConfigurationError(f"max_attempts is {self.max_attempts}; a run needs at least 1 attempt")


@dataclass(frozen=True, slots=True)
class RunRow:
    """The columns of a run that decide what may happen to it, and who is told.

    Attributes:
        run_id: The run.
        thread_id: The thread it writes to.
        status: What has become of it.
        attempt: How often it was begun or taken over.
        max_attempts: How often that may happen.
        token: The token of the present or last owner; 0 before the first.
        owner: The process that has it; None if none has.
        lease_until: Until when the owner has it, in the database's seconds.
        available_at: Not claimed before this time.
        deadline: Not begun after this time; None: no limit.
        cancel_requested: Why it is to stop; None: it is not.
        error: What the last attempt failed with.
        queue: The queue it waits in, whose workers are told.
        tenant: Whose run it is.
    """

    run_id: str
    thread_id: str
    status: RunStatus = RunStatus.PENDING
    attempt: int = 0
    max_attempts: int = 3
    token: int = 0
    owner: str | None = None
    lease_until: float | None = None
    available_at: float = 0.0
    deadline: float | None = None
    cancel_requested: str | None = None
    error: str | None = None
    queue: str = "default"
    tenant: str = ""

    def is_claimable(self, now: float) -> bool:
        """Return whether a claim may have this row: it waits and its time has come, or its lease is past."""
        if self.status is RunStatus.PENDING:
            return self.available_at <= now
        return self.status is RunStatus.RUNNING and self.lease_until is not None and self.lease_until < now


# Events.


@dataclass(frozen=True, slots=True)
class Claim:
    """A worker wants the run.

    Attributes:
        owner: The process, by a name that no process before it had.
        token: The thread's next token.
        lease_s: For how long.
    """

    owner: str
    token: int
    lease_s: float


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The owner is alive."""

    token: int
    lease_s: float


@dataclass(frozen=True, slots=True)
class Finish:
    """The owner reports the end of the run."""

    token: int
    status: RunStatus
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Release:
    """The owner gives the run back.

    Attributes:
        token: Its token.
        delay_s: Not claimed again before.
        counts: Whether this was an attempt; False if nothing of it was begun.
        error: Why.
    """

    token: int
    delay_s: float = 0.0
    counts: bool = False
    error: str | None = None


@dataclass(frozen=True, slots=True)
class RequestCancel:
    """The host wants the run to stop."""

    reason: str


@dataclass(frozen=True, slots=True)
class Requeue:
    """A person wants a dead run tried again, with all its attempts."""


Event: TypeAlias = Claim | Heartbeat | Finish | Release | RequestCancel | Requeue


# Effects: actions for the same transaction.


@dataclass(frozen=True, slots=True)
class Fence:
    """Make the token the thread's: every other one is worthless from now on."""

    thread_id: str
    token: int


@dataclass(frozen=True, slots=True)
class BeginAttempt:
    """Tell readers that an attempt begins.

    Attributes:
        attempt: Its number.
        reason: `first`, `retried` after it was given back, or `lease expired`.
    """

    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class End:
    """Tell readers that the run has ended."""

    status: RunStatus
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Wake:
    """Tell workers that a run waits."""


@dataclass(frozen=True, slots=True)
class TellOwner:
    """Tell the owner that the run is to stop."""

    reason: str


Effect: TypeAlias = Fence | BeginAttempt | End | Wake | TellOwner


@dataclass(frozen=True, slots=True)
class Decision:
    """The new row, and the effects that belong to it."""

    row: RunRow
    effects: tuple[Effect, ...] = ()


def backoff_s(attempt: int) -> float:
    """Return how long a run waits after a failed attempt: twice as long each time, up to a minute."""
    return float(min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2 ** max(0, min(attempt, 30) - 1)))


def _begin(row: RunRow, now: float, event: Claim) -> Decision:
    if not row.is_claimable(now):
        when = (
            f"available at {row.available_at:.3f}" if row.status is RunStatus.PENDING else "its lease has not run out"
        )
        raise IllegalRunMove(f"Run '{row.run_id}' is {row.status} and cannot be claimed now ({now:.3f}): {when}")
    if event.token <= row.token:
        raise IllegalRunMove(
            f"Run '{row.run_id}' has token {row.token}; a claim needs a greater one and came with {event.token}"
        )
    overdue = row.deadline is not None and row.deadline < now
    if row.cancel_requested is not None:
        return _end(replace(row, token=event.token), RunStatus.CANCELLED, row.error, Fence(row.thread_id, event.token))
    if overdue:
        return _end(replace(row, token=event.token), RunStatus.TIMEOUT, row.error, Fence(row.thread_id, event.token))
    if row.attempt >= row.max_attempts:
        error = row.error or f"its worker was lost {row.attempt} times"
        return _end(replace(row, token=event.token), RunStatus.DEAD, error, Fence(row.thread_id, event.token))
    reason = "lease expired" if row.status is RunStatus.RUNNING else "retried" if row.attempt else "first"
    claimed = replace(
        row,
        status=RunStatus.RUNNING,
        attempt=row.attempt + 1,
        token=event.token,
        owner=event.owner,
        lease_until=now + event.lease_s,
    )
    return Decision(claimed, (Fence(row.thread_id, event.token), BeginAttempt(claimed.attempt, reason)))


def _lengthen(row: RunRow, now: float, event: Heartbeat) -> Decision:
    _check_token(row, event.token)
    told = () if row.cancel_requested is None else (TellOwner(row.cancel_requested),)
    return Decision(replace(row, lease_until=now + event.lease_s), told)


def _finish(row: RunRow, now: float, event: Finish) -> Decision:
    del now
    _check_token(row, event.token)
    if event.status not in _REPORTED:
        raise IllegalRunMove(f"Run '{row.run_id}' cannot be reported as {event.status}: that is no end of an attempt")
    return _end(row, event.status, event.error, _closed(row))


def _release(row: RunRow, now: float, event: Release) -> Decision:
    _check_token(row, event.token)
    error = event.error or row.error
    if event.counts and row.attempt >= row.max_attempts:
        return _end(row, RunStatus.DEAD, error, _closed(row))
    attempt = row.attempt if event.counts else row.attempt - 1
    given_back = replace(_without_owner(row), attempt=attempt, available_at=now + event.delay_s, error=error)
    return Decision(replace(given_back, status=RunStatus.PENDING), (_closed(row), Wake()))


def _closed(row: RunRow) -> Fence:
    """Take the row's token out of use; the next one has no owner."""
    return Fence(row.thread_id, row.token + 1)


def _cancel_at_once(row: RunRow, now: float, event: RequestCancel) -> Decision:
    del now
    return _end(replace(row, cancel_requested=event.reason), RunStatus.CANCELLED, None)


def _ask_to_stop(row: RunRow, now: float, event: RequestCancel) -> Decision:
    del now
    if row.cancel_requested is not None:
        return Decision(row)
    return Decision(replace(row, cancel_requested=event.reason), (TellOwner(event.reason),))


def _requeue(row: RunRow, now: float, event: Requeue) -> Decision:
    del event
    again = replace(row, status=RunStatus.PENDING, attempt=0, available_at=now, cancel_requested=None)
    return Decision(again, (Wake(),))


def _end(row: RunRow, status: RunStatus, error: str | None, *first: Effect) -> Decision:
    return Decision(replace(_without_owner(row), status=status, error=error), (*first, End(status, error)))


def _without_owner(row: RunRow) -> RunRow:
    return replace(row, owner=None, lease_until=None)


def _check_token(row: RunRow, token: int) -> None:
    if row.token != token:
        raise LeaseLost(
            f"Run '{row.run_id}' belongs to another worker now: its token is {row.token}, this one has {token}",
            run_id=row.run_id,
            token=token,
        )


_Rule: TypeAlias = Callable[[RunRow, float, Any], Decision]

#: Every legal move. All others are illegal, and an owner's move on a run that is not running is a lost lease.
TRANSITIONS: Final[dict[tuple[RunStatus, type[Any]], _Rule]] = {
    (RunStatus.PENDING, Claim): _begin,
    (RunStatus.PENDING, RequestCancel): _cancel_at_once,
    (RunStatus.RUNNING, Claim): _begin,
    (RunStatus.RUNNING, Heartbeat): _lengthen,
    (RunStatus.RUNNING, Finish): _finish,
    (RunStatus.RUNNING, Release): _release,
    (RunStatus.RUNNING, RequestCancel): _ask_to_stop,
    (RunStatus.DEAD, Requeue): _requeue,
}

_BY_OWNER: Final = (Heartbeat, Finish, Release)

#: What a run can be that was given back, and that no worker has claimed since.
_GIVEN_BACK: Final = frozenset({RunStatus.PENDING, RunStatus.DEAD, RunStatus.CANCELLED})


def _is_repeated(row: RunRow, event: Event) -> bool:
    """Return whether an owner's move has been made: any other owner would have left another token in the row."""
    match event:
        case Finish(token=token, status=status):
            return row.token == token and row.status is status and status in _REPORTED
        case Release(token=token):
            return row.token == token and row.status in _GIVEN_BACK
    return False


def decide(row: RunRow, now: float, event: Event) -> Decision:
    """Decide what an event makes of a run.

    Args:
        row: The run.
        now: The database's time in seconds.
        event: What happened.

    Returns:
        The new row, and the effects for the same transaction.

    Raises:
        LeaseLost: An owner moved without the run's token, or after its end, unless it was the same move as before.
        IllegalRunMove: The status has no such move.
    """
    rule = TRANSITIONS.get((row.status, type(event)))
    if rule is not None:
        return rule(row, now, event)
    if _is_repeated(row, event):
        return Decision(row)
    if isinstance(event, _BY_OWNER):
        raise LeaseLost(
            f"Run '{row.run_id}' is {row.status}: its worker has it no longer", run_id=row.run_id, token=event.token
        )
    legal = ", ".join(sorted(kind.__name__ for status, kind in TRANSITIONS if status is row.status)) or "none"
    raise IllegalRunMove(f"Run '{row.run_id}' is {row.status} and has no move {type(event).__name__}; it has: {legal}")
