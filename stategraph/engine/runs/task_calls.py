"""Calls from a task to another: functions that run as tasks of the step in which they are called.

Rules
-----
* A call has one of as many places as the run's `max_concurrency`. A task that another called task calls goes on in its
  caller's place: waiting for a place of its own while the caller holds one could wait forever.
* How a called task ended is recorded before its caller goes on.
* The run comes with each call: nothing here refers to it, so that a run that is over is freed at once.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import nullcontext
from contextvars import Context, copy_context
from functools import partial
from queue import SimpleQueue
from typing import Any

from stategraph.core.task import Draft, Task
from stategraph.engine.checkpoints import pump
from stategraph.engine.compile.functions import is_async_callable
from stategraph.engine.compile.task_functions import SyncAsyncFuture
from stategraph.engine.runs import step
from stategraph.engine.runs.execution import Execution
from stategraph.engine.runs.news import News
from stategraph.engine.runs.step import StepEnd
from stategraph.engine.tasks import attempt, threads

_Answer = asyncio.Future[Any] | Future[Any]

THREADS_A_RUN = min(32, (os.cpu_count() or 1) + 4)
"""Sync tasks of a run that work at once, unless `max_concurrency` says otherwise: as many as `ThreadPoolExecutor`, and
so LangGraph, allows. Nodes rely on it not to ask a backend everything at once. A nested run has places of its own, so
that a node which waits for a subgraph does not wait for itself."""


class ThreadCalls:
    """The calls of a sync run: each runs in a worker thread.

    Attributes:
        called: The futures of the step's calls, by task id.
        open: Ids of the called tasks that have not ended; threads take theirs out.
    """

    def __init__(self, limit: int, news: SimpleQueue[None]) -> None:
        """Args: limit: How many work at once; news: Wakes the driver when one has ended."""
        self.called: dict[str, Future[Any]] = {}
        self.open: set[str] = set()
        # What they asked, for the run around this one.
        self._asked: list[step.Asked] = []
        self._limit = limit
        self._news = news
        # Those that wait for a place, and how many places are taken.
        self._queued: deque[Callable[[], object]] = deque()
        self._places_taken = 0

    def start(
        self, run: Execution, caller: Task, func: Callable[..., Any], input: object, **options: Any
    ) -> Future[Any]:
        """Start a function as a task of the current step; see `tasks.scope.Calls`."""
        if is_async_callable(func):
            raise RuntimeError("In an sync context async tasks cannot be called")
        future: SyncAsyncFuture[Any] = SyncAsyncFuture()
        task = step.plan_call(run, caller, func, input, **options)
        if run.plan.cache is not None:
            pump.run(step.look_in_cache(run, [task]))
        if task.writes:
            _resolve(future, partial(step.result_of, task))
            return future
        self.called[task.id] = future
        self.open.add(task.id)
        placed = not caller.is_call
        context = copy_context()

        def begin() -> None:
            runner = run.plan.environment.runner
            start = threads.start if runner is None else runner.start
            start(threads.Ticket(), context.run, self._run, run, task, future, placed)

        with run.lock:
            if placed and self._places_taken >= self._limit:
                self._queued.append(begin)
                return future
            self._places_taken += placed
        begin()
        return future

    def _run(self, run: Execution, task: Task, future: Future[Any], placed: bool) -> None:
        try:
            if future.set_running_or_notify_cancel():
                _resolve(future, partial(self._run_to_end, run, task))
            if placed:
                with run.lock:
                    following = self._queued.popleft() if self._queued else None
                    self._places_taken -= following is None
                if following is not None:
                    following()
        finally:
            self.open.discard(task.id)
            self._news.put(None)

    def _run_to_end(self, run: Execution, task: Task) -> Any:
        """Run a called task and record how it ended; its caller is told either way, also if that cannot be stored."""
        outcome = attempt.run(run, task)
        self._asked += step.asked_by(run, task, outcome)
        tape = run.plan.environment.tape
        if tape is None:
            run.tell(outcome)
        else:
            tape.hold(run.plan.ns, task.id)
            with run.lock:  # others are not to be told in between
                tape.taken(run.plan.ns, task.id)
                run.tell(outcome)
        if not isinstance(outcome, Draft):
            raise outcome.error
        if task.cache_key is not None:
            pump.run(step.to_cache(run, task))
        return outcome.value

    def cancel(self) -> None:
        """Cancel the calls that have not begun."""
        for future in list(self.called.values()):
            future.cancel()

    def join(self) -> None:
        """Wait for the calls that were not cancelled."""
        for future in list(self.called.values()):
            if not future.cancelled():
                future.exception()

    def conclude(self, end: StepEnd) -> None:
        """End the step: raise what its tasks raised, the gravest first, or forget its calls."""
        end.conclude(self._asked)
        self.called.clear()


def _resolve(future: Future[Any], produce: Callable[[], object]) -> None:
    try:
        future.set_result(produce())
    except BaseException as error:
        future.set_exception(error)


class LoopCalls:
    """The calls of an async run: each runs as a task of the run's event loop.

    Attributes:
        called: The step's calls.
        open: Those that have not ended.
    """

    def __init__(self, limit: int | None, news: News, loop: asyncio.AbstractEventLoop) -> None:
        """Args: limit: How many work at once, or None; news: Wakes the driver when one has ended; loop: The run's."""
        self.called: set[asyncio.Task[Any]] = set()
        self.open: set[asyncio.Task[Any]] = set()
        self._asked: list[step.Asked] = []
        self._slots = asyncio.Semaphore(limit) if limit else None
        self._news = news
        self._loop = loop
        self._thread = threading.get_ident()

    def start(self, run: Execution, caller: Task, func: Callable[..., Any], input: object, **options: Any) -> _Answer:
        """Start a function as a task of the current step; see `tasks.scope.Calls`."""
        if threading.get_ident() == self._thread:
            answer: _Answer = self._loop.create_future()
            self._begin(answer, copy_context(), run, partial(step.plan_call, run, caller, func, input, **options))
        else:
            # A sync function in a worker thread: it may block on the answer.
            answer = SyncAsyncFuture()
            plan = partial(step.plan_call, run, caller, func, input, **options)
            self._loop.call_soon_threadsafe(self._begin, answer, copy_context(), run, plan)
        return answer

    def _begin(self, answer: _Answer, context: Context, run: Execution, plan: partial[Task]) -> None:
        try:
            task = plan()
        except BaseException as error:
            _answer(answer, None, error)
            return
        slots = None if plan.args[1].is_call else self._slots
        called = self._loop.create_task(self._run(run, task, answer, slots), name=task.name, context=context)
        self.called.add(called)
        self.open.add(called)
        called.add_done_callback(self._ended)
        answer.add_done_callback(partial(_follow, self._loop, called))

    def _ended(self, called: asyncio.Task[Any]) -> None:
        self.open.discard(called)
        if not called.cancelled():
            called.exception()
        self._news.set()

    async def _run(self, run: Execution, task: Task, answer: _Answer, slots: asyncio.Semaphore | None) -> None:
        try:
            if run.plan.cache is not None:
                await pump.arun(step.look_in_cache(run, [task]))
            if task.writes:
                value = step.result_of(task)
            else:
                async with slots if slots is not None else nullcontext():
                    value = await self._run_to_end(run, task)
        except BaseException as error:
            _answer(answer, None, error)
            if isinstance(error, asyncio.CancelledError):
                raise
        else:
            _answer(answer, value, None)

    async def _run_to_end(self, run: Execution, task: Task) -> Any:
        outcome = await attempt.arun(run, task)
        self._asked += step.asked_by(run, task, outcome)
        if (tape := run.plan.environment.tape) is not None:
            await tape.ahold(run.plan.ns, task.id)
            tape.taken(run.plan.ns, task.id)
        run.tell(outcome)
        if not isinstance(outcome, Draft):
            raise outcome.error
        if task.cache_key is not None:
            await pump.arun(step.to_cache(run, task))
        return outcome.value

    def conclude(self, end: StepEnd) -> None:
        """End the step: raise what its tasks raised, the gravest first, or forget its calls."""
        end.conclude(self._asked)
        self.called.clear()


def _follow(loop: asyncio.AbstractEventLoop, called: asyncio.Task[Any], answer: _Answer) -> None:
    """Cancel the task behind a future that its caller has cancelled."""
    if answer.cancelled() and not called.done():
        loop.call_soon_threadsafe(called.cancel)


def _answer(answer: _Answer, value: Any, error: BaseException | None) -> None:
    if answer.done():
        return
    if error is None:
        answer.set_result(value)
    elif isinstance(answer, asyncio.Future) and isinstance(error, asyncio.CancelledError):
        answer.cancel()
    else:
        answer.set_exception(error)
        if isinstance(answer, asyncio.Future):
            # A caller that never awaits the answer is no reason for a warning.
            answer.exception()
