"""Every operation of the registry: one transaction that reads a row, has `leases` decide, and writes the row.

All of it is synchronous and thread-safe; `runs` calls it from a thread. What others wait for is signalled when the
transaction has been committed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, TypeAlias

from stategraph.engine import ports
from stategraph.errors import ConfigurationError
from stategraph.workers import leases
from stategraph.workers.ids import new_ulid
from stategraph.workers.leases import IllegalRunMove, LeaseLost, RunRow, RunStatus
from stategraph.workers.registry.port import ConflictError, Database, Session, StoreUnavailableError
from stategraph.workers.registry.sql import SCHEMA_TABLE, SCHEMA_VERSION
from stategraph.workers.registry.values import (
    HELD,
    Base,
    Beat,
    Claimed,
    Event,
    Lease,
    OnConflict,
    RunInfo,
    Submission,
    ThreadBusy,
    UnknownRunError,
)
from stategraph.workers.wakeups.bus import Bus, Polling
from stategraph.workers.wakeups.signals import Signal, SignalKind

#: Called in the transaction that adds a run; returns the config of the run.
Prepare: TypeAlias = Callable[[Session], Mapping[str, Any]]

ATTEMPT_EVENT: Final = "run.attempt"
END_EVENT: Final = "run.end"

#: Attempts of an operation that conflicts with other transactions.
_TRIES: Final = 20

#: How the run ended that went on with a thread, for the answer that comes too late.
_WENT_ON: Final = {
    RunStatus.INTERRUPTED: "waits for one itself: resume that one",
    RunStatus.SUCCESS: "has ended",
}

_COLUMNS: Final = len(RunRow.__dataclass_fields__)


@dataclass(slots=True)
class _Change:
    """A transaction, what is signalled after it, and the number of the last event that it told."""

    session: Session
    last_seq: int = 0
    signals: list[Signal] = field(default_factory=list)

    def signal(self, kind: SignalKind, name: str, row: RunRow) -> None:
        self.signals.append(Signal(kind, name, row.tenant))


class RegistryOperations:
    """Performs the operations of a registry on its database, one transaction each.

    Args:
        database: Where the tables are.
        create: Whether they are created when first used, unless they are there; else it is an error if they are not.
        bus: Wakes those who wait for what happens; None: they look by themselves.
    """

    def __init__(self, database: Database, bus: Bus | None = None, *, create: bool = True) -> None:
        self.database = database
        self._create = create
        self.bus: Bus = bus or Polling()
        self._sql = database.sql
        self._is_set_up = False

    def set_up(self) -> None:
        """Create the tables, unless they are there, or look for them.

        Raises:
            ConfigurationError: They are not there, or lack something that came later, and are not to be changed.
            StoreUnavailableError: The database cannot be reached, or a newer version of this package made its tables.
        """
        if self._is_set_up:
            return
        with self.database.transaction(write=self._create) as session:
            found = self._version(session)
            if found != SCHEMA_VERSION:
                raise StoreUnavailableError(
                    f"The registry's tables have version {found} and this stategraph knows version "
                    f"{SCHEMA_VERSION}: use the same version of stategraph in all processes"
                )
        self._is_set_up = True

    def _version(self, session: Session) -> int:
        """Return the version of the tables, after creating them if that is to be done."""
        if not self._create:
            if not session.execute(self._sql.exists, (SCHEMA_TABLE,)):
                raise ConfigurationError(
                    "There is no registry of runs in this database: a worker or a submission makes one"
                )
            self._check_nothing_is_missing(session)
        else:
            if self._sql.schema_lock is not None:
                session.execute(self._sql.schema_lock)
            session.change(self._sql.create_schema)
            if not session.execute(self._sql.version):
                for table in self._sql.tables:
                    session.change(table)
                session.change(self._sql.set_version, (SCHEMA_VERSION,))
            else:
                self._add_what_came_later(session)
        version: int = session.execute(self._sql.version)[0][0]
        return version

    def _check_nothing_is_missing(self, session: Session) -> None:
        """Check, for one who only reads, that the tables have all columns that came later.

        Raises:
            ConfigurationError: An older version has made them, and no process of this one has used them yet.
        """
        missing = [
            f"{table}.{column}" for table, column in self._sql.later_columns if not self._has(session, table, column)
        ]
        if missing:
            raise ConfigurationError(
                f"The registry's tables were made by an older version of stategraph and have no {', '.join(missing)}: "
                "a worker, a server or a submission of this version adds them, while older ones go on"
            )

    def _has(self, session: Session, table: str, column: str) -> bool:
        return bool(session.execute(self._sql.column, (table, column)))

    def _add_what_came_later(self, session: Session) -> None:
        """Add to the tables of an older version what is new and hurts none that does not know it."""
        for (table, column), statement in self._sql.later_columns.items():
            if not self._has(session, table, column):
                session.change(statement)
        for name, statement in self._sql.later_indexes.items():
            if not session.execute(self._sql.exists, (name,)):
                session.change(statement)

    def close(self) -> None:
        """Close the bus and every connection of the database."""
        self.bus.close()
        self.database.close()

    @contextmanager
    def _change(self) -> Iterator[_Change]:
        """Open a transaction that changes runs; what is to be signalled is when it has been committed."""
        with self.database.transaction() as session:
            change = _Change(session)
            yield change
        if change.signals:
            self.database.once_stored(partial(self.bus.publish, change.signals))

    # For hosts.

    def submit(
        self, run: Submission, on_conflict: OnConflict, answers: str | None = None, prepare: Prepare | None = None
    ) -> str:
        """Add a run; see `RunRegistry.submit`.

        Args:
            run: The run.
            on_conflict: What to do if its thread has others.
            answers: The run that waits for the answer which this one has; None if there is none.
            prepare: Called first in the transaction, and returns the config of the run; None: it is the run's.

        Raises:
            IllegalRunMove: The thread has gone on since that run asked.
        """
        self.set_up()
        named = replace(run, run_id=run.run_id or new_ulid())
        for tries in range(1, _TRIES + 1):
            try:
                with self._change() as change:
                    self._add(change, named, on_conflict, answers, prepare)
                break
            except ConflictError:
                if tries == _TRIES:
                    raise
        return named.run_id

    def _add(
        self, change: _Change, run: Submission, on_conflict: OnConflict, answers: str | None, prepare: Prepare | None
    ) -> None:
        session, run_id = change.session, run.run_id
        if self._sql.thread_lock is not None:
            session.execute(self._sql.thread_lock, (run.thread_id,))
        if prepare is not None:
            run = replace(run, config=prepare(session))
        if known := session.execute(self._sql.show, (run_id,)):
            if known[0][1] != run.thread_id:
                raise ValueError(f"Run '{run_id}' is there already, on thread '{known[0][1]}': use another run_id")
            return
        session.change(self._sql.add_fence, (run.thread_id,))
        rollback_of = run.rollback_of
        active = session.execute(self._sql.lives_of_thread, (run.thread_id,))
        if active and on_conflict == "reject":
            ids = [row[0] for row in active]
            raise ThreadBusy(
                f"Thread '{run.thread_id}' is busy with run '{ids[0]}': wait for it, cancel it, or submit with "
                "on_conflict='enqueue', 'interrupt' or 'rollback'",
                thread_id=run.thread_id,
                run_ids=ids,
            )
        if answers is not None:
            self._check_waits(session, answers)
        if on_conflict in ("interrupt", "rollback"):
            taken_back = self._stop_all(change, active, f"{on_conflict} by run {run_id}")
            rollback_of = (taken_back if on_conflict == "rollback" else None) or rollback_of
        session.change(self._sql.add_run, _values(run, run_id, rollback_of))
        if not run.delay_s:
            change.signals.append(Signal(SignalKind.WORK, run.queue, run.tenant))

    def _check_waits(self, session: Session, run_id: str) -> None:
        """Refuse an answer to a question that is settled: the next question of the thread would get it."""
        for later, status in session.execute(self._sql.went_on, (run_id, HELD)):
            raise IllegalRunMove(
                f"Run '{run_id}' waits for no answer any more: run '{later}' went on with its thread, and "
                + _WENT_ON.get(RunStatus(status), "did not end well after it took the answer: to go on, submit None")
            )

    def _stop_all(self, change: _Change, active: Iterable[tuple[Any, ...]], reason: str) -> str | None:
        """Stop the runs of a thread; return the oldest whose writes are to be taken back, if that is asked for."""
        taken_back: str | None = None
        for found in active:
            row, now, rollback_of, began = _life(found), found[_COLUMNS], found[_COLUMNS + 1], found[_COLUMNS + 2]
            # A run that was to take back others and has not begun leaves that to this one.
            inherited = row.run_id if began or row.status is RunStatus.RUNNING else rollback_of
            taken_back = taken_back or inherited
            self._apply(change, row, leases.decide(row, now, leases.RequestCancel(reason)))
        return taken_back

    def show(self, run_id: str) -> RunInfo:
        """Return what hosts are shown of a run."""
        self.set_up()
        with self.database.transaction(write=False) as session:
            found = session.execute(self._sql.show, (run_id,))
        if not found:
            raise _unknown(run_id)
        return shown(found[0])

    def newest(self, status: RunStatus | None, thread_id: str | None, tenant: str | None, limit: int) -> list[RunInfo]:
        """Return what hosts are shown of the newest runs."""
        self.set_up()
        with self.database.transaction(write=False) as session:
            found = session.execute(self._sql.list, (status, status, thread_id, thread_id, tenant, tenant, limit))
        return [shown(row) for row in found]

    def resume(self, run_id: str, answer: bytes | None, new_id: str) -> str:
        """Add a run that goes on where another one waits for an answer."""
        shown = self.show(run_id)
        if shown.status is not RunStatus.INTERRUPTED:
            raise IllegalRunMove(
                f"Run '{run_id}' is {shown.status}: only an interrupted run waits for an answer"
                + (". Give it new attempts with requeue" if shown.status is RunStatus.DEAD else "")
            )
        with self.database.transaction(write=False) as session:
            found = session.execute(self._sql.again, (run_id,))
        if not found:  # it was pruned meanwhile
            raise _unknown(run_id)
        target, version, config, context, queue, priority, tenant, attempts, options, labels = found[0]
        again = Submission(
            shown.thread_id,
            target,
            answer,
            new_id,
            config=json.loads(config),
            context=context,
            queue=queue,
            priority=priority,
            graph_version=version,
            max_attempts=attempts,
            tenant=tenant,
            options=None if options is None else json.loads(options),
            labels=None if labels is None else json.loads(labels),
        )
        return self.submit(again, "reject", answers=run_id)

    def cancel(self, run_id: str, reason: str) -> bool:
        """Ask a run to stop; return False if it has ended."""
        return self._move(run_id, leases.RequestCancel(_storable(reason) or ""))

    def requeue(self, run_id: str) -> bool:
        """Give a dead run new attempts; return False if it is not dead."""
        return self._move(run_id, leases.Requeue())

    def _move(self, run_id: str, event: leases.Event) -> bool:
        self.set_up()
        with self._change() as change:
            row, now = self._read(change.session, run_id)
            try:
                decision = leases.decide(row, now, event)
            except IllegalRunMove:
                return False
            self._apply(change, row, decision)
        return True

    # For workers.

    def claim(
        self, owner: str, queue: str, lease_s: float, version: str | None = None, held: Sequence[str] = ()
    ) -> Claimed | None:
        """Claim a run of a queue: one whose lease is past and that is not held, or else the next that waits.

        Returns:
            The run; None if there is none for now.
        """
        self.set_up()
        parameters = (queue, version, json.dumps(list(held)), queue, version)
        return self._claim(owner, lease_s, self._sql.candidate, parameters)

    def claim_run(self, owner: str, run_id: str, lease_s: float) -> Claimed | None:
        """Claim one run of any queue; None if it is not its turn."""
        self.set_up()
        return self._claim(owner, lease_s, self._sql.candidate_run, (run_id,))

    def _claim(self, owner: str, lease_s: float, candidate: str, parameters: tuple[object, ...]) -> Claimed | None:
        for _ in range(_TRIES):
            try:
                with self._change() as change:
                    found = change.session.execute(candidate, parameters)
                    if not found:
                        return None
                    row, work = _life(found[0]), found[0][_COLUMNS:]
                    fence, now = work[-2:]
                    decision = leases.decide(row, now, leases.Claim(owner, fence + 1, lease_s))
                    self._apply(change, row, decision)
                    if not row.token and row.available_at > work[-3]:  # it was scheduled: others may have overtaken it
                        change.session.change(self._sql.put_last, (row.run_id,))
                    if decision.row.status is RunStatus.RUNNING:
                        return self._claimed(change, decision.row, work)
            except ConflictError:
                continue  # another worker was faster with this thread
        return None

    def _claimed(self, change: _Change, row: RunRow, work: tuple[Any, ...]) -> Claimed:
        target, input, config, context, options, began, rollback_of, *_ = work
        rollback = None
        if rollback_of is not None and not began:
            base = change.session.execute(self._sql.base, (rollback_of,))
            rollback = Base(base[0][1]) if base and base[0][0] else None
        return Claimed(
            lease=Lease(row.run_id, row.thread_id, row.token, row.owner or ""),
            attempt=row.attempt,
            queue=row.queue,
            target=target,
            input=input,
            config=json.loads(config),
            context=context,
            tenant=row.tenant,
            began=bool(began),
            rollback=rollback,
            last_seq=change.last_seq,
            options={} if options is None else json.loads(options),
            waited_s=max(0.0, work[-1] - row.available_at) if row.attempt == 1 else None,
        )

    def heartbeat(self, owner: str, held: Sequence[Lease], lease_s: float) -> Beat:
        """Lengthen all leases of a worker in one statement."""
        if not held:
            return Beat((), {})
        self.set_up()
        with self.database.transaction() as session:
            runs = json.dumps([each.run_id for each in held])
            # A process may have claimed a run again that it still executes under an older token.
            tokens = json.dumps([f"{each.run_id}:{each.token}" for each in held])
            found = session.execute(self._sql.heartbeat, (lease_s, owner, runs, tokens))
        alive = {(run_id, token): reason for run_id, token, reason in found}
        return Beat(
            lost=tuple(each for each in held if (each.run_id, each.token) not in alive),
            cancelled={run_id: reason for (run_id, _), reason in alive.items() if reason is not None},
        )

    def finish(
        self, lease: Lease, status: RunStatus, error: str | None = None, events: Sequence[tuple[int, Event]] = ()
    ) -> None:
        """End a run, and store its last events with that; the same report once more changes nothing.

        Raises:
            LeaseLost: Another owner has the run, or it has ended otherwise.
        """
        self._owned(lease, leases.Finish(lease.token, status, _storable(error)), events)

    def release(self, lease: Lease, *, delay_s: float = 0.0, counts: bool = False, error: str | None = None) -> None:
        """Give a run back; one that was given back by this lease stays as it is.

        Raises:
            LeaseLost: Another owner has the run, or it has ended.
        """
        self._owned(lease, leases.Release(lease.token, delay_s, counts, _storable(error)), ())

    def _owned(self, lease: Lease, event: leases.Event, events: Sequence[tuple[int, Event]]) -> None:
        for tries in range(1, _TRIES + 1):
            try:
                with self._change() as change:
                    row, now = self._read_owned(change.session, lease)
                    decision = leases.decide(row, now, event)
                    if decision.row != row:  # else it was done before
                        self.add_events(change.session, lease.run_id, row.attempt, events)
                    self._apply(change, row, decision)
                return
            except ConflictError:
                if tries == _TRIES:
                    raise

    def add_events(self, session: Session, run_id: str, attempt: int, events: Sequence[tuple[int, Event]]) -> None:
        """Add numbered events in a transaction that has checked the lease; those that are there already stay."""
        if events:
            rows = [(run_id, seq, attempt, event.type, event.data) for seq, event in events]
            session.change_many(self._sql.keep_event, rows)

    def flush(self, lease: Lease, attempt: int, events: Sequence[tuple[int, Event]]) -> None:
        """Add numbered events to the log.

        Raises:
            LeaseLost: Another owner has the run.
        """
        with self.database.transaction() as session:
            self.check_fence(session, lease)
            self.add_events(session, lease.run_id, attempt, events)

    def check_fence(self, session: Session, lease: Lease) -> None:
        """Check a lease, and keep it from being lost before the transaction ends.

        Raises:
            LeaseLost: Another owner has the thread.
        """
        found = session.execute(self._sql.check_fence, (lease.thread_id,))
        if not found or found[0][0] != lease.token:
            raise lost(lease)

    def keep(self, session: Session, lease: Lease, lease_s: float) -> None:
        """Check a lease, and have it hold for so many seconds at least.

        Raises:
            LeaseLost: Another owner has the run, or it has ended.
        """
        if not session.change(self._sql.keep, (lease_s, lease_s, lease.run_id, lease.token)):
            raise lost(lease)

    def events(self, run_id: str, after_seq: int, limit: int) -> list[tuple[int, int, str, bytes | None]]:
        """Return number, attempt, type and data of a run's events after a number."""
        self.set_up()
        with self.database.transaction(write=False) as session:
            found = session.execute(self._sql.events, (run_id, after_seq, limit))
        return [(seq, attempt, kind, data) for seq, attempt, kind, data in found]

    def waiting(self) -> tuple[int, float]:
        """Return how many runs wait, and the seconds for which the oldest has."""
        self.set_up()
        with self.database.transaction(write=False) as session:
            number, oldest_s = session.execute(self._sql.count_waiting)[0]
        return number, max(0.0, oldest_s)

    # Rows.

    def _read(self, session: Session, run_id: str) -> tuple[RunRow, float]:
        found = session.execute(self._sql.life, (run_id,))
        if not found:
            raise _unknown(run_id)
        return _life(found[0]), found[0][_COLUMNS]

    def _read_owned(self, session: Session, lease: Lease) -> tuple[RunRow, float]:
        try:
            return self._read(session, lease.run_id)
        except UnknownRunError:  # it had ended, and the answer to that was lost
            raise LeaseLost(
                f"Run '{lease.run_id}' was pruned: its worker has it no longer", run_id=lease.run_id, token=lease.token
            ) from None

    def _apply(self, change: _Change, before: RunRow, decision: leases.Decision) -> None:
        """Write a row that was decided, and perform the effects that belong to the same transaction."""
        row, session = decision.row, change.session
        if row != before:
            self._swap(session, before, row)
        for effect in decision.effects:
            match effect:
                case leases.Fence(thread_id=thread_id, token=token):
                    session.change(self._sql.raise_fence, (token, thread_id))
                case leases.BeginAttempt(attempt=attempt, reason=reason):
                    self._tell(change, row, ATTEMPT_EVENT, {"attempt": attempt, "reason": reason})
                case leases.End(status=status, error=error):
                    # The message of an error is for the host; it may name prompts, addresses and keys.
                    kind = None if error is None else error.partition(":")[0]
                    self._tell(change, row, END_EVENT, {"status": status, "error": kind})
                case leases.Wake():
                    change.signal(SignalKind.WORK, row.queue, row)
                case leases.TellOwner():
                    change.signal(SignalKind.STOP, row.owner or "", row)

    def _swap(self, session: Session, before: RunRow, row: RunRow) -> None:
        swapped = session.change(
            self._sql.swap,
            (
                row.status,
                row.attempt,
                row.token,
                row.owner,
                row.lease_until,
                row.available_at,
                row.cancel_requested,
                row.error,
                row.status in leases.ENDED,
                row.run_id,
                before.status,
                before.token,
            ),
        )
        if swapped != 1:
            raise ConflictError(f"Run '{row.run_id}' was changed by another transaction")

    def _tell(self, change: _Change, row: RunRow, kind: str, data: Mapping[str, object]) -> None:
        told = (row.run_id, row.attempt, kind, json.dumps(data).encode(), row.run_id)
        change.last_seq = change.session.execute(self._sql.tell_event, told)[0][0]
        change.signal(SignalKind.EVENTS, row.run_id, row)


def lost(lease: ports.Lease) -> LeaseLost:
    """Make the error of an owner whose thread has another owner."""
    return LeaseLost(
        f"Run '{lease.run_id}' has lost thread '{lease.thread_id}': another worker claimed it after token "
        f"{lease.token}. Nothing was written",
        run_id=lease.run_id,
        token=lease.token,
    )


def _storable(text: str | None) -> str | None:
    """Return a text of whatever signs, such as the message of an exception, as every database stores it."""
    return None if text is None else text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _unknown(run_id: str) -> UnknownRunError:
    return UnknownRunError(f"The registry has no run '{run_id}': there was none, or it was pruned")


def _life(found: tuple[Any, ...]) -> RunRow:
    row = RunRow(*found[:_COLUMNS])
    return RunRow(row.run_id, row.thread_id, RunStatus(row.status), *found[3:_COLUMNS])


def shown(found: Sequence[Any]) -> RunInfo:
    """Return what hosts are shown of a run, from its row."""
    run_id, thread_id, queue, priority, status, *others = found
    return RunInfo(run_id, thread_id, queue, priority, RunStatus(status), *others)


def _values(run: Submission, run_id: str, rollback_of: str | None) -> tuple[object, ...]:
    config = json.dumps(dict(run.config or {}))
    about = (run_id, run.thread_id, run.queue, run.priority, run.target, run.graph_version, run.input, config)
    extras = (None if each is None else json.dumps(dict(each)) for each in (run.options, run.labels))
    times = (run.max_attempts, run.delay_s, run.deadline_s)
    return (*about, run.context, *times, rollback_of, run.tenant, *extras, run.kept_s)
