"""The async driver: performs the procedure of a run on one event loop, and runs tasks as tasks of the loop.

Rules
-----
* A step with one task is awaited in place, in a context of its own, without an
  asyncio task. Several tasks get asyncio tasks; the driver owns them and awaits
  every one it cancels.
* If the caller wants to hear events while a node runs, a lone task gets an asyncio
  task, in which those after it run as well, as long as there is nothing to show
  and the caller waits. No step begins before all of the one before was shown.
* Cancelling the run cancels its tasks, then records and stores what they
  reached before the cancellation leaves the driver.
* Everything here happens on the loop's thread. A sync node in a worker thread
  that calls a task hands the call over to the loop.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from functools import partial
from typing import Any, ClassVar, TypeVar

from stategraph.core.moves import Directive, Failed, Outcome
from stategraph.core.task import Draft, Task
from stategraph.engine.checkpoints import pump
from stategraph.engine.checkpoints.saving import AsyncSaves
from stategraph.engine.config import procedures
from stategraph.engine.config.context import await_in_context
from stategraph.engine.config.quiet_manager import AsyncQuietCallbackManager
from stategraph.engine.runs import listeners, pregel_loop, teardown
from stategraph.engine.runs.execution import Execution
from stategraph.engine.runs.news import News, Waker
from stategraph.engine.runs.procedure import RunProcedure
from stategraph.engine.runs.step import StepEnd
from stategraph.engine.runs.task_calls import LoopCalls
from stategraph.engine.runs.teardown import Asking
from stategraph.engine.streams.payloads import NOTHING
from stategraph.engine.tasks import attempt
from stategraph.errors import GraphInterrupt

T = TypeVar("T")

_NO_LIMIT = sys.maxsize


class Request:
    """Asks to have something awaited.

    Attributes:
        awaitable: What is to be awaited.
    """

    __slots__ = ("awaitable",)

    awaitable: Awaitable[Any]


async def _wait_for(request: object) -> object:
    assert isinstance(request, Request)
    return await request.awaitable


class AsyncDriver(RunProcedure):
    """Drives one run; see the module."""

    quiet = AsyncQuietCallbackManager
    loop = pregel_loop.AsyncPregelLoop
    makers = listeners.ASYNC

    _calls: LoopCalls
    _start: ClassVar[Any] = staticmethod(attempt.begin)

    def __init__(self, execution: Execution) -> None:
        """Args: execution: The run, not loaded yet."""
        super().__init__(execution)
        self._loop = asyncio.get_running_loop()
        # One serves for all: what it holds is taken at once.
        self.request = Request()
        self._news = News(self._loop)
        self._running: set[asyncio.Task[Any]] = set()
        # The tasks behind them, of a run in which some may be given up.
        self._started_for: dict[asyncio.Task[Any], Task] = {}
        self._calls = LoopCalls(execution.plan.max_concurrency, self._news, self._loop)

    def awaited(self, done: Awaitable[T]) -> Asking[T]:
        """Return what a call returns, once it has been awaited."""
        request = self.request
        request.awaitable = done
        answer: T = yield request
        return answer

    def perform(self, procedure: pump.Procedure[T]) -> Awaitable[T]:
        """Perform a procedure over savers and caches."""
        return pump.arun(procedure)

    def report(self, manager: Any, error: BaseException) -> Awaitable[object]:
        """Tell listeners of the run's failure, also while it is being cancelled."""
        return asyncio.shield(manager.on_chain_error(error))

    def _waker(self) -> Callable[[], object]:
        return Waker(self._news)

    def _open_saves(self) -> AsyncSaves:
        return AsyncSaves(self._execution.save_calls("aput_writes"))

    # -- the end -------------------------------------------------------------

    def _leave(self, error: BaseException | None) -> Asking[bool]:
        return self.awaited(self._stop(error))

    async def _stop(self, error: BaseException | None) -> bool:
        """Stop what runs, store what waited for the end; returns whether the run paused rather than failed."""
        left = procedures.adrive(teardown.leave(self._execution, self, error), _wait_for)
        waits = self._running or self._calls.called or self._execution.plan.saver is not None
        if not waits and not isinstance(error, GraphInterrupt):
            return await left
        # In a task of its own, so that cancelling the run again does not cut it short.
        leaving_task = self._loop.create_task(left)
        try:
            return await asyncio.shield(leaving_task)
        except asyncio.CancelledError as cancelled:
            if not leaving_task.done():
                # Whoever cancelled may wait for the rest, to close a connection after it.
                cancelled.args = (*cancelled.args, leaving_task)
            raise

    async def stop_running(self) -> None:
        """Cancel and await the tasks that still run; record how they ended."""
        running = [*self._running, *self._calls.called]
        for running_task in running:
            running_task.cancel()
        if running:
            await asyncio.wait(running)
            # What they ended with is noted by callbacks, which the loop calls after them.
            await asyncio.sleep(0)
        if (refused := self._record_ended()) is not None:
            raise refused

    # -- one step ----------------------------------------------------------

    def _together(self, end: StepEnd) -> Asking[None]:
        """Run the tasks that wait beside each other, until all have ended or one has failed."""
        execution, waiting, open_calls = self._execution, self._waiting, self._calls.open
        limit = execution.plan.max_concurrency or _NO_LIMIT
        deadline = self._deadline(self._loop.time)
        # A task may end while the reader of the last chunk takes its time; then it waits in the inbox.
        while (waiting or self._running or self._ended or open_calls) and end.error is None:
            while waiting and len(self._running) < limit:
                self._start_beside(waiting.popleft())
            if not self._ended and not execution.outlet.chunks:
                yield from self.awaited(self._next(deadline))
            while self._ended and end.error is None:
                yield from self._take(self._ended.popleft(), end)
            if execution.outlet.chunks:
                yield from execution.outlet.shown()

    def _run_step(self, tasks: list[Task]) -> Asking[Directive | None]:
        return self._run_ahead(tasks[0]) if len(tasks) == 1 and self._is_watched else super()._run_step(tasks)

    def _run_ahead(self, task: Task) -> Asking[Directive | None]:
        """Take a step of one task to its end, and show what comes meanwhile; see `_go_ahead`."""
        outlet, news, request = self._execution.outlet, self._news, self.request
        chunks, take = outlet.chunks, outlet.taker
        ahead = self._loop.create_task(self._go_ahead(task), name=task.name)
        self._running.add(ahead)
        ahead.add_done_callback(partial(self._note_ahead, task))
        while True:
            is_over = ahead.done()
            while chunks:
                if (seen := take()) is not NOTHING:
                    yield seen
            if is_over:
                break
            if not ahead.done():
                news.clear()
                request.awaitable = news.wait()
                yield request
        self._note_ahead(task, ahead)
        if self._ended:
            yield from self._step([])
        return None if ahead.cancelled() else ahead.result()

    async def _go_ahead(self, task: Task) -> Directive | None:
        """Run a task as an asyncio task, and those after it, as long as the caller waits and there is nothing to show.

        So a step that nobody hears anything of costs no asyncio task of its own.

        Returns:
            What the machine asks for next; None if it has not been asked. A task whose end has not been told is among
            those that have ended.
        """
        execution, called, chunks = self._execution, self._calls.called, self._execution.outlet.chunks
        machine, control = execution.machine, execution.plan.control
        # A wrapped `tick` is called in the caller's task, as it may open spans there.
        plans_ahead = execution.plan.saver is None and not pregel_loop.is_wrapped(self.loop)
        try:
            while True:
                # Each task gets a context of its own, as it would as an asyncio task.
                context = copy_context()
                outcome = context.run(self._start, execution, task)
                if not isinstance(outcome, Draft):
                    outcome = await await_in_context(context, outcome)
                if not isinstance(outcome, Draft) or called or not self._news.is_awaited:
                    self._ended.append(outcome)
                    if isinstance(outcome, Failed) and isinstance(outcome.error, (KeyboardInterrupt, SystemExit)):
                        raise outcome.error  # the loop's to hear, too
                    return None
                execution.tell(outcome)
                if chunks or not plans_ahead:
                    return None
                directive = machine.next(control.drain_reason is not None)
                if machine.outbox:
                    execution.flush()
                if chunks or not isinstance(directive, Task):
                    return directive
                task = directive
        finally:
            self._news.set()

    def _note_ahead(self, task: Task, ahead: asyncio.Task[Directive | None]) -> None:
        """Note that what ran ahead has ended: when its driver looks, or when the loop says so."""
        if ahead not in self._running:
            return
        self._running.discard(ahead)
        if ahead.cancelled():  # before it began
            self._ended.append(Failed(task.id, [], asyncio.CancelledError()))
        self._news.set()

    def _next(self, deadline: float | None) -> Awaitable[None]:
        """Wait until a task has ended, or there is something to show."""
        self._news.clear()
        return self._news.wait() if deadline is None else self._next_until(deadline)

    async def _next_until(self, deadline: float) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                await self._news.wait()
        except TimeoutError:
            raise TimeoutError("Timed out") from None

    def _start_beside(self, task: Task) -> None:
        started = self._loop.create_task(self._run(task), name=task.name)
        self._running.add(started)
        started.add_done_callback(partial(self._note, task))
        if self._fan_outs is not None:
            self._started_for[started] = task

    def _give_up(self, tasks: list[Task]) -> None:
        super()._give_up(tasks)
        for running in self._running:
            if self._started_for.get(running) in tasks:
                running.cancel()

    async def _run(self, task: Task) -> Outcome:
        outcome = await attempt.arun(self._execution, task)
        if self._tape is not None:
            await self._tape.ahold(self._execution.plan.ns, task.id)
        if isinstance(outcome, Failed) and isinstance(outcome.error, (KeyboardInterrupt, SystemExit)):
            self._ended.append(outcome)
            raise outcome.error  # the loop's to hear, too
        return outcome

    def _note(self, task: Task, ended: asyncio.Task[Outcome]) -> None:
        self._running.discard(ended)
        if ended.cancelled():  # before it began
            self._ended.append(Failed(task.id, [], asyncio.CancelledError()))
        elif ended.exception() is None:
            self._ended.append(ended.result())
        self._news.set()


def begin(execution: Execution) -> tuple[Asking[None], Request]:
    """Begin to drive an open run, where an event loop runs.

    Returns:
        The procedure of the run, see `RunProcedure.procedure`, and the one object that it yields to have something
        awaited; it yields nothing else but what the caller asked to see. `StateGraphEngine.astream` performs it.
    """
    driver = AsyncDriver(execution)
    return driver.procedure(), driver.request


async def run(execution: Execution, show: Callable[[object], object]) -> None:
    """Drive an open run to its end, and call a function with each chunk that its caller asked to see."""
    procedure, request = begin(execution)
    # What `procedures.adrive` does, whose objects for each run take as long as a step.
    send: Callable[[Any], object] = procedure.send
    go_on, answer = send, None
    try:
        while True:
            asked = go_on(answer)
            try:
                answer = await request.awaitable if asked is request else show(asked)
                go_on = send
            except BaseException as error:
                go_on, answer = procedure.throw, error
    except StopIteration:
        return
    finally:
        del answer  # an error refers to this frame
