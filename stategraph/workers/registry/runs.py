"""The registry as hosts and workers call it.

    registry = RunRegistry.from_url("sqlite:///runs.db")
    run_id = await registry.submit("thread-1", {"question": "..."}, target="my_app.graphs:graph")

Operations on the database happen in threads; being cancelled does not tear one off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Self, TypeVar

import anyio
import anyio.to_thread

from stategraph.engine.checkpoints import allowlist
from stategraph.engine.checkpoints.serializer import StrictSerializer
from stategraph.types import Command
from stategraph.workers.hosted.options import RunOptions
from stategraph.workers.hosted.tails import Tails
from stategraph.workers.leases import LeaseSettings, RunStatus
from stategraph.workers.registry import erasing
from stategraph.workers.registry.databases import open_database
from stategraph.workers.registry.labelled import LabelledRuns
from stategraph.workers.registry.operations import Prepare, RegistryOperations
from stategraph.workers.registry.overview import Overview
from stategraph.workers.registry.pruning import PAUSE_S, Pruned, Pruning
from stategraph.workers.registry.roster import Roster
from stategraph.workers.registry.values import (
    ON_CONFLICT,
    Beat,
    Claimed,
    Event,
    Lease,
    OnConflict,
    RunInfo,
    Submission,
    WorkerInfo,
    thread_name,
)
from stategraph.workers.wakeups.bus import Bus
from stategraph.workers.wakeups.buses import open_bus

T = TypeVar("T")

#: Bytes of an error that are kept.
ERROR_CHARACTERS: Final = 2_000

#: So many events are read at once, without a thread: to and from one is most of the time of an answer that is short.
FEW_EVENTS: Final = 16


class RunRegistry:
    """The runs of a database.

    Args:
        operations: Performs the operations on the database.
        settings: How long leases last, and how often a run is tried.
        serde: Reads and writes inputs and contexts. By default one that rebuilds messages and plain values only; give a
            `StrictSerializer` that allows the classes of your own that inputs hold.
    """

    def __init__(
        self,
        operations: RegistryOperations,
        *,
        settings: LeaseSettings | None = None,
        serde: StrictSerializer | None = None,
    ) -> None:
        self.operations = operations
        self.roster = Roster(operations)
        self.labelled = LabelledRuns(operations)
        self.overview = Overview(operations)
        #: The newest events of runs that this process executes, for its readers; None: they read from the database.
        self.tails: Tails | None = None
        self.settings = settings or LeaseSettings()
        self.serde = serde or StrictSerializer(allowlist.message_classes())

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        settings: LeaseSettings | None = None,
        serde: StrictSerializer | None = None,
        bus: Bus | str | None = None,
        create: bool = True,
    ) -> Self:
        """Make a registry; nothing is opened before its first use.

        Args:
            url: `sqlite:///runs.db` (relative), `sqlite:////var/lib/runs.db` (absolute), `sqlite:///:memory:`, or
                `postgresql://...`, which needs the extra `postgres`. The database of the checkpoints.
            settings: How long leases last, and how often a run is tried.
            serde: Reads and writes inputs and contexts.
            bus: Wakes workers and readers, who else look at the database by themselves. None: that of the database,
                which PostgreSQL has and SQLite has not. `nats://...` or `tls://...`: a NATS server, the same one in all
                processes, which needs the extra `nats`. `polling`: none.
            create: Whether the tables are made if they are not there, and a SQLite file too. False, for those who only
                look: the first operation raises a `ConfigurationError` instead.

        Raises:
            ConfigurationError: The address is none of these.
            MissingPackageError: `psycopg` or `nats-py` is not installed.
        """
        database = open_database(url, create=create)
        opened = open_bus(bus, url) if bus is None or isinstance(bus, str) else bus
        return cls(RegistryOperations(database, opened, create=create), settings=settings, serde=serde)

    @property
    def bus(self) -> Bus:
        """The bus that wakes those who wait."""
        return self.operations.bus

    async def set_up(self) -> None:
        """Create the tables, unless they are there; also done by the first operation.

        Raises:
            ConfigurationError: They are not there, and are not to be created.
            StoreUnavailableError: The database cannot be reached, or its tables are of a newer version.
        """
        await _in_thread(self.operations.set_up)

    async def aclose(self) -> None:
        """Send the last signals, and close the registry's connections."""
        await _in_thread(self.operations.close)

    # For hosts.

    async def submit(
        self,
        thread_id: str,
        input: object,
        *,
        target: str,
        on_conflict: OnConflict = "reject",
        run_id: str = "",
        config: Mapping[str, object] | None = None,
        context: object = None,
        queue: str = "default",
        priority: int = 0,
        graph_version: str | None = None,
        delay_s: float = 0.0,
        deadline_s: float | None = None,
        tenant: str = "",
        options: RunOptions | None = None,
        labels: Mapping[str, object] | None = None,
        kept_s: float | None = None,
        prepare: Prepare | None = None,
    ) -> str:
        """Add a run, to be executed by any worker.

        Args:
            thread_id: The thread it writes to. Its runs execute one after the other.
            input: What the graph is called with; a `Command` too. None: go on from the thread's checkpoint.
            target: Where the graph is, `package.module:attribute`. Workers import it from modules that they allow.
            on_conflict: What to do if the thread has runs that wait or run. `reject`: refuse this one. `enqueue`: run
                it after them. `interrupt`: stop them, and go on from where they got to. `rollback`: stop them, and
                begin where the thread stood before them.
            run_id: Names the submission. The same one twice is one run, so a submission may be repeated. Empty: new.
            config: Further plain values for the run's config.
            context: What the graph is given as its context.
            queue: Only workers of this queue claim it.
            priority: Runs with a greater one are claimed first; not before older ones of the same thread.
            graph_version: Only workers of this version claim it; None: all do.
            delay_s: Seconds before which it is not claimed, at most a hundred years. Later runs of its thread overtake
                it meanwhile, unless it is to take back others.
            deadline_s: Seconds after which it is not begun any more, and ends as `timeout`; None: no limit.
            tenant: Whose run it is; opaque here, and the scope of its effects.
            options: How it is executed; None: as its worker executes runs.
            labels: JSON that is kept with it for the host, see `labelled`.
            kept_s: Seconds after its end for which the host keeps its thread; None: for good. The host deletes it,
                `labelled.temporary_threads` says when.
            prepare: Called first in the transaction that adds the run, in another thread, and again if that has to be
                repeated. Returns the config of the run, in place of `config`; what it changes in the database is
                stored with the run, or not at all if it raises or the run is refused. None: there is nothing to do.

        Returns:
            The run's id.

        Raises:
            ThreadBusy: The thread has a run, and `on_conflict` is `reject`.
            ValueError: The policy or the target is none, or the run id is that of a run on another thread.
            TypeError: The input or the context cannot be stored, or another argument is of the wrong type.
            StoreUnavailableError: The database cannot be reached; nothing is known of the submission.
        """
        if on_conflict not in ON_CONFLICT:
            raise ValueError(f"on_conflict is '{on_conflict}'; expected one of: {', '.join(ON_CONFLICT)}")
        if not isinstance(target, str):
            raise TypeError(
                f"The target is a value of type {type(target).__name__}, and workers import graphs by their name: "
                "compile the graph at the top of a module, and write 'package.module:attribute'"
            )
        if target.count(":") != 1 or not all(target.split(":")):
            raise ValueError(f"The target '{target}' names no graph: write 'package.module:attribute'")
        run = Submission(
            thread_name(thread_id),
            target,
            self.dump(input),
            run_id,
            config=config,
            context=self.dump(context),
            queue=queue,
            priority=priority,
            graph_version=graph_version,
            max_attempts=self.settings.max_attempts,
            delay_s=delay_s,
            deadline_s=deadline_s,
            tenant=tenant,
            options=None if options is None else options.to_json(),
            labels=labels,
            kept_s=kept_s,
        )
        return await self._perform(self.operations.submit, run, on_conflict, None, prepare, quick=True)

    async def get(self, run_id: str) -> RunInfo:
        """Look at a run.

        Raises:
            UnknownRunError: There is none.
        """
        return await self._perform(self.operations.show, run_id, write=False)

    async def list(
        self,
        *,
        status: RunStatus | str | None = None,
        thread_id: str | None = None,
        tenant: str | None = None,
        limit: int = 100,
    ) -> list[RunInfo]:
        """Look at the newest runs.

        Args:
            status: Only those in this status.
            thread_id: Only those of this thread.
            tenant: Only those of this tenant.
            limit: At most so many.
        """
        wanted = None if status is None else RunStatus(status)
        return await self._perform(self.operations.newest, wanted, thread_id, tenant, limit, write=False)

    async def workers(self) -> Sequence[WorkerInfo]:
        """Look at the workers, the oldest first: also at those that were killed or hang, for a day."""
        return await _in_thread(self.roster.workers)

    async def resume(self, run_id: str, answer: Any = None, *, new_id: str = "") -> str:
        """Go on where a run waits for an answer: a new run on its thread, with the same target, config and context.

        A question is answered once. An answer that comes again, by a second click for example, is refused when the
        thread has gone on, as its next question would get it; also if the run that took it failed later, which a run
        with the input None goes on from. One whose run failed before that may be given again.

        Args:
            run_id: A run that is `interrupted`.
            answer: The answer, or answers by interrupt id.
            new_id: Names the new run; empty: new.

        Returns:
            The new run's id.

        Raises:
            IllegalRunMove: The run waits for nothing, or no more: a later run of its thread has taken an answer.
            ThreadBusy: Its thread has a run already.
            UnknownRunError: There is no such run.
        """
        return await self._perform(self.operations.resume, run_id, self.dump(Command(resume=answer)), new_id)

    async def cancel(self, run_id: str, reason: str = "cancelled by the host") -> bool:
        """Ask a run to stop. One that waits ends at once; one that runs does when its owner hears of it.

        That is at once over a bus, and else with the owner's next heartbeat.

        Args:
            run_id: The run.
            reason: The reason, for later readers of the run.

        Returns:
            Whether there was something to stop; False if the run had ended.

        Raises:
            UnknownRunError: There is no such run.
        """
        return await self._perform(self.operations.cancel, run_id, reason)

    async def requeue(self, run_id: str) -> bool:
        """Give a dead run new attempts.

        Returns:
            Whether it was dead.

        Raises:
            UnknownRunError: There is no such run.
        """
        return await self._perform(self.operations.requeue, run_id)

    async def prune(
        self,
        older_than_s: float,
        *,
        statuses: Iterable[RunStatus | str] | None = None,
        dry_run: bool = False,
        observer: Callable[[Pruned], object] | None = None,
    ) -> Pruned:
        """Delete runs that ended long ago, with their events, beside workers and readers.

        Runs that have not ended stay, and so do those that wait for an answer and those that a later run is to take
        back. Checkpoints and effects stay as well. A submission that names a run which was deleted is a new run.

        Args:
            older_than_s: Only runs that ended so many seconds ago.
            statuses: Only runs in these; None: in any that is an end, dead ones too. With `interrupted` also those that
                wait for an answer.
            dry_run: Delete nothing, and count what would be deleted.
            observer: Called with the numbers so far, many times.

        Returns:
            What was deleted. It may be called again after an error or a cancellation: nothing is left halfway for good.

        Raises:
            StoreUnavailableError: The database cannot be reached.
            ValueError: The age is no number of seconds, or a status is no end.
        """
        pruning = Pruning(self.operations, older_than_s, statuses, dry_run=dry_run)
        while True:
            began = anyio.current_time()
            await _in_thread(pruning.step)
            if pruning.is_done:
                return pruning.pruned
            if observer is not None:
                observer(pruning.pruned)
            await anyio.sleep(max(PAUSE_S, anyio.current_time() - began))

    async def erase_thread(self, thread_id: str) -> int:
        """Erase the runs of a thread with their inputs and events; return how many that were.

        Raises:
            ConfigurationError: One of them goes on, or waits for a worker.
            StoreUnavailableError: The database cannot be reached.
        """
        return await _in_thread(erasing.erase_thread, self.operations, thread_name(thread_id))

    # For workers.

    async def claim(
        self, owner: str, queue: str = "default", *, version: str | None = None, held: Sequence[str] = ()
    ) -> Claimed | None:
        """Claim a run: one whose owner is gone, or else the next that waits.

        Args:
            owner: This process, from `ids.new_owner`.
            queue: The queue.
            version: The version of this worker's graphs.
            held: The runs that this process executes, which it does not take from itself when it was late.

        Returns:
            The run; None if there is none for now.
        """
        return await self._perform(
            self.operations.claim, owner, queue, self.settings.lease_s, version, tuple(held), quick=True
        )

    async def claim_run(self, owner: str, run_id: str) -> Claimed | None:
        """Claim one run of any queue; None if it is not its turn."""
        return await self._perform(self.operations.claim_run, owner, run_id, self.settings.lease_s)

    async def heartbeat(self, owner: str, held: Sequence[Lease]) -> Beat:
        """Lengthen all leases of a worker, and learn which are lost and which runs are to stop."""
        return await self._perform(self.operations.heartbeat, owner, held, self.settings.lease_s)

    async def finish(
        self,
        lease: Lease,
        status: RunStatus | str,
        error: str | None = None,
        events: Sequence[tuple[int, Event]] = (),
    ) -> None:
        """End a run, and store its last events in the same transaction; the same report once more changes nothing.

        Raises:
            LeaseLost: Another owner has the run, or it has ended otherwise.
        """
        error = None if error is None else error[:ERROR_CHARACTERS]
        await self._perform(self.operations.finish, lease, RunStatus(status), error, events, quick=True)

    async def release(
        self, lease: Lease, *, delay_s: float = 0.0, counts: bool = False, error: str | None = None
    ) -> None:
        """Give a run back, to be claimed by any worker; one that was given back by this lease stays as it is.

        Args:
            lease: The lease.
            delay_s: Not claimed again before.
            counts: Whether this was an attempt; the last one leaves the run `dead`.
            error: Why.

        Raises:
            LeaseLost: Another owner has the run, or it has ended.
        """
        error = None if error is None else error[:ERROR_CHARACTERS]
        release = partial(self.operations.release, lease, delay_s=delay_s, counts=counts, error=error)
        await self._perform(release)

    async def add_events(self, lease: Lease, attempt: int, events: Sequence[tuple[int, Event]]) -> None:
        """Store numbered events of a run that this process has.

        Raises:
            LeaseLost: Another owner has the run.
        """
        await self._perform(self.operations.flush, lease, attempt, events, quick=True)

    async def events_after(self, run_id: str, seq: int, limit: int) -> Sequence[tuple[int, int, str, bytes | None]]:
        """Return number, attempt, kind and data of a run's stored events; `eventlog.attach` reads them as they come."""
        few = limit <= FEW_EVENTS
        return await self._perform(self.operations.events, run_id, seq, limit, write=False, quick=few)

    async def _perform(
        self, function: Callable[..., T], *arguments: object, write: bool = True, quick: bool = False
    ) -> T:
        return await self.operations.database.perform(function, *arguments, write=write, quick=quick)

    # Values.

    def dump(self, value: object) -> bytes | None:
        """Serialise a value; None stays None.

        Raises:
            TypeError: It cannot be stored.
        """
        if value is None:
            return None
        try:
            kind, data = self.serde.dumps_typed(value)
        except TypeError as error:
            raise TypeError(
                f"A run's input, context or answer cannot be stored: {error}. Give what checkpoints store: plain "
                "values, messages, dataclasses, Pydantic models"
            ) from error
        return kind.encode() + b"\0" + data

    def load(self, stored: bytes | None) -> Any:
        """Read a value that was serialised here; only allowed classes are rebuilt."""
        if stored is None:
            return None
        kind, _, data = bytes(stored).partition(b"\0")
        return self.serde.loads_typed((kind.decode(), data))


async def _in_thread(function: Callable[..., T], *arguments: object) -> T:
    return await anyio.to_thread.run_sync(function, *arguments)
