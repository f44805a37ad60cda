"""A machine with workers: takes jobs from the queue, as many as there is room for, and has them done by its own pool.

Rules
-----
* A job is begun when its host says so. If another node has it, this one leaves it to that one, whose signs of life are
  the job's.
* A node tells hosts which of their attempts it has, and stops those that a host does not know. A host that does not
  answer for `host_s` is gone, and its jobs are dead letters.
* A job is acknowledged when its host has taken its end, and not before: whatever goes wrong until then, the server
  delivers it again.
* A worker that dies gives the job back: its host decides about another attempt.
* A node that can give no signs of life stops: its jobs would be taken for lost, and run a second time.
* Draining takes nothing more, waits, and gives back what has not ended.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

from stategraph.errors import AbortError, ConfigurationError, TransferError, WorkerError
from stategraph.workers.cluster.links import Link, Links
from stategraph.workers.cluster.queue import Delivery, JobQueue
from stategraph.workers.handle import HostedJob, Outcome
from stategraph.workers.ids import new_owner
from stategraph.workers.nats.connection import NatsUnavailableError
from stategraph.workers.pool import Job, PoolHealth
from stategraph.workers.scheduling import ScheduledPool
from stategraph.workers.wakeups.bus import Bus, Wakes
from stategraph.workers.wakeups.signals import Signal, SignalKind
from stategraph.workers.wakeups.waiting import until_first
from stategraph.workers.wire import Codec, Message, pack, unpack

logger = logging.getLogger("stategraph.workers")

#: A job that was delivered more often is given up, whatever the reason was.
MOST_DELIVERIES: Final = 50

#: Interval at which a host is asked again that did not answer.
ASK_S: Final = 0.3

#: Interval at which the queue is looked at, if no signal came.
LOOK_S: Final = 1.0

#: Time that jobs have to end when they are given back.
GIVING_BACK_S: Final = 5.0

#: Longest interval between two signs of life.
BEAT_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """Settings of a node.

    Attributes:
        queues: The queues that it takes jobs from, the most important first.
        host_s: After so many seconds without an answer a host is taken to be gone.
        drain_s: How long jobs may go on when it is to stop, in seconds.
    """

    queues: Sequence[str] = ("default",)
    host_s: float = 30.0
    drain_s: float = 30.0

    def __post_init__(self) -> None:
        if isinstance(self.queues, str) or not self.queues:
            raise ConfigurationError("A node is told which queues it takes jobs from: queues=['default']")


@dataclass(eq=False, slots=True)
class _Held:
    """A job that this node has from the queue."""

    host: str
    delivery: Delivery
    task: asyncio.Task[None] | None = None
    job: RelayedJob | None = None
    orphaned: str | None = None


class _Nowhere:
    """An `EventSink` of a job whose events go elsewhere."""

    is_full = False

    def put(self, event: str, data: Any, metadata: Mapping[str, Any] | None) -> None:
        """Drop it."""

    async def room(self) -> None:
        """Return at once."""


class RelayedJob(HostedJob):
    """A job of another host, in the pool of a node: what its worker says goes to that host as it is.

    Attributes:
        link: The link to the host.
        gives_back: Why the job is given back instead of ended; None: it is not.
    """

    link: Link

    def __init__(self, job: Job, codec: Codec) -> None:
        super().__init__(job, codec, None, _Nowhere())
        self.gives_back: str | None = None

    def receive(self, message: Message) -> None:
        """Take a message of the worker."""
        if self.outcome is not None:
            return
        match message[0]:
            case "cancelled":
                self._leave(message)
                return
            case "done" | "failed" as kind:
                outcome: Outcome | None = "completed" if kind == "done" else "failed"
            case _:
                outcome = None
        try:
            self.link.send(message)
        except TransferError as error:
            self.give_up(error)
            return
        if outcome is not None:
            self._end(outcome, None, None if outcome == "completed" else WorkerError("failed"))

    def supersede(self, why: str) -> None:
        """Stop it, because another attempt takes its place, and have it tell its host nothing any more."""
        self.post(("superseded", self.job.id))
        self.stopping(why)

    def give_up(self, error: Exception) -> None:
        """End it, here and at its host, because something that it says cannot be sent."""
        self.link.send(("failed", self.job.id, self._codec.describe(error, "a node")))
        if self.outcome is None:
            self.stopping("what it says cannot be sent")
            self._end("failed", None, error)

    def _leave(self, message: Message) -> None:
        if self.gives_back is not None:
            message = ("returned", self.job.id, self.gives_back)
        self.link.send(message)
        self._end("cancelled", None, AbortError("cancelled"))

    def fail(self, error: BaseException) -> None:
        """End it with an error of the pool: its worker died, or it took too long."""
        if self.outcome is not None:
            return
        if isinstance(error, WorkerError):
            self.gives_back = str(error)
            self.link.send(("lost", self.job.id, self.gives_back))
        else:
            self.link.send(("failed", self.job.id, self._codec.describe(error, "a node")))
        self._end("failed", None, error)

    def abort(self, reason: str | None) -> None:
        """End it as cancelled by the pool."""
        if self.outcome is None:
            self._leave(("cancelled", self.job.id, reason, False))


class Node:
    """Takes jobs from a queue until it is told to stop.

    Args:
        queue: The queue, on an open session.
        links: The links of this process, open.
        workers: Does the jobs.
        bus: Tells when there are jobs.
        settings: What it takes on.
        name: Its name; None: a new one.
    """

    def __init__(
        self,
        queue: JobQueue,
        links: Links,
        workers: ScheduledPool,
        bus: Bus,
        settings: NodeSettings,
        name: str | None = None,
    ) -> None:
        self.name = name or new_owner()
        self.workers = workers
        self._queue = queue
        self._links = links
        self._bus = bus
        self._settings = settings
        self._held: dict[str, _Held] = {}
        self._room = asyncio.Event()
        self._empty = asyncio.Event()
        self._asked = asyncio.Event()
        self._burying: set[asyncio.Task[None]] = set()
        self._draining = asyncio.Event()
        self._stopping = asyncio.Event()
        self._failure: BaseException | None = None
        self._problem: str | None = None
        workers.when_room = self._room.set
        queue.session.when_wrong.append(self._note_problem)

    def drain(self) -> None:
        """Take nothing more; `run` returns when the jobs that are there have ended, or were given back."""
        self._draining.set()
        self._room.set()

    def stop(self) -> None:
        """Drain without waiting for the jobs: they are given back at once."""
        self._stopping.set()
        self.drain()

    async def health(self) -> PoolHealth:
        """Return the state of the node's workers, with the last error of its connection if there was one."""
        health = await self.workers.health()
        return replace(health, last_error=self._problem or health.last_error)

    def _note_problem(self, problem: str) -> None:
        self._problem = problem

    async def run(self) -> None:
        """Take jobs until `drain` is called.

        Raises:
            Exception: The node could give no signs of life any more; its jobs were given back.
        """
        await self._queue.session.subscribe(self._queue.subject("who"), lambda _: self._asked.set())
        living = [asyncio.ensure_future(each) for each in (self._beat(), self._ask_hosts())]
        for each in living:
            each.add_done_callback(self._stop_if_failed)
        try:
            await self._take_until_drained()
            await self._end_drain()
            if self._failure is not None:
                raise self._failure
        finally:
            tasks = [*living, *self._burying, *(each.task for each in self._held.values() if each.task is not None)]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with suppress(Exception):  # hosts notice by themselves, only later
                await self._tell(leaves=True)

    def _stop_if_failed(self, living: asyncio.Task[None]) -> None:
        if not living.cancelled() and (error := living.exception()) is not None:
            logger.error("Node '%s' can give no signs of life, and stops", self.name, exc_info=error)
            self._failure = self._failure or error
            self.stop()

    # Taking.

    async def _take_until_drained(self) -> None:
        topics = [(SignalKind.WORK, topic_of(queue)) for queue in self._settings.queues]
        while not self._draining.is_set():
            if not self._has_room():
                self._room.clear()
                if not self._has_room():
                    await self._room.wait()
                continue
            with self._bus.watch(topics) as wakes:
                while self._has_room() and not self._draining.is_set():
                    if not await self._take_one():
                        await self._rest(wakes)
                wakes.may_be_more = not self._draining.is_set()

    def _has_room(self) -> bool:
        asking = sum(each.job is None for each in self._held.values())
        return self.workers.room() > asking

    async def _rest(self, wakes: Wakes) -> None:
        """Wait for a signal, for the end, or for a while."""
        looking_s = LOOK_S * random.uniform(0.7, 1.3)
        await until_first(wakes.wait(looking_s), self._draining.wait(), timeout_s=looking_s)

    async def _take_one(self) -> bool:
        """Take the next job of the queues; return False if there is none, or no server."""
        for queue in self._settings.queues:
            try:
                delivery = await self._queue.pull(queue)
            except NatsUnavailableError as error:
                logger.debug("%s", error)
                await self._set_up_again()
                return False
            if delivery is not None:
                self._begin(delivery, queue)
                return True
        return False

    async def _set_up_again(self) -> None:
        """Make what the server has lost, if that is why it does not answer."""
        try:
            await self._queue.set_up(self._settings.queues)
        except NatsUnavailableError as error:
            logger.debug("%s", error)
        except ConfigurationError as error:  # it was right when the node began, and may be again
            logger.warning("%s", error)

    def _begin(self, delivery: Delivery, queue: str) -> None:
        try:
            job_id, host, kind, content = unpack(delivery.data)
            if not all(isinstance(each, str) for each in (job_id, host, kind)):
                raise TypeError
        except (ValueError, TypeError):
            burying = asyncio.ensure_future(self._bury(delivery, "?", queue, "it is no job"))
            self._burying.add(burying)
            burying.add_done_callback(self._burying.discard)
            return
        held = self._held.get(job_id)
        if held is None:
            held = self._held[job_id] = _Held(host, delivery)
            self._empty.clear()
            held.task = asyncio.ensure_future(self._work(held, job_id, queue, kind, content))
        elif held.host == host:
            held.delivery = delivery  # it was delivered again, and is still here
        # Else two hosts use one id: the other job is delivered again later.

    async def _work(self, held: _Held, job_id: str, queue: str, kind: str, content: Any) -> None:
        try:
            job, problem = await self._read(held.delivery, kind, content)
            match await self._ask(job_id, held, problem):
                case ("go", attempt) if job is not None:
                    await self._execute(held, job, attempt)
                    if held.orphaned is not None:
                        await self._bury(held.delivery, job_id, queue, held.orphaned)
                case ("dead", reason):
                    await self._bury(held.delivery, job_id, queue, reason)
                case ("leave",):  # it has ended, or was cancelled
                    await held.delivery.acknowledge()
        except (ConfigurationError, NatsUnavailableError) as error:
            logger.warning("Job '%s' stays in the queue: %s", job_id, error)
        except Exception:
            logger.exception("Job '%s' stays in the queue after an error of node '%s'", job_id, self.name)
        finally:
            self._links.expect_no_more(job_id)
            del self._held[job_id]
            if not self._held:
                self._empty.set()
            self._room.set()

    async def _read(self, delivery: Delivery, kind: str, content: Any) -> tuple[Job | None, str | None]:
        """Return the job of a delivery, or None and why it is to be given up."""
        if delivery.deliveries > MOST_DELIVERIES:
            return None, f"it was delivered {delivery.deliveries} times"
        try:
            fields = unpack(await self._queue.load(content))[0] if kind == "object" else content
            return Job(**fields), None
        except TransferError as error:
            return None, str(error)
        except (IndexError, TypeError, ValueError) as error:  # such as a host of another version
            return None, f"node '{self.name}' cannot read it as a job: {error}"

    async def _ask(self, job_id: str, held: _Held, problem: str | None) -> tuple[Any, ...]:
        """Ask a host whether its job may be begun here, until it says yes or no.

        Raises:
            NatsUnavailableError: The node stops meanwhile.
        """
        loop = asyncio.get_running_loop()
        subject = self._queue.subject("hosts", held.host, "claim")
        question = pack((job_id, self.name, self._links.here, problem))
        heard_at = loop.time()
        self._links.expect(job_id)
        while not self._draining.is_set():
            try:
                return unpack(await self._queue.session.request(subject, question, 2.0))
            except NatsUnavailableError:
                if not self._queue.session.is_up:
                    heard_at = loop.time()  # nothing can be said about the host
                elif loop.time() - heard_at > self._settings.host_s:
                    return "dead", f"its host has not answered for {self._settings.host_s:g} s"
            await asyncio.sleep(ASK_S)
        await held.delivery.give_back()
        raise NatsUnavailableError("the node stops")

    async def _bury(self, delivery: Delivery, job_id: str, queue: str, reason: str) -> None:
        try:
            await self._queue.bury(job_id, queue, reason, delivery.data)
            await delivery.acknowledge()
        except (ConfigurationError, NatsUnavailableError) as error:  # it is delivered again
            logger.warning("Job '%s' could not be made a dead letter, and stays in the queue: %s", job_id, error)

    # Executing.

    async def _execute(self, held: _Held, job: Job, attempt: int) -> None:
        """Run an attempt of a job, and acknowledge the job when its host has taken the end."""
        job_id, relayed = job.id, RelayedJob(job, self.workers.codec)
        held.job = relayed
        link = relayed.link = self._links.link(
            (job_id, attempt),
            self._queue.subject("hosts", held.host, "frames"),
            lambda message: self._told(relayed, message),
            lambda: self._superseded(relayed),
        )
        link.broken = relayed.give_up
        try:
            self.workers.enter(relayed)
            await relayed.ended()
        except (TransferError, WorkerError) as error:
            link.send(("failed", job_id, self.workers.codec.describe(error, f"node '{self.name}'")))
        finally:
            self.workers.forget(job_id)
        try:
            if await link.settled():
                if relayed.gives_back is not None:
                    await self._give_back(held, job.queue)
                else:
                    await held.delivery.acknowledge()
        finally:
            link.end()

    async def _give_back(self, held: _Held, queue: str) -> None:
        """Have a job delivered again at once; also if that was done before this node has forgotten it."""
        given: Delivery | None = None
        while given is not held.delivery:
            given = held.delivery
            await given.give_back()
            self._bus.publish([Signal(SignalKind.WORK, topic_of(queue), self._queue.tenant)])

    def _told(self, relayed: RelayedJob, message: Message) -> None:
        """Take a message of the host."""
        match message:
            case ("cancel", _, reason):
                relayed.stopping(reason)
            case ("kill", _, why):
                self.workers.stop_worker_of(relayed, why)
            case _:
                relayed.post(message)

    def _superseded(self, relayed: RelayedJob) -> None:
        """Stop an attempt that its host has given to another node, or that has no host any more."""
        if relayed.outcome is not None:  # it has ended here, and its next attempt may be here too
            return
        logger.warning("Job '%s' is no longer wanted here, and is stopped", relayed.job.id)
        relayed.supersede("its host does not want this attempt any more")

    # Signs of life.

    async def _beat(self) -> None:
        loop, keep_s, keep_at = asyncio.get_running_loop(), self._queue.ack_wait_s / 3, 0.0
        while True:
            self._asked.clear()
            await self._tell()
            if loop.time() >= keep_at:
                keep_at = loop.time() + keep_s
                for held in list(self._held.values()):
                    await held.delivery.keep()
            await until_first(self._asked.wait(), timeout_s=min(BEAT_S, keep_s, max(0.01, keep_at - loop.time())))

    async def _ask_hosts(self) -> None:
        """Tell hosts of the attempts that are here, and stop those that no host wants."""
        heard_at: dict[str, float] = {}
        while True:
            await asyncio.sleep(min(BEAT_S, self._queue.ack_wait_s / 3))
            of_hosts: dict[str, list[_Held]] = {}
            for held in self._held.values():
                if held.job is not None:
                    of_hosts.setdefault(held.host, []).append(held)
            heard_at = {host: heard_at.get(host, asyncio.get_running_loop().time()) for host in of_hosts}
            await asyncio.gather(*(self._ask_host(host, held, heard_at) for host, held in of_hosts.items()))

    async def _ask_host(self, host: str, held: list[_Held], heard_at: dict[str, float]) -> None:
        now = asyncio.get_running_loop().time()
        links = {each.job.link.key: each for each in held if each.job is not None}
        try:
            subject = self._queue.subject("hosts", host, "holds")
            answer = unpack(await self._queue.session.request(subject, pack(tuple(links)), 2.0))
            unwanted = [(str(job_id), int(attempt)) for job_id, attempt in answer]
        except NatsUnavailableError:
            if not self._queue.session.is_up:
                heard_at[host] = now  # nothing can be said about it
            elif now - heard_at[host] > self._settings.host_s:
                for each in held:
                    each.orphaned = f"its host has not answered for {self._settings.host_s:g} s"
                    self._lose(each)
            return
        except (TypeError, ValueError) as error:
            logger.warning("Host '%s' answers what node '%s' cannot read: %s", host, self.name, error)
            unwanted = []
        heard_at[host] = now
        for key in unwanted:
            if (found := links.get(key)) is not None:
                self._lose(found)

    @staticmethod
    def _lose(held: _Held) -> None:
        if held.job is not None:
            held.job.link.lose()

    async def _tell(self, *, leaves: bool = False) -> None:
        """Tell hosts who is there."""
        health = await self.workers.health()
        workers = self.workers.statistics().workers
        shown = [(each.name, each.pid, list(each.running), each.ended, each.rss_bytes) for each in workers]
        state = [health.workers, health.busy]
        await self._queue.session.publish(self._queue.subject("presence"), pack((self.name, leaves, state, shown)))

    # The end.

    async def _end_drain(self) -> None:
        if not self._held:
            return
        await until_first(self._empty.wait(), self._stopping.wait(), timeout_s=self._settings.drain_s)
        for held in list(self._held.values()):
            if held.job is not None:
                held.job.gives_back = f"Node '{self.name}' was told to stop while it held job '{held.job.job.id}'"
                held.job.supersede("the node stops")
        await until_first(self._empty.wait(), timeout_s=GIVING_BACK_S)


def topic_of(queue: str) -> str:
    """Return the name under which there is a signal for jobs of a queue."""
    return f"jobs {queue}"
