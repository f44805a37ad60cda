"""The loop of a worker: claim, run, heartbeat, finish.

Rules
-----
* One failing run, or one that cannot be begun, never keeps the worker from the next.
* A lost lease is learnt from a heartbeat or from a refused write. The run is cancelled here; nothing is stored or told
  about it, as its new owner does that.
* While the database is away, runs go on to their next write, which is tried again for a while, as claims and
  heartbeats are. Then the run is given up: it is released if the registry is there, else its row is left as it is, to
  be claimed when the lease has run out.
* Leases that may have run out meanwhile, of an owner that is alive, are lengthened before anything is claimed.
* A worker looks for runs when the registry's bus says that there are some, and every `poll_s` in any case. One that is
  full hears nothing of that, so that another one does.
* Draining claims nothing more, waits, and gives back what has not ended: others go on from the checkpoint at once. Of
  that moment on no database is waited for.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from stategraph.engine.checkpoints.saver_interfaces import Saver
from stategraph.errors import ConfigurationError, TransferError
from stategraph.workers import leases
from stategraph.workers.attempts import STREAM_MODES, Attempt, Graphs, Outcome, SessionOf
from stategraph.workers.eventlog import EventBuffer
from stategraph.workers.hosted.sources import GraphSource
from stategraph.workers.ids import new_owner
from stategraph.workers.leases import LeaseLost, RunStatus
from stategraph.workers.ledger.effects import EffectLedger
from stategraph.workers.outages import News, persist
from stategraph.workers.references import Targets
from stategraph.workers.registry.port import StoreUnavailableError
from stategraph.workers.registry.roster import SEEN_EVERY_S
from stategraph.workers.registry.runs import RunRegistry
from stategraph.workers.registry.values import Claimed, Lease
from stategraph.workers.wakeups.bus import BusHealth, Wakes
from stategraph.workers.wakeups.signals import SignalKind

logger = logging.getLogger("stategraph.workers")

#: A run whose graph this worker cannot import is left to others for so long.
FOREIGN_S: Final = 5.0

#: Time between two times that events are stored, unless a write stores them.
FLUSH_S: Final = 0.05

#: The longest pause, in seconds, after storing events failed: it doubles from `FLUSH_S`.
LONGEST_FLUSH_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """Settings of a worker.

    Attributes:
        allow: Modules that targets may be imported from, with all modules below them.
        queues: The queues that it claims from, the most important first.
        capacity: How many runs it executes at a time.
        version: The version of its graphs; runs of another version are left alone.
        poll_s: How often it looks for runs, in seconds, if it found none.
        drain_s: How long runs may go on when it is to stop, in seconds.
        store_grace_s: How long a write of a run, and the report of its end, are tried while the database is away, in
            seconds.
        stream_modes: The stream modes that are told as events.
    """

    allow: Sequence[str]
    queues: Sequence[str] = ("default",)
    capacity: int = 10
    version: str | None = None
    poll_s: float = 0.5
    drain_s: float = 30.0
    store_grace_s: float = 30.0
    stream_modes: Sequence[str] = STREAM_MODES

    def __post_init__(self) -> None:
        if isinstance(self.allow, str) or not self.allow:
            raise ConfigurationError("A worker is told which modules it may import: allow=['my_app']")
        if self.capacity < 1:
            raise ConfigurationError(f"A worker's capacity is {self.capacity}; it needs at least 1")
        if not self.poll_s > 0:
            raise ConfigurationError(f"A worker's poll_s is {self.poll_s}; it needs a number of seconds above 0")
        for name in ("drain_s", "store_grace_s"):
            if not getattr(self, name) >= 0:
                raise ConfigurationError(f"A worker's {name} is {getattr(self, name)}; it needs 0 seconds or more")


@dataclass(frozen=True, slots=True)
class WorkerHealth:
    """A worker at one moment.

    Attributes:
        owner: Its name.
        busy: How many runs it executes.
        capacity: How many it can.
        finished: How many it brought to an end.
        lost: How many leases it lost.
        draining: Whether it claims nothing more.
        last_error: The last thing that went wrong with the worker itself; None if nothing did.
        bus: The bus that wakes it.
        unsaved: How many events of its runs are not in the log yet.
    """

    owner: str
    busy: int
    capacity: int
    finished: int
    lost: int
    draining: bool
    last_error: str | None
    bus: BusHealth
    unsaved: int = 0


NoticeKind: TypeAlias = Literal["claimed", "ended", "returned", "lost", "abandoned"]


@dataclass(frozen=True, slots=True)
class RunNotice:
    """Something that happened to a run on a worker, for a worker's `observer`.

    Attributes:
        kind: `claimed`, `ended`, `returned` (given back, to be claimed again), `lost` (another owner has it), or
            `abandoned` (left as it is until its lease runs out, as it could not be given back).
        run_id: The run.
        thread_id: Its thread.
        target: Its graph, `package.module:attribute`.
        attempt: The number of the attempt.
        status: What it ended as; None if it did not end.
        error: Kind and message of what it failed with, or why it was given back; None if neither.
        waited_s: Of a run that was claimed for the first time: for how many seconds it could have begun.
    """

    kind: NoticeKind
    run_id: str
    thread_id: str
    target: str
    attempt: int
    status: RunStatus | None = None
    error: str | None = None
    waited_s: float | None = None


@dataclass(eq=False, slots=True)
class _Running:
    """A run that is executed here."""

    claimed: Claimed
    events: EventBuffer | None = None
    task: asyncio.Task[Outcome] | None = None
    importing: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    stopped: bool = False
    cancelled: str | None = None
    lost: bool = False

    def stop(self) -> None:
        """Cancel the run here, once: the engine takes its time to leave."""
        if not self.stopped and self.task is not None:
            self.task.cancel()
        self.importing.cancel()
        self.stopped = True


class Worker:
    """Executes runs of a registry until it is told to stop.

    Args:
        registry: Where the runs are.
        saver: Where their threads are: an async saver on the same database.
        settings: What it takes on.
        observer: Called with what happens to its runs, for logs and metrics; errors that it raises are logged.
        graphs: Finds the graphs of runs; None: they are imported, from the modules that `settings` allow.
        session_of: Makes the session in which a run is executed, such as `stategraph.governance.session.Session`, from
            what it was submitted with; None: runs have none.
    """

    def __init__(
        self,
        registry: RunRegistry,
        saver: Saver,
        settings: WorkerSettings,
        observer: Callable[[RunNotice], object] | None = None,
        session_of: SessionOf | None = None,
        graphs: GraphSource | None = None,
    ) -> None:
        self.owner = new_owner()
        self._registry = registry
        self._saver = saver
        self._settings = settings
        self._observer = observer
        self._session_of = session_of
        self._graphs = graphs or Graphs(Targets(settings.allow))
        self._ledger = EffectLedger(registry)
        self._running: dict[Lease, _Running] = {}
        self._draining = anyio.Event()
        self._stopping = anyio.Event()
        self._freed = anyio.Event()
        self._finished = 0
        self._lost = 0
        self._beaten_at = 0.0
        self._last_error: str | None = None
        self._news = News()
        self._broken: str | None = None
        self._is_seen = False

    def health(self) -> WorkerHealth:
        """Describe the worker at this moment."""
        return WorkerHealth(
            owner=self.owner,
            busy=len(self._running),
            capacity=self._settings.capacity,
            finished=self._finished,
            lost=self._lost,
            draining=self._draining.is_set(),
            last_error=self._last_error,
            bus=self._registry.bus.health(),
            unsaved=sum(len(each.events) for each in self._running.values() if each.events is not None),
        )

    def drain(self) -> None:
        """Claim nothing more; `run` returns when the runs that are there have ended, or were given back."""
        self._draining.set()

    def stop(self) -> None:
        """Drain without waiting for the runs: they are cancelled and given back at once.

        While the database is away they are left as they are, to be claimed when their leases have run out.
        """
        self._draining.set()
        self._stopping.set()

    async def run(self) -> None:
        """Execute runs until `drain` is called.

        Raises:
            StoreUnavailableError: The database cannot be reached when the worker starts, or the saver's only connection
                was closed: the worker would fail every run that it claims. What it had was given back.
        """
        await self._registry.set_up()
        async with anyio.create_task_group() as group:
            await group.start(self._beat)
            await group.start(self._be_seen)
            async with anyio.create_task_group() as runs:
                await self._claim_until_drained(runs)
                runs.start_soon(self._end_drain)
                await self._wait_for_runs()
                runs.cancel_scope.cancel()
            group.cancel_scope.cancel()
        if self._is_seen:
            await self._roster(self._registry.roster.forget, self.owner)
        if self._broken is not None:
            raise StoreUnavailableError(self._broken)

    # Claiming.

    async def _claim_until_drained(self, runs: TaskGroup) -> None:
        while not self._draining.is_set():
            if self._is_full:
                await self._rest(Wakes())
                continue
            with self._registry.bus.watch((SignalKind.WORK, queue) for queue in self._settings.queues) as wakes:
                await self._claim_until_full(runs, wakes)
                wakes.may_be_more = self._is_full

    async def _claim_until_full(self, runs: TaskGroup, wakes: Wakes) -> None:
        while not self._is_full and not self._draining.is_set():
            if getattr(getattr(self._saver, "conn", None), "closed", False):
                self._broken = "The worker's saver has lost its connection for good: give it a saver on a pool"
                self.drain()
                return
            claimed = await self._claim()
            if claimed is None:
                await self._rest(wakes)
                continue
            running = _Running(claimed)
            self._running[claimed.lease] = running
            runs.start_soon(self._take_on, running)

    @property
    def _is_full(self) -> bool:
        return len(self._running) >= self._settings.capacity

    async def _claim(self) -> Claimed | None:
        try:
            if anyio.current_time() - self._beaten_at > self._registry.settings.lease_s / 2:
                await self._beat_once()
        except Exception as error:
            self._note(error)
            return None
        for queue in self._settings.queues:
            try:
                held = [lease.run_id for lease in self._running]
                claimed = await self._registry.claim(self.owner, queue, version=self._settings.version, held=held)
            except Exception as error:  # the database is away, or refuses something: it is tried again
                self._note(error)
                return None
            if claimed is not None:
                return claimed
        return None

    async def _rest(self, wakes: Wakes) -> None:
        """Wait for a signal, for a place that becomes free, for the end, or for a while."""
        self._freed = anyio.Event()
        wait_s = self._settings.poll_s * random.uniform(0.7, 1.3)
        async with anyio.create_task_group() as group:

            async def wake(event: anyio.Event) -> None:
                await event.wait()
                group.cancel_scope.cancel()

            group.start_soon(wake, self._draining)
            group.start_soon(wake, self._freed)
            await wakes.wait(wait_s)
            group.cancel_scope.cancel()

    # Running.

    async def _take_on(self, running: _Running) -> None:
        claimed = running.claimed
        self._tell(claimed, "claimed")
        try:
            await self._execute(running)
        except LeaseLost as error:
            self._lost += 1
            logger.warning("%s; its events and results here are dropped", error)
            self._tell(claimed, "lost")
        except StoreUnavailableError as error:
            self._note(error)  # the lease runs out, and another worker continues from the checkpoint
            self._tell(claimed, "abandoned", error=str(error))
        except Exception as error:  # of this run alone: the others, and the worker, go on
            logger.exception(
                "Run '%s' is given back after an error that its worker did not expect", claimed.lease.run_id
            )
            self._note(error)
            await self._give_back(claimed, error)
        finally:
            del self._running[claimed.lease]
            self._freed.set()

    async def _give_back(self, claimed: Claimed, error: Exception) -> None:
        """Give a run back after an error, which counts as one of its attempts; else its lease runs out."""
        told = f"{type(error).__name__}: {error}"
        delay_s = leases.backoff_s(claimed.attempt)
        try:
            with anyio.CancelScope(shield=True):
                await self._registry.release(claimed.lease, delay_s=delay_s, counts=True, error=told)
        except Exception as again:
            self._note(again)
            self._tell(claimed, "abandoned", error=told)
        else:
            self._tell(claimed, "returned", error=told)

    async def _execute(self, running: _Running) -> None:
        claimed = running.claimed
        graph: object = None
        try:
            with running.importing:
                graph = await self._graphs.find(claimed.target)
        except TransferError as error:
            self._note(error)
            await self._registry.release(claimed.lease, delay_s=FOREIGN_S, error=f"TransferError: {error}")
            self._tell(claimed, "returned", error=str(error))
            return
        attempt = Attempt(
            self._registry,
            self._saver,
            claimed,
            self._settings.stream_modes,
            grace_s=self._settings.store_grace_s,
            note=self._note,
            hurry=self._stopping,
            session_of=self._session_of,
        )
        running.events = attempt.events
        try:
            with self._ledger.of_run(claimed):
                outcome = await self._attempt(running, attempt, graph)
            with anyio.CancelScope(shield=True):
                await self._report(running, attempt, outcome)
        finally:
            attempt.events.close()

    async def _attempt(self, running: _Running, attempt: Attempt, graph: object) -> Outcome | None:
        """Run an attempt, and store its events while no write comes by; None if it was stopped."""
        if running.stopped:
            return None
        task = running.task = asyncio.create_task(attempt.run(graph))
        over = asyncio.Event()
        flushing = asyncio.create_task(self._flush_often(running, attempt, over))
        try:
            await asyncio.wait({task})
        finally:
            running.stop()
            over.set()
            attempt.events.some.set()
            with anyio.CancelScope(shield=True):
                await asyncio.wait({task, flushing})
        return None if task.cancelled() else task.result()

    async def _flush_often(self, running: _Running, attempt: Attempt, over: asyncio.Event) -> None:
        # The first event, and one after a pause, is stored at once; in a stream of them, many at a time.
        some = attempt.events.some  # set at the end as well
        pause_s = FLUSH_S
        while True:
            await some.wait()
            if over.is_set():
                return
            some.clear()
            try:
                await attempt.events.flush()
                pause_s = FLUSH_S
            except LeaseLost:
                running.lost = True
                running.stop()
                return
            except Exception as error:  # the database is away, or refuses something: nothing is lost yet
                some.set()
                self._note(error)
                pause_s = min(2 * pause_s, LONGEST_FLUSH_S)
            with anyio.move_on_after(pause_s):
                await over.wait()

    async def _report(self, running: _Running, attempt: Attempt, outcome: Outcome | None) -> None:
        claimed = running.claimed
        if running.lost:
            raise LeaseLost(
                f"Run '{claimed.lease.run_id}' has lost its thread",
                run_id=claimed.lease.run_id,
                token=claimed.lease.token,
            )
        if outcome is None and running.cancelled is not None:
            outcome = Outcome(RunStatus.CANCELLED, f"AbortError: {running.cancelled}")
        if outcome is None:  # the worker stops
            await self._persist(lambda: self._registry.release(claimed.lease))
            self._tell(claimed, "returned")
            return
        if outcome.status is RunStatus.PENDING:
            # It was tried for long enough: without a registry either, the row is left as it is.
            delay_s = leases.backoff_s(claimed.attempt)
            await self._registry.release(claimed.lease, delay_s=delay_s, counts=True, error=outcome.error)
            self._tell(claimed, "returned", error=outcome.error)
            return
        end = (outcome.status, outcome.error, attempt.events.waiting())
        await self._persist(lambda: self._registry.finish(claimed.lease, *end))
        self._finished += 1
        self._tell(claimed, "ended", outcome.status, outcome.error)

    async def _persist(self, act: Callable[[], Awaitable[None]]) -> None:
        """Report to the registry, and try again for a while if it is away."""
        database, grace_s = self._registry.operations.database, self._settings.store_grace_s
        await persist(act, database, grace_s, self._note, self._stopping)

    # Heartbeats.

    async def _beat(self, *, task_status: Any = anyio.TASK_STATUS_IGNORED) -> None:
        """Lengthen the leases from time to time, and when the bus says that one of the runs is to stop."""
        task_status.started()
        with self._registry.bus.watch([(SignalKind.STOP, self.owner)]) as wakes:
            while True:
                await wakes.wait(self._registry.settings.heartbeat_s)
                try:
                    await self._beat_once()
                except Exception as error:  # a worker that ended with it would lose all its runs
                    self._note(error)

    async def _beat_once(self) -> None:
        """Lengthen all leases, and stop the runs that are lost or cancelled.

        Raises:
            StoreUnavailableError: The database cannot be reached.
        """
        held = list(self._running.values())
        beat = await self._registry.heartbeat(self.owner, [each.claimed.lease for each in held])
        self._beaten_at = anyio.current_time()
        for running in held:
            lease = running.claimed.lease
            if lease not in self._running:
                continue  # it has been reported meanwhile
            if lease in beat.lost:
                running.lost = True
                running.stop()
            elif lease.run_id in beat.cancelled and running.cancelled is None:
                running.cancelled = beat.cancelled[lease.run_id]
                running.stop()

    async def _be_seen(self, *, task_status: Any = anyio.TASK_STATUS_IGNORED) -> None:
        """Refresh the worker's row, for those who look at the fleet."""
        roster, offered = self._registry.roster, (self._settings.capacity, tuple(self._settings.queues))
        await self._roster(roster.forget_gone)
        self._is_seen = await self._roster(roster.see, self.owner, *offered)
        task_status.started()
        while True:
            await anyio.sleep(SEEN_EVERY_S)
            self._is_seen = await self._roster(roster.see, self.owner, *offered)

    async def _roster(self, act: Callable[..., None], *arguments: object) -> bool:
        """Change the rows of workers; returns whether that was possible."""
        try:
            await anyio.to_thread.run_sync(act, *arguments)
        except Exception as error:
            self._note(error)
            return False
        return True

    # The end.

    async def _wait_for_runs(self) -> None:
        while self._running:
            self._freed = anyio.Event()
            await self._freed.wait()

    async def _end_drain(self) -> None:
        with anyio.move_on_after(self._settings.drain_s):
            await self._stopping.wait()
        self._stopping.set()
        for running in list(self._running.values()):
            running.stop()

    def _tell(
        self,
        claimed: Claimed,
        kind: NoticeKind,
        status: RunStatus | None = None,
        error: str | None = None,
    ) -> None:
        if self._observer is None:
            return
        lease, waited_s = claimed.lease, claimed.waited_s if kind == "claimed" else None
        notice = RunNotice(
            kind, lease.run_id, lease.thread_id, claimed.target, claimed.attempt, status, error, waited_s
        )
        try:
            self._observer(notice)
        except Exception:
            logger.exception("The worker's observer failed")

    def _note(self, error: Exception) -> None:
        self._last_error = f"{type(error).__name__}: {error}"
        if self._news.has(self._last_error):
            logger.warning("%s", self._last_error)
