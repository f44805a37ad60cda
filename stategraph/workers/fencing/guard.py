"""Additions to a write of a leased run: check the lease, note that the run has begun, store its events.

Rules
-----
* The check and the write are one transaction. The check locks the thread's fence, which a claim has to change; so a
  claim comes before the check, and the write is refused, or after the write, and the next owner sees it.
* The run's first write notes the checkpoint that was there before it. From then on its input is not given again.
* The write by which it gets beyond that checkpoint, or by which a task takes an answer, is noted too: the question that
  it answered is settled, however it ends.
* Events that were told before a write are stored with it: what a later attempt does not do again has been told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from stategraph.constants import NULL_TASK_ID, RESUME
from stategraph.engine.checkpoints.saver_interfaces import Save, Saver
from stategraph.engine.ports import Lease
from stategraph.errors import ConfigurationError
from stategraph.workers.registry.operations import lost
from stategraph.workers.registry.sql import Sql
from stategraph.workers.registry.values import Event

Statement: TypeAlias = tuple[str, tuple[Any, ...]]


class Outbox(Protocol):
    """Events that were told and are not stored yet."""

    def waiting(self) -> Sequence[tuple[int, Event]]:
        """List them, with their numbers."""

    def stored(self, seq: int) -> None:
        """Take note that all events up to a number are stored."""


@dataclass(frozen=True, slots=True)
class Write:
    """One write that is to happen.

    Attributes:
        lease: What it needs.
        check: Returns the thread's token.
        others: What belongs to the same transaction.
        last_seq: The number of the newest event among those.
        begins: Whether the run has begun with it.
        settles: Whether the run gets past what the thread waited for.
    """

    lease: Lease
    check: Statement
    others: tuple[Statement, ...]
    last_seq: int
    begins: bool
    settles: bool

    def verify(self, found: Sequence[object] | None) -> None:
        """Verify what the check returned.

        Raises:
            LeaseLost: It is not this lease's token.
        """
        if found is None or found[0] != self.lease.token:
            raise lost(self.lease)


class Guard:
    """Guards the writes of one attempt of a run.

    Args:
        lease: The lease of the run.
        attempt: The number of the attempt.
        began: Whether an earlier attempt has stored something.
        outbox: The events of the run; None if they are not stored with its writes.
    """

    def __init__(self, lease: Lease, *, attempt: int = 1, began: bool = False, outbox: Outbox | None = None) -> None:
        self._lease = lease
        self._attempt = attempt
        self._began = began
        self._settled = False
        self._outbox = outbox

    def lease_of(self, thread_id: str) -> Lease:
        """Return the lease for a thread.

        Raises:
            ConfigurationError: The run has another thread.
        """
        if thread_id != self._lease.thread_id:
            raise ConfigurationError(
                f"Run '{self._lease.run_id}' has the lease of thread '{self._lease.thread_id}' and writes to thread "
                f"'{thread_id}': give a graph that uses another thread a saver of its own"
            )
        return self._lease

    def write(self, sql: Sql, method: str, thread_id: str, base: str | None, arguments: Sequence[Any]) -> Write:
        """Prepare a write.

        Args:
            sql: The statements in the words of the saver's database.
            method: The saver's method. To delete the thread is not to begin.
            thread_id: The thread.
            base: The checkpoint that the write follows.
            arguments: Those of the method.
        """
        return self._write(sql, self.lease_of(thread_id), base, "delete" not in method, _settles(method, arguments))

    def write_together(self, sql: Sql, saves: Sequence[Save]) -> Write:
        """Prepare the write of several saves of one thread, which happen all or not at all.

        Args:
            sql: The statements in the words of the saver's database.
            saves: The saver's methods and their arguments.
        """
        named = saves[0][1][0]["configurable"]
        settles = any(_settles(*save) for save in saves)
        return self._write(sql, self.lease_of(str(named["thread_id"])), named.get("checkpoint_id"), True, settles)

    def _write(self, sql: Sql, lease: Lease, base: str | None, begins: bool, settles: bool) -> Write:
        others: list[Statement] = []
        if begins and not self._began:
            others.append((sql.begin, (base, lease.run_id)))
        settles = not self._settled and settles
        if settles:
            others.append((sql.settle, (lease.run_id,)))
        last_seq = 0
        for seq, event in () if self._outbox is None else self._outbox.waiting():
            others.append((sql.keep_event, (lease.run_id, seq, self._attempt, event.type, event.data)))
            last_seq = seq
        return Write(lease, (sql.check_fence, (lease.thread_id,)), tuple(others), last_seq, begins, settles)

    def written(self, write: Write) -> None:
        """Take note that a write was committed."""
        self._began = self._began or write.begins
        self._settled = self._settled or write.settles
        if write.last_seq and self._outbox is not None:
            self._outbox.stored(write.last_seq)


def _settles(method: str, arguments: Sequence[Any]) -> bool:
    """Return whether a write ends a step of the graph itself, or says that an answer was taken."""
    if method.endswith("put_writes"):
        _, writes, task_id, *_ = arguments
        return any(channel == RESUME and (task_id != NULL_TASK_ID or value is None) for channel, value in writes)
    if method.endswith("put"):
        config, _, metadata, *_ = arguments
        return metadata.get("source") == "loop" and not config["configurable"].get("checkpoint_ns")
    return False


class Fenced:
    """A saver and the guard of its writes.

    Args:
        saver: The saver.
        guard: The guard.
    """

    def __init__(self, saver: Saver, guard: Guard) -> None:
        self.saver: Any = saver
        self.guard = guard
