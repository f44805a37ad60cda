"""One execution at a time: of a run, and on a thread.

- A run has one event loop and one execution at a time, which an abort ends. Readers of its events leave when that is
  over, and are told also of what was refused or cancelled before it began.
- A reader may answer the last event before the execution behind it is over: the next one of the thread waits for that.
- Two executions on a thread would both start from the same messages, and one turn would be lost. Known is what this
  process executes on the same checkpointer; hosts of several processes see to the others themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import TypeVar

from stategraph.errors import ConfigurationError
from stategraph.run.abort import AbortController, AbortSignal, was_stopped
from stategraph.run.loop_affinity import LoopAffinity
from stategraph.run.ports import EventLog
from stategraph.run.turn import turn_inputs
from stategraph.run.turn.turn_inputs import HostConfig

T = TypeVar("T")

_executed: dict[tuple[int, str], str] = {}
"""What goes on, by checkpointer and thread, as the beginning of a sentence."""

_holders: dict[tuple[int, str], RunLock] = {}
"""The locks of runs that are executed, by the same."""


class RunLock:
    """The executions of a run.

    Args:
        run_id: The run.
        checkpointer: Keeps its threads; None: they are not kept.
        log: Keeps its events; None: they are not kept.

    Attributes:
        affinity: The event loop that it belongs to.
        checkpointer: Keeps its threads.
        thread_id: The thread of the last execution; None before the first.
    """

    def __init__(self, run_id: str, checkpointer: object, log: EventLog | None) -> None:
        self.affinity = LoopAffinity(f"Run '{run_id}'")
        self.checkpointer = checkpointer
        self.thread_id: str | None = None
        self._run_id = run_id
        self._log = log
        self._stop = AbortController()
        self._over = asyncio.Event()
        self._over.set()
        self._any = False
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def running(self) -> bool:
        """True if an execution is running, or about to start."""
        return not self._over.is_set()

    @property
    def signal(self) -> AbortSignal:
        """The signal that tells the running execution to stop."""
        return self._stop.signal

    def abort(self, reason: str | None = None) -> None:
        """Stop the one that goes on, or the first before it begins. May be called from any thread."""
        self._stop.abort(reason)

    async def ended(self) -> None:
        """Wait until the one that goes on has ended."""
        self.affinity.check()
        await self._over.wait()

    def execute(self, config: HostConfig, work: Callable[[], Coroutine[object, None, T]]) -> Coroutine[object, None, T]:
        """Have the run to oneself from now on.

        Args:
            config: The host's, which names the thread.
            work: The execution.

        Returns:
            The execution, with the thread to itself. It has to be awaited.

        Raises:
            ConfigurationError: The run is being executed, or belongs to another event loop.
        """
        self.affinity.check()
        if self.running:
            raise ConfigurationError(
                f"Run '{self._run_id}' is being executed already; wait for it, or create another run"
            )
        if self._any:
            self._stop = AbortController()
        self._any, self._over = True, asyncio.Event()
        if self._log is not None:
            self._log.begin()
        return self._to_its_end(config, work)

    def start(self, config: HostConfig, work: Callable[[], Coroutine[object, None, T]]) -> asyncio.Task[T]:
        """Like `execute`, in the background; a thread that is in use is refused at once."""
        loop = asyncio.get_running_loop()
        key = self._key(config)
        if _ending(key) is None:
            _check_free(key, self._run_id)
        execution = self.execute(config, work)
        over = self._over
        task = loop.create_task(execution, name=f"run {self._run_id}")
        # One that is cancelled before it begins cannot end by itself.
        task.add_done_callback(lambda _: None if over.is_set() else self._end(asyncio.CancelledError()))
        return task

    def ending(self) -> asyncio.Event | None:
        """Return what is set when the execution is over, if readers were told of its end already."""
        told = self.running and self._log is not None and not self._log.is_open
        return self._over if told and self._loop is asyncio.get_running_loop() else None

    def _key(self, config: HostConfig) -> tuple[int, str]:
        return id(self.checkpointer), str(turn_inputs.thread_of(config, self._run_id))

    async def _to_its_end(self, config: HostConfig, work: Callable[[], Coroutine[object, None, T]]) -> T:
        key = self._key(config)
        self.thread_id = key[1]
        try:
            while (other := _ending(key)) is not None:
                await other.wait()
            with thread_lease(self.checkpointer, config, self._run_id):
                if self.checkpointer:
                    self._loop, _holders[key] = asyncio.get_running_loop(), self
                try:
                    result = await work()
                finally:
                    _holders.pop(key, None)
        except BaseException as error:
            self._end(error)
            raise
        self._end(None)
        return result

    def _end(self, error: BaseException | None) -> None:
        if self._log is not None and self._log.is_open:
            self._log.end("cancelled" if was_stopped(error) else "failed", error)
        self._over.set()


def _ending(key: tuple[int, str]) -> asyncio.Event | None:
    """Return what is set when the execution that holds a thread is over, if it is about to be; None: it goes on."""
    holder = _holders.get(key)
    return None if holder is None else holder.ending()


def _check_free(key: tuple[int, str], run_id: str) -> None:
    if (other := _executed.get(key)) is not None:
        raise ConfigurationError(
            f"Run '{run_id}' cannot be executed on thread '{key[1]}': {other}; wait for it or abort it"
        )


@contextmanager
def thread_lease(checkpointer: object, config: HostConfig, run_id: str) -> Iterator[None]:
    """Have a thread to oneself.

    Args:
        checkpointer: Keeps the thread; without one there is nothing to lose.
        config: The host's, which names the thread.
        run_id: The run that takes it.

    Raises:
        ConfigurationError: A run is being executed on it.
    """
    if not checkpointer:
        yield
        return
    thread_id = str(turn_inputs.thread_of(config, run_id))
    key = id(checkpointer), thread_id
    _check_free(key, run_id)
    _executed[key] = f"run '{run_id}' is being executed on it"
    try:
        yield
    finally:
        del _executed[key]


@contextmanager
def deletion(checkpointer: object, thread_id: str) -> Iterator[None]:
    """Keep the runs of this process out of a thread while it is deleted.

    Args:
        checkpointer: Keeps the thread.
        thread_id: The thread.

    Raises:
        ConfigurationError: A run is being executed on it.
    """
    key = id(checkpointer), thread_id
    if (other := _executed.get(key)) is not None:
        raise ConfigurationError(f"Thread '{thread_id}' cannot be deleted: {other}; wait for its end, or abort it")
    _executed[key] = "it is being deleted"
    try:
        yield
    finally:
        del _executed[key]
