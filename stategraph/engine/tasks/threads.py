"""The worker threads of the process: one pool for all runs.

Rules
-----
* A pool per run would start threads for every run, and a small shared pool
  would deadlock when a node waits for a subgraph whose nodes need threads too.
  So the one pool grows as needed; how many tasks of a run work at once is the
  run's own business (``max_concurrency``).
* All threads take from one queue, so one that is done with a short job may take
  the next before a sleeping one has woken up. A thread that finds nothing to do
  for ``IDLE_S`` seconds ends.
* At the interpreter's exit, work that was begun is waited for.
* There is no lock. A bag holds as many tokens as there are threads more than
  unfinished jobs: a job takes a token or brings a thread, and leaves a token
  when it is done; a thread that ends takes one with it.
"""

from __future__ import annotations

import asyncio
import atexit
import itertools
import os
import threading
from collections.abc import Callable, Sized
from concurrent.futures import CancelledError, Executor, Future
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, ParamSpec, Protocol, TypeVar

from stategraph.engine.config import environment

P = ParamSpec("P")
T = TypeVar("T")

IDLE_S = 30.0
"""Seconds that a thread waits for more work before it ends."""

_CLOSING_S = 0.01
_CLOSING_LOOKS = 100


class Told(Protocol):
    """The part of the Future interface through which the pool reports a job's result."""

    def set_running_or_notify_cancel(self) -> bool:
        """Note that the function begins; False if it was cancelled."""

    def set_result(self, result: Any) -> None:
        """Take what it returned."""

    def set_exception(self, error: BaseException) -> None:
        """Take what it raised."""


Job = tuple[Told, Callable[..., Any], tuple[Any, ...], dict[str, Any]]
"""A job: the receiver of its result, and the function with its arguments."""


class Pool(Executor):
    """Runs each function in a thread at once: in an idle one, or in a new one.

    Args:
        idle_s: How long an idle thread waits for more work, in seconds.
    """

    def __init__(self, idle_s: float = IDLE_S) -> None:
        self._idle_s = idle_s
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._spare: list[None] = []
        self._threads: set[threading.Thread] = set()
        self._numbers = itertools.count()
        self._closing = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a function in a worker thread.

        Returns:
            Its result or exception, to wait for.

        Raises:
            RuntimeError: The system has no more threads.
        """
        future: Future[T] = Future()
        self.post(future, fn, args, kwargs)
        return future

    def post(self, told: Told, fn: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, Any]) -> None:
        """Run a function in a worker thread, and report how it ended.

        Raises:
            RuntimeError: The system has no more threads.
        """
        try:
            self._spare.pop()
        except IndexError:
            # Before the job is in the queue: if it fails, nothing is left behind.
            self._start_thread()
        self._jobs.put((told, fn, args, kwargs))

    def thread_count(self) -> int:
        """Return the number of threads, working or idle."""
        return len(self._threads)

    def spare_count(self) -> int:
        """Return the number of threads that could take a job now."""
        return len(self._spare)

    def finish(self) -> None:
        """Wait for all work that was begun, and end the threads.

        Work may still submit more: what it waits for must be able to run.
        """
        self._closing = True
        while self._threads:
            while self._spare:
                self._spare.pop()
                self._jobs.put(None)
            # A thread that was at work just now may take the word of one that waits, and leave its token for that.
            for thread in list(self._threads):
                if thread.is_alive():
                    thread.join(_CLOSING_S)
                elif thread in self._threads:  # it is being started, and cannot be joined yet
                    environment.SYSTEM.clock.sleep(_CLOSING_S)

    def _start_thread(self) -> None:
        name = f"stategraph_{next(self._numbers)}"
        # A daemon: idle threads must not keep the interpreter from its exit, where `finish` is called.
        thread = threading.Thread(target=self._work, name=name, daemon=True)
        try:
            # Within, as the exit waits for each that is noted: an exception of a signal handler may be raised after it.
            self._threads.add(thread)
            thread.start()
        except BaseException:
            self._threads.discard(thread)
            raise

    def _work(self) -> None:
        try:
            while (job := self._next()) is not None:
                _run(*job)
                # Nothing of a run may stay in a thread that waits.
                del job
                self._spare.append(None)
        finally:
            self._threads.discard(threading.current_thread())

    def _next(self) -> Job | None:
        """Return the next job for a thread, or None when it is to end."""
        in_vain = 0
        while True:
            # Read after this thread left its token, as `finish` writes it before it looks for tokens:
            # one of the two sees the other.
            wait_s = min(self._idle_s, _CLOSING_S) if self._closing else self._idle_s
            try:
                return self._jobs.get(timeout=wait_s)
            except Empty:
                try:
                    self._spare.pop()
                except IndexError:
                    # A caller counts on a thread and is about to hand it a job; or was cut off by an exception of a
                    # signal handler just then, and took a token with it. The exit must not wait for that.
                    in_vain = in_vain + 1 if self._closing else 0
                    if in_vain < _CLOSING_LOOKS:
                        continue
                return None


def _run(told: Told, func: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object]) -> None:
    if not told.set_running_or_notify_cancel():
        return
    try:
        result = func(*args, **kwargs)
    except BaseException as error:
        told.set_exception(error)
        # The error's traceback holds this frame: without the future in it there is no cycle.
        del told
    else:
        told.set_result(result)


class Ticket:
    """Ticket for a function that reports its result itself: it can be cancelled until it begins, and that is all.

    A future would also keep the result, behind a lock that takes longer to make than a small task to plan.
    """

    __slots__ = ("_unclaimed",)

    def __init__(self) -> None:
        self._unclaimed: list[None] = [None]

    def set_running_or_notify_cancel(self) -> bool:
        """Note that the function begins; False if it was cancelled."""
        return self.cancel()

    def cancel(self) -> bool:
        """Keep the function from running; False if it has begun, or was cancelled before."""
        try:
            # One step, so that of two threads only one gets it.
            self._unclaimed.pop()
        except IndexError:
            return False
        return True

    def set_result(self, result: object) -> None:
        """Ignore the result: it is not read here."""

    def set_exception(self, error: BaseException) -> None:
        """Ignore the exception: it is not read here."""


class LoopPool(Executor):
    """A pool for ``loop.run_in_executor``: it answers with a future of the running loop.

    The loop takes that as it is. To a future of the other kind it would add another, with a lock and callbacks
    on both sides, which is a third of what a short call costs.

    Args:
        pool: Where the functions run.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def submit(self, fn: Callable[..., object], /, *args: object, **kwargs: object) -> Any:
        """Run a function in a worker thread.

        Returns:
            Its result or exception, to await. Cancelling it keeps the function from running if it has not begun.

        Raises:
            RuntimeError: The system has no more threads, or no loop is running here.
        """
        if BackgroundExecutor.submit is not _SUBMIT:
            return BackgroundExecutor(self._submit).submit(fn, *args, **kwargs)
        return self._submit(fn, *args, **kwargs)

    def _submit(self, fn: Callable[..., object], /, *args: object, **kwargs: object) -> object:
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        self._pool.post(_Telling(loop, answer), fn, args, kwargs)
        return answer


class _Telling:
    """Tells a loop's future from a worker thread; what `_run` needs of a future."""

    __slots__ = ("_answer", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, answer: asyncio.Future[Any]) -> None:
        self._loop = loop
        self._answer = answer

    def set_running_or_notify_cancel(self) -> bool:
        return not self._answer.cancelled()

    def set_result(self, result: object) -> None:
        self._tell(result, None)

    def set_exception(self, error: BaseException) -> None:
        if isinstance(error, StopIteration | GeneratorExit):
            # No coroutine can await the one, and the other would close those that do.
            refused = RuntimeError(f"A function in a worker thread raised {error!r}")
            refused.__cause__ = error
            error = refused
        elif type(error) is CancelledError:
            error = asyncio.CancelledError(*error.args)
        self._tell(None, error)

    def _tell(self, result: object, error: BaseException | None) -> None:
        try:
            self._loop.call_soon_threadsafe(_settle, self._answer, result, error)
        except RuntimeError:
            if not self._loop.is_closed():
                raise
            # There is no receiver left.


def _settle(answer: asyncio.Future[object], result: object, error: BaseException | None) -> None:
    if answer.cancelled():
        return
    if error is None:
        answer.set_result(result)
    else:
        answer.set_exception(error)


_pool = Pool()
_loop_pool = LoopPool(_pool)


def submit(func: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
    """Run a function in a worker thread of the process's pool."""
    return _pool.submit(func, *args, **kwargs)


class SingleWorker:
    """Has what waits worked off by one thread of the pool at a time, whoever adds to it.

    There is no lock, as an exception may be raised at any line of a thread that adds work: the thread that has the
    token works, and only threads of the pool take it.
    """

    __slots__ = ("_token",)

    def __init__(self) -> None:
        self._token: list[None] = [None]

    @property
    def is_idle(self) -> bool:
        """True if no thread works."""
        return bool(self._token)

    def begin(self, waiting: Sized, work: Callable[[], None], ended: Callable[[], None] | None = None) -> None:
        """Have what waits worked off, unless that is under way: then it includes what has just been added.

        Args:
            waiting: What waits; nothing is done if it is empty.
            work: Works off all of it, in a worker thread.
            ended: Called in that thread each time the work was done, or failed.
        """
        if self._token:
            submit(self._work, waiting, work, ended)

    def _work(self, waiting: Sized, work: Callable[[], None], ended: Callable[[], None] | None) -> None:
        # What was added while the token was away is noticed here once it is back.
        while waiting:
            try:
                self._token.pop()
            except IndexError:
                return
            try:
                work()
            finally:
                self._token.append(None)
                if ended is not None:
                    ended()


class BackgroundExecutor:
    """Hands work to threads, through a method that other code may wrap; directly if it is not wrapped.

    New Relic's instrumentation wraps `submit` so that its trace goes along.

    Args:
        hand_over: Hands a function and its arguments to a thread.
    """

    def __init__(self, hand_over: Callable[..., Any]) -> None:
        self._hand_over = hand_over

    def submit(self, fn: Callable[..., object], /, *args: object, **kwargs: object) -> Any:
        """Run a function in a thread; returns what stands for its end."""
        return self._hand_over(fn, *args, **kwargs)


_SUBMIT = BackgroundExecutor.submit


def start(ticket: Ticket, func: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    """Run a function that tells its end itself in a worker thread of the process's pool.

    Args:
        ticket: Tells whether it has begun. It is the caller's, who can note it before: if this is cut off by an
            exception of a signal handler, the function may begin or not.
        func: The function.
        *args: Its arguments.
        **kwargs: Its named arguments.
    """
    if BackgroundExecutor.submit is not _SUBMIT:
        BackgroundExecutor(partial(_start, ticket)).submit(func, *args, **kwargs)
    else:
        _pool.post(ticket, func, args, kwargs)


def _start(ticket: Ticket, func: Callable[..., None], *args: object, **kwargs: object) -> Ticket:
    _pool.post(ticket, func, args, kwargs)
    return ticket


def pool() -> LoopPool:
    """Return the process's pool, for ``loop.run_in_executor``."""
    return _loop_pool


def _after_fork() -> None:
    global _loop_pool, _pool
    # The parent's threads do not exist in the child.
    _pool = Pool()
    _loop_pool = LoopPool(_pool)


if hasattr(os, "register_at_fork"):  # not where nothing forks
    os.register_at_fork(after_in_child=_after_fork)
atexit.register(lambda: _pool.finish())  # looked up at the exit, as a forked process has another pool
