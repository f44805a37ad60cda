"""The host of jobs that nodes on any machine have done: what a job is, and who may begin it, is known here.

Rules
-----
* A job is in JetStream until a node has brought it to its end. It is begun by one node at a time: a node asks, and is
  told to go, to wait, or to leave it.
* A node that was not heard of for `ack_wait_s` is lost. When another one asks, it may begin the job again, as another
  attempt; what the lost one says of it later is not heard, and it is told to stop.
* Readers see the events of all attempts, in order and each once, with `run.attempt` between two attempts.
* A job whose attempts are used up fails, and is a dead letter. One that was given back is not one attempt less.
* What a server that lost its disk does not have any more is put into the queue again.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from stategraph.errors import ConfigurationError, TransferError, WorkerError
from stategraph.workers.cluster.links import Links
from stategraph.workers.cluster.node import Node, NodeSettings, topic_of
from stategraph.workers.cluster.placed import Placed, Seen
from stategraph.workers.cluster.queue import DUPLICATES_S, DeadLetter, JobQueue, check_size
from stategraph.workers.cluster.session import Session
from stategraph.workers.cluster.submissions import Submissions
from stategraph.workers.handle import HostedJob
from stategraph.workers.hosting import HostingPool, at_least_one, fields_of
from stategraph.workers.ids import new_owner
from stategraph.workers.inline import InlinePool
from stategraph.workers.nats.address import read_address
from stategraph.workers.nats.connection import NatsUnavailableError
from stategraph.workers.pool import Calls, EventSink, Job, PoolHealth, PoolStatistics, WorkerStatistics
from stategraph.workers.process.supervisor import ProcessPool
from stategraph.workers.scheduling import ScheduledPool
from stategraph.workers.thread import ThreadPool
from stategraph.workers.wakeups.buses import open_bus
from stategraph.workers.wakeups.signals import Signal, SignalKind
from stategraph.workers.wire import Message, pack, unpack

if TYPE_CHECKING:
    from nats.aio.msg import Msg

logger = logging.getLogger("stategraph.workers")

#: After so many times `ack_wait_s` without a node that asks for it, the job of a lost node is put into the queue again.
_FORGOTTEN: Final = 3

_LOCAL: Final[Mapping[str, Callable[..., ScheduledPool]]] = {
    "inline": InlinePool,
    "process": ProcessPool,
    "thread": ThreadPool,
}

_ENDS: Final = ("done", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """Settings of a pool over NATS.

    Attributes:
        tenant: Whose jobs they are: only nodes of the same tenant see them.
        queues: The queues that the workers of this process take jobs from.
        max_attempts: How often a job is begun whose node or worker is lost.
        ack_wait_s: After so many seconds without a sign of life a node is lost. The same in all processes.
        submit_s: How long `submit` waits for a server that is away.
        local: How the workers of this process run: `process`, `thread` or `inline`.
    """

    tenant: str = ""
    queues: Sequence[str] = ("default",)
    max_attempts: int = 3
    ack_wait_s: float = 15.0
    submit_s: float = 10.0
    local: Literal["process", "thread", "inline"] = "process"

    def __post_init__(self) -> None:
        at_least_one("max_attempts", self.max_attempts)
        for name in ("ack_wait_s", "submit_s"):
            seconds: object = getattr(self, name)
            if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not seconds > 0:
                raise ConfigurationError(f"{name} is {seconds!r}; expected a number of seconds above 0")
        if self.local not in _LOCAL:
            raise ConfigurationError(f"local is {self.local!r}; expected one of: {', '.join(_LOCAL)}")


class NatsPool(HostingPool):
    """Runs jobs on the workers of nodes that are connected to a NATS server.

    Args:
        url: The server, see `stategraph.workers.nats.address`.
        workers: How many workers this process starts itself, as a node beside others; 0: none.
        allow: Modules that targets and values may be imported from. Other nodes have a list of their own.
        settings: The tenant, attempts and times.
        grace_s: Seconds that a cancelled job has to end.
        **local: Further arguments for the pool of this process's own workers, such as `memory_limit_mb`.
    """

    backend = "nats"
    begins_again = True

    def __init__(
        self,
        url: str,
        workers: int = 0,
        *,
        allow: Iterable[str] = (),
        settings: ClusterSettings | None = None,
        grace_s: float = 5.0,
        **local: Any,
    ) -> None:
        if workers != 0:
            at_least_one("workers", workers)
        super().__init__(allow, grace_s)
        self.settings = settings or ClusterSettings()
        self.name = new_owner()
        self._url = url
        self._address = read_address(url)
        self._bus = open_bus(url, url)
        self._workers = workers
        self._local_settings = {"grace_s": grace_s, **local}
        self._placed: dict[str, Placed] = {}
        self._unanswered = Submissions()
        self._seen: dict[str, Seen] = {}
        self._opening = asyncio.Lock()
        self._is_open = False
        self._open = AsyncExitStack()
        self._restarts = 0
        self._last_error: str | None = None
        self._local: ScheduledPool | None = None
        self.session = Session(self._address, "stategraph pool")
        self.session.when_wrong.append(self._note_problem)
        self.queue = JobQueue(self.session, self.settings.tenant, self.settings.ack_wait_s)
        self.links = Links(self.queue, self.queue.subject("hosts", self.name, "frames"))

    # The port.

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def open(self) -> None:
        """Connect to the server, and start the workers of this process; also done by the first submission.

        Raises:
            ConfigurationError: The server refuses this process, has no JetStream, or has something else under one of
                the names.
            NatsUnavailableError: The server cannot be reached.
        """
        self._affinity.check()
        async with self._opening:
            if self._is_open or self._closed:
                return
            await self.session.open()
            try:
                await self._begin()
            except BaseException:
                await self._open.aclose()
                await self.session.aclose()
                raise
            self._is_open = True

    async def _begin(self) -> None:
        await self.queue.set_up(self.settings.queues)
        self._open.push_async_callback(asyncio.to_thread, self._bus.close)
        await self.links.open()
        self._open.push_async_callback(self.links.aclose)
        await self.session.subscribe(self.queue.subject("hosts", self.name, "claim"), self._asked)
        await self.session.subscribe(self.queue.subject("hosts", self.name, "holds"), self._told_held)
        await self.session.subscribe(self.queue.subject("presence"), self._heard)
        await self.session.publish(self.queue.subject("who"), b"")
        looking = asyncio.ensure_future(self._look_after())
        self._open.push_async_callback(_cancelled, looking)
        if self._workers:
            await self._start_workers()

    async def _start_workers(self) -> None:
        local = _LOCAL[self.settings.local](self._workers, allow=self.targets.allowed, **self._local_settings)
        self._local = await self._open.enter_async_context(local)
        links = Links(self.queue, self.queue.subject("nodes", self.name, "frames"))
        await links.open()
        self._open.push_async_callback(links.aclose)
        node = Node(self.queue, links, self._local, self._bus, NodeSettings(self.settings.queues), self.name)
        running = asyncio.ensure_future(node.run())
        running.add_done_callback(_log_failure)
        self._open.push_async_callback(_stopped, node, running)

    async def submit(self, job: Job, *, calls: Calls | None = None, log: EventSink | None = None) -> HostedJob:
        """Have a job done, see `WorkerPool.submit`.

        Raises:
            NatsUnavailableError: The server is away; nothing is known of the job.
            TransferError: The target is not allowed, or the job is too large.
            WorkerError: The pool takes no more jobs, or another process submitted this id just before.
        """
        if (known := self.known(job)) is not None:
            return known
        hosted = HostedJob(job, self.codec, calls, log)
        self._accept(hosted)
        await self._bring(hosted)
        return hosted

    def enter(self, hosted: HostedJob) -> None:
        """Put a job into the queue as soon as the server has it, see `HostingPool.enter`."""
        self._accept(hosted)
        self._spawn(self._bring_or_end(hosted))

    async def _bring_or_end(self, hosted: HostedJob) -> None:
        with suppress(Exception):  # the job has ended with it
            await self._bring(hosted)

    async def _bring(self, hosted: HostedJob) -> None:
        """Bring a job to the server; one that cannot be brought there ends with that error."""
        try:
            await self.open()
            await self._put(hosted)
        except BaseException as error:
            placed = self._placed.pop(hosted.job.id, None)
            hosted.fail(error)
            self._job_ended(hosted)
            self._ended.pop(hosted.job.id, None)
            if placed is not None:
                if placed.link is not None:  # the answer of the server was lost, and a node has begun it
                    self.links.drop(placed.link)
                if isinstance(error, NatsUnavailableError | asyncio.CancelledError) and not placed.number:
                    self._unanswered.keep(placed.unanswered())
                else:
                    self._spawn(self._clean_up(placed))
            raise

    async def _put(self, hosted: HostedJob) -> None:
        """Put a job into the queue, and signal it."""
        job = hosted.job
        fields = fields_of(job)
        packed = pack((fields,))
        check_size(len(packed), f"Job '{job.id}'")
        digest = hashlib.blake2b(packed, digest_size=16).digest()
        before = self._unanswered.again(job.id, digest)
        await self._until_up(hosted)
        if hosted.outcome is not None:  # it was cancelled meanwhile
            return
        if before is not None:
            placed = Placed(hosted, before.data, digest, before.stored, begun=before.begun)
        else:
            stored = await self.queue.store(packed) if len(packed) > self.queue.inline_bytes else None
            kind, content = ("fields", fields) if stored is None else ("object", stored)
            placed = Placed(hosted, pack((job.id, self.name, kind, content)), digest, stored)
        if job.id in self._jobs:  # else it was cancelled meanwhile
            self._placed[job.id] = placed
            placed.made_at = self.queue.made_at
            again = self._again() if before is not None and before.taken else ""
            placed.number = await self.queue.put(job.id, job.queue, job.priority, placed.data, again=again)
            self._unanswered.forget(job.id)
            placed.put_at = time.monotonic()
            self._signal(job)
        if job.id not in self._jobs:
            self._placed.pop(job.id, None)
            await self._clean_up(placed)

    def _again(self) -> str:
        """Return what tells a message for a job from earlier ones."""
        return f"={self.name}={time.monotonic()}"

    async def _until_up(self, hosted: HostedJob) -> None:
        """Wait for the server, as long as the job is wanted.

        Raises:
            NatsUnavailableError: It was not there in time.
        """
        up = asyncio.ensure_future(self.session.wait_until_up(self.settings.submit_s))

        def leave(_: object) -> None:
            up.cancel()

        hosted.when_ended(leave)
        await asyncio.wait((up,))
        if not up.cancelled():
            up.result()

    def _signal(self, job: Job) -> None:
        self._bus.publish([Signal(SignalKind.WORK, topic_of(job.queue), self.settings.tenant)])

    def allow(self, modules: Iterable[str]) -> None:
        """Let the workers of this process import further modules; other nodes have a list of their own."""
        new = tuple(modules)
        self.targets.allow(new)
        if self._local is not None:
            self._local.allow(new)

    async def resize(self, workers: int) -> None:
        """Have more or fewer workers in this process, see `WorkerPool.resize`; other nodes are not changed."""
        at_least_one("workers", workers)
        await self.open()
        self._workers = workers
        if self._local is None:
            await self._start_workers()
        else:
            await self._local.resize(workers)

    async def health(self) -> PoolHealth:
        """Return the state of the pool, see `WorkerPool.health`: all nodes of the tenant, and the jobs of this host."""
        self._affinity.check()
        local = None if self._local is None else await self._local.health()
        others = list(self._seen.values())
        waiting = [each.submitted_at for each in self._jobs.values() if not each.worked and each.outcome is None]
        return PoolHealth(
            workers=sum(each.workers for each in others) + (local.workers if local else 0),
            busy=sum(each.busy for each in others) + (local.busy if local else 0),
            queued=len(waiting),
            oldest_wait_s=time.monotonic() - min(waiting) if waiting else 0.0,
            restarts=self._restarts,
            last_error=self._last_error,
        )

    def _note_problem(self, problem: str) -> None:
        self._last_error = problem

    def statistics(self) -> PoolStatistics:
        """Return the statistics of the pool, see `WorkerPool.statistics`, with the workers of all nodes."""
        count = self._count
        local = self._local.statistics() if self._local is not None else None
        workers = (*(local.workers if local else ()), *(each for seen in self._seen.values() for each in seen.shown))
        recycled = local.recycled if local else 0
        return PoolStatistics(
            count["submitted"], count["completed"], count["failed"], count["cancelled"], recycled, workers
        )

    async def dead_letters(self, limit: int = 100) -> list[DeadLetter]:
        """Return the newest jobs of the tenant that were given up, of all hosts, the newest first.

        Raises:
            NatsUnavailableError: The server is away.
        """
        await self.open()
        return await self.queue.dead(limit)

    async def _stop_workers(self) -> None:
        try:
            self._discard_unanswered(math.inf)
            await asyncio.gather(*self._tasks, return_exceptions=True)
        finally:
            await self._open.aclose()
            await self.session.aclose()

    # For the jobs.

    def _stop_job(self, hosted: HostedJob, reason: str | None) -> None:
        placed = self._placed.get(hosted.job.id)
        if placed is not None:
            placed.stopping, placed.reason = True, reason
        super()._stop_job(hosted, reason)

    def _withdraw(self, hosted: HostedJob) -> None:
        placed = self._placed.pop(hosted.job.id, None)
        if placed is not None:
            self._spawn(self._clean_up(placed))

    async def _clean_up(self, placed: Placed) -> None:
        if placed.number:
            await self.queue.withdraw(placed.number)
        if placed.stored is not None:
            await self.queue.discard(placed.stored)

    def stop_worker_of(self, hosted: HostedJob, why: str) -> None:
        """Stop the worker that holds a job, with whatever else it holds."""
        hosted.send(("kill", hosted.job.id, why))
        if (placed := self._placed.get(hosted.job.id)) is not None:
            self._finish(placed)

    def _finish(self, placed: Placed) -> None:
        """Handle the end of a job."""
        self._placed.pop(placed.hosted.job.id, None)
        if placed.link is not None:
            placed.link.end()
        if placed.stored is not None:
            self._spawn(self.queue.discard(placed.stored))
        self._job_ended(placed.hosted)

    # Nodes.

    def _asked(self, message: Msg) -> None:
        """Answer a node that has a job from the queue."""
        job_id, node, to, problem = unpack(message.data)
        self._spawn(self.session.publish(message.reply, pack(self._decide(job_id, node, to, problem))))

    def _told_held(self, message: Msg) -> None:
        """Answer a node that tells which attempts it has with those that it should not have."""
        unknown = self.links.unknown((job_id, attempt) for job_id, attempt in unpack(message.data))
        self._spawn(self.session.publish(message.reply, pack(tuple(unknown))))

    def _decide(self, job_id: str, node: str, to: str, problem: str | None) -> tuple[object, ...]:
        placed = self._placed.get(job_id)
        if placed is None or placed.hosted.outcome is not None:
            self._unanswered.left(job_id)
            return ("leave",)
        if placed.node is not None and placed.link is not None:
            if node == placed.node and not placed.link.channel.taken:
                return ("go", placed.begun)  # it did not get the first answer
            if node != placed.node and self._is_alive(placed.node):
                return ("wait",)
            self._lose(placed, f"Node '{placed.node}' was lost while it held job '{job_id}'")
            if job_id not in self._placed:  # it was to be stopped
                return ("leave",)
        if problem is None and placed.lost >= self.settings.max_attempts:
            problem = f"{placed.why}; it was begun {placed.lost} times"
        if problem is not None:
            placed.hosted.fail(WorkerError(f"Job '{job_id}' was given up: {problem}"))
            self._finish(placed)
            return ("dead", problem)
        self._go(placed, node, to)
        return ("go", placed.begun)

    def _go(self, placed: Placed, node: str, to: str) -> None:
        """Begin an attempt with a node."""
        placed.begun += 1
        placed.node = node
        hosted, attempt = placed.hosted, placed.begun
        link = placed.link = self.links.link(
            (hosted.job.id, attempt), to, partial(self._told, placed, attempt), lambda: self._gone(placed, attempt)
        )
        link.broken = partial(self._broken, placed, attempt)
        if attempt > 1:
            hosted.begin_again(attempt, placed.why)
        hosted.begun(link.send)

    def _told(self, placed: Placed, attempt: int, message: Message) -> None:
        """Take a message of the node that has a job."""
        if placed.link is None or placed.begun != attempt:
            return
        match message:
            case ("lost", _, why):
                self._lose(placed, why)
            case ("returned", _, why):
                self._lose(placed, why, counts=False)
            case (kind, *_):
                placed.hosted.receive(message)
                if kind in _ENDS:
                    self._finish(placed)

    def _gone(self, placed: Placed, attempt: int) -> None:
        """Handle a node that does not know the job any more."""
        if placed.begun == attempt and placed.link is not None:
            self._lose(placed, f"Node '{placed.node}' forgot job '{placed.hosted.job.id}'")

    def _broken(self, placed: Placed, attempt: int, error: Exception) -> None:
        """End a job whose messages cannot be brought over, and have its node stop it."""
        if placed.begun == attempt and placed.link is not None:
            job_id = placed.hosted.job.id
            failure = WorkerError(f"Job '{job_id}' was given up, as a message to or from its node is lost: {error}")
            failure.__cause__ = error
            self.links.drop(placed.link)
            placed.hosted.fail(failure)
            self._finish(placed)

    def _lose(self, placed: Placed, why: str, *, counts: bool = True) -> None:
        """Take a job back from a node that does not have it any more; the server delivers it again."""
        hosted = placed.hosted
        if placed.link is not None:
            self.links.drop(placed.link)
        placed.link = placed.node = None
        placed.put_at = time.monotonic()
        placed.lost += counts
        hosted.worked, hosted.send = False, lambda message: None
        if counts:
            self._restarts += 1
        self._last_error = placed.why = why
        logger.warning("%s", why)
        if placed.stopping:
            hosted.abort(placed.reason)
        elif hosted.outcome is None and (error := hosted.lost(why)) is not None:
            hosted.fail(error)
        if hosted.outcome is not None:
            self._finish(placed)
        else:
            self._signal(hosted.job)

    def _heard(self, message: Msg) -> None:
        """Take the sign of life of a node."""
        name, leaves, state, shown = unpack(message.data)
        if leaves:
            self._seen.pop(name, None)
        elif name != self.name:  # this process's own is looked at directly
            workers = tuple(WorkerStatistics(each[0], each[1], tuple(each[2]), *each[3:]) for each in shown)
            there, busy = state
            self._seen[name] = Seen(time.monotonic(), there, busy, workers)

    def _is_alive(self, node: str) -> bool:
        return node == self.name or node in self._seen

    async def _look_after(self) -> None:
        """Forget nodes that are lost, and see to it that their jobs are in the queue."""
        while True:
            await asyncio.sleep(self.settings.ack_wait_s / 4)
            now = time.monotonic()
            if not self.session.is_up:
                for seen in self._seen.values():  # nothing can be said about them
                    seen.at = now
                continue
            for name, seen in list(self._seen.items()):
                if now - seen.at > self.settings.ack_wait_s:
                    del self._seen[name]
            self._discard_unanswered(now - DUPLICATES_S)
            try:
                await self._put_again(now)
            except (ConfigurationError, NatsUnavailableError) as error:
                logger.debug("%s", error)

    def _discard_unanswered(self, before: float) -> None:
        for old in self._unanswered.old(before):
            if old.stored is not None:
                self._spawn(self.queue.discard(old.stored))

    async def _put_again(self, now: float) -> None:
        """Put jobs into the queue again that the server does not have any more."""
        old = self.settings.ack_wait_s * _FORGOTTEN
        suspects = [
            each
            for each in self._placed.values()
            if each.put_at and now - each.put_at > old and (each.node is None or not self._is_alive(each.node))
        ]
        if not suspects:
            return
        numbers = await self.queue.numbers()
        for placed in suspects:
            placed.put_at = now
            job = placed.hosted.job
            if placed.begun or placed.made_at != self.queue.made_at or placed.number not in numbers:
                placed.made_at = self.queue.made_at
                try:
                    again = self._again()
                    placed.number = await self.queue.put(job.id, job.queue, job.priority, placed.data, again=again)
                except TransferError as error:  # the server came back with a smaller limit
                    placed.hosted.fail(error)
                    self._finish(placed)
                else:
                    self._signal(job)


def _log_failure(running: asyncio.Task[None]) -> None:
    if not running.cancelled() and (error := running.exception()) is not None:
        logger.error("The workers of this process take no more jobs", exc_info=error)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _stopped(node: Node, running: asyncio.Task[None]) -> None:
    node.stop()
    await asyncio.gather(running, return_exceptions=True)
