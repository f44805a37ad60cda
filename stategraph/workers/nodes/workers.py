"""The workers of this process for nodes: shared by all of its graphs, in whichever event loop or thread they run.

Rules
-----
* An attempt takes a worker for itself, speaks with it from where the run waits for the node (its thread or its event
  loop), and gives it back. Nothing is handed from thread to thread on the way.
* Attempts that find no worker free get one in the order in which they came.
* Each worker has a thread here, which starts it, waits for its end, and starts the next one: the kernel kills a worker
  when the thread that started it ends.
* A worker that is not wanted any more (it took too long, its run was cancelled) is killed, never given back.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Generator, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from stategraph.errors import ConfigurationError, JobTimeoutError, WorkerError
from stategraph.workers.hosting import at_least_one
from stategraph.workers.nodes.attempt import NodeAttempt
from stategraph.workers.nodes.port import HungUp
from stategraph.workers.nodes.processes import Late, NodeProcess
from stategraph.workers.process import limits
from stategraph.workers.references import names

_log = logging.getLogger(__name__)

#: What a worker imports before its first node.
_PRELOAD: Final = ("stategraph.workers.nodes.child",)

#: Interval between checks of memory, in seconds.
_LOOK_S: Final = 0.5

#: Above so many times the limit a worker is killed at once.
_EXCESS: Final = 2

_LONGEST_BACKOFF_S: Final = 5.0
_MEGABYTE: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeWorkerSettings:
    """Settings of the workers for nodes, see `configure_node_workers`."""

    workers: int | None = None
    memory_limit_mb: int | None = None
    max_jobs_per_worker: int | None = None
    allow: Iterable[str] = ()
    pass_environment: Iterable[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    preload: Iterable[str] = ()

    def __post_init__(self) -> None:
        for name in ("workers", "memory_limit_mb", "max_jobs_per_worker"):
            if getattr(self, name) is not None:
                at_least_one(name, getattr(self, name))
        for name in ("allow", "pass_environment", "preload"):
            object.__setattr__(self, name, names(getattr(self, name), name))


@dataclass(frozen=True, slots=True)
class _Exchange:
    """A request to send bytes to a worker and to wait for what comes."""

    process: NodeProcess
    data: bytes
    deadline: float | None


Waiting: TypeAlias = "Future[NodeProcess] | _Exchange"


def wait(request: Waiting) -> NodeProcess | bytes:
    """Wait in this thread for what an attempt waits for."""
    if isinstance(request, _Exchange):
        return request.process.exchange(request.data, request.deadline)
    return request.result()


async def wait_in_loop(request: Waiting) -> NodeProcess | bytes:
    """Wait in this event loop for what an attempt waits for."""
    if isinstance(request, _Exchange):
        return await request.process.aexchange(request.data, request.deadline)
    return await asyncio.wrap_future(request)


class NodeWorkers:
    """The workers of one process.

    Args:
        settings: How many, and how they run.

    Attributes:
        pid: The process that they belong to.
    """

    def __init__(self, settings: NodeWorkerSettings) -> None:
        if not hasattr(socket, "AF_UNIX"):
            raise ConfigurationError("Workers in processes need Unix sockets, which this system lacks; use threads")
        self.pid = os.getpid()
        self._settings = settings
        self._environment = limits.environment(settings.pass_environment, settings.environment)
        self._lock = threading.Lock()
        self._allowed = frozenset(settings.allow)
        self._idle: list[NodeProcess] = []
        self._there: set[NodeProcess] = set()
        self._waiting: deque[Future[NodeProcess]] = deque()
        self._closing = threading.Event()
        numbers = range(1, (settings.workers or os.cpu_count() or 1) + 1)
        self._threads = [
            threading.Thread(target=self._keep, args=(f"process-{number}",), name=f"node worker {number}", daemon=True)
            for number in numbers
        ]
        if settings.memory_limit_mb is not None:
            watch = (settings.memory_limit_mb * _MEGABYTE,)
            self._threads.append(
                threading.Thread(target=self._watch, args=watch, name="node workers memory", daemon=True)
            )
        for thread in self._threads:
            thread.start()

    # Attempts.

    def run(self, attempt: NodeAttempt, timeout_s: float | None) -> Generator[Waiting, Any, Any]:
        """Have a worker run an attempt; a procedure, for `wait` or `wait_in_loop`.

        Args:
            attempt: The attempt.
            timeout_s: Seconds that it may take from when a worker begins it; None: as long as it likes.

        Raises:
            JobTimeoutError: It took longer, and was stopped.
            WorkerError: Its worker died, or the workers were closed.
            Exception: What the function raised.
        """
        found = self._take()
        try:
            process: NodeProcess = found if isinstance(found, NodeProcess) else (yield found)
        except BaseException:
            self._leave(found)
            raise
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        try:
            answer = self._opening(process, attempt)
            while not attempt.is_over:
                answer = attempt.take((yield _Exchange(process, answer, deadline)), process.codec)
        except HungUp:
            process.close()
            how = process.gone.result() if process.killed is None else f"was stopped: {process.killed}"
            raise attempt.lost(process.name, how) from None
        except Late:
            self._drop(process, f"job '{attempt.name}' had not ended after {timeout_s:g} s")
            raise JobTimeoutError(f"Job '{attempt.name}' had not ended after {timeout_s:g} s and was stopped") from None
        except BaseException as error:
            self._drop(process, _left(error))
            raise
        self._give_back(process)
        return attempt.result()

    def _opening(self, process: NodeProcess, attempt: NodeAttempt) -> bytes:
        """Return the bytes that let a worker import what an attempt needs, and begin the attempt."""
        if not attempt.packages <= self._allowed:
            with self._lock:
                self._allowed |= attempt.packages
        return process.allowing(self._allowed) + attempt.opening

    def _drop(self, process: NodeProcess, why: str) -> None:
        """Kill a worker in the middle of an attempt."""
        process.kill(why)
        process.gone.add_done_callback(lambda _: process.close())  # it takes a hang-up for the end of its host

    # Who has which worker.

    def _take(self) -> NodeProcess | Future[NodeProcess]:
        """Return a worker that is free, or the promise of one."""
        with self._lock:
            if self._closing.is_set():
                raise self._closed()
            if self._idle:
                return self._idle.pop()  # the one that worked last, whose memory is warm
            promised: Future[NodeProcess] = Future()
            self._waiting.append(promised)
            return promised

    def _leave(self, promised: NodeProcess | Future[NodeProcess]) -> None:
        """Wait no longer for a worker; one that came meanwhile is for another attempt."""
        if isinstance(promised, Future) and not promised.cancel() and promised.exception() is None:
            self._give(promised.result())

    def _give_back(self, process: NodeProcess) -> None:
        process.ended += 1
        most = self._settings.max_jobs_per_worker
        process.worn = process.worn or (most is not None and process.ended >= most)
        self._give(process)

    def _give(self, process: NodeProcess) -> None:
        """Give a worker to the attempt that has waited longest, or keep it until one comes."""
        promised = None
        with self._lock:
            if not (process.gone.done() or process.worn or process.killed is not None or self._closing.is_set()):
                promised = next((each for each in self._popped() if each.set_running_or_notify_cancel()), None)
                if promised is None:
                    self._idle.append(process)
                    return
        if promised is None:
            self._retire(process)
        else:
            promised.set_result(process)

    def _popped(self) -> Iterable[Future[NodeProcess]]:
        while self._waiting:
            yield self._waiting.popleft()

    @staticmethod
    def _retire(process: NodeProcess) -> None:
        if not process.gone.done():
            process.retire()
        process.close()

    # The lives of workers.

    def _keep(self, name: str) -> None:
        """Start a worker, wait for its end, and begin again."""
        deaths = 0
        while not self._closing.is_set():
            try:
                ready = self._live(name)
            except Exception as error:  # any at all: tried again, and nobody else would tell
                ready = False
                _log.error("Worker '%s' could not be started: %s", name, error)
            deaths = 0 if ready else deaths + 1
            if deaths:
                self._closing.wait(min(_LONGEST_BACKOFF_S, 0.05 * 2**deaths))

    def _live(self, name: str) -> bool:
        """Run one worker from its start to its end; return whether it could ever take a node."""
        settings = self._settings
        preload = (*_PRELOAD, *settings.preload)
        process = NodeProcess(name, sorted(self._allowed), preload, self._environment)
        with self._lock:
            self._there.add(process)
        ready = process.wait_until_ready()
        if ready:
            self._give(process)
        elif self._closing.is_set():
            process.kill("it is not wanted any more")
        how = process.wait()
        with self._lock:
            self._there.discard(process)
        if self._taken_if_idle(process) or not ready:
            process.close()
        if process.killed is None and not (process.worn or self._closing.is_set()):
            _log.error("Worker '%s' %s", name, how)
        return ready

    def _watch(self, limit: int) -> None:
        """Replace workers that have grown beyond the limit."""
        while not self._closing.wait(_LOOK_S):
            with self._lock:
                there = [*self._there]
            for process in there:
                used = process.rss_bytes()
                if used is None or used <= limit or process.killed is not None:
                    continue
                process.worn = True
                if self._taken_if_idle(process):
                    self._retire(process)
                elif used > _EXCESS * limit:
                    sizes = f"{used // _MEGABYTE} MiB of memory, and its limit is {limit // _MEGABYTE} MiB"
                    process.kill(f"it used {sizes}")

    def _taken_if_idle(self, process: NodeProcess) -> bool:
        with self._lock:
            is_idle = process in self._idle
            if is_idle:
                self._idle.remove(process)
            return is_idle

    def close(self) -> None:
        """Stop the workers, with whatever they do."""
        with self._lock:
            self._closing.set()
            idle, self._idle = self._idle, []
            busy = self._there.difference(idle)
            waiting = [*self._popped()]
        for promised in waiting:
            if promised.set_running_or_notify_cancel():
                promised.set_exception(self._closed())
        for process in idle:
            self._retire(process)
        for process in busy:
            process.kill("the workers for nodes were closed")
        for thread in self._threads:
            thread.join()

    @staticmethod
    def _closed() -> WorkerError:
        return WorkerError("The workers for nodes were closed; the next node starts new ones")


def _left(error: BaseException) -> str:
    if isinstance(error, Exception):
        return f"what it told could not be taken: {type(error).__name__}: {error}"
    return "the run does not wait for the node any more"
