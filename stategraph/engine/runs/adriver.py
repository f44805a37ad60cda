"""The async driver: performs what the machine of a run asks for, on one event loop.

Rules
-----
* A step with one task is awaited in place, in a context of its own, without an
  asyncio task. Several tasks, or a caller who wants to hear events while a node
  runs, get asyncio tasks; the driver owns them and awaits every one it cancels.
* Cancelling the run cancels its tasks, then records and stores what they
  reached before the cancellation leaves the driver.
* Everything here happens on the loop's thread. A sync node in a worker thread
  that calls a task hands the call over to the loop.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from functools import partial
from typing import Any

from stategraph.core import moves
from stategraph.core.moves import Failed, Outcome
from stategraph.core.task import Draft, Task
from stategraph.engine.checkpoints import pump
from stategraph.engine.checkpoints.saving import AsyncSaves
from stategraph.engine.config.quiet_manager import AsyncQuietCallbackManager
from stategraph.engine.runs import loading, pregel_loop, step, teardown
from stategraph.engine.runs.execution import Execution
from stategraph.engine.runs.run_plan import RunPlan
from stategraph.engine.runs.step import StepEnd
from stategraph.engine.runs.task_calls import LoopCalls
from stategraph.engine.streams.payloads import NOTHING
from stategraph.engine.tasks import attempt
from stategraph.errors import GraphInterrupt


async def load(plan: RunPlan) -> loading.Loaded:
    """Fetch what a run starts from."""
    return loading.nothing(plan) if plan.saver is None else await pump.arun(loading.load(plan))


class _Waker:
    """Wakes a driver from any thread, when there is something to show."""

    def __init__(self, news: asyncio.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._news = news
        self._waking = False

    def __call__(self) -> None:
        if threading.get_ident() == self._thread:
            # What the same event sets free inside the node goes first: it is the cause, the chunk the report.
            if not self._waking:
                self._waking = True
                self._loop.call_soon(self._woken)
        else:
            self._loop.call_soon_threadsafe(self._news.set)

    def _woken(self) -> None:
        self._waking = False
        self._news.set()


class AsyncDriver:
    """Drives one run; see the module."""

    def __init__(self, execution: Execution) -> None:
        """Args: execution: The run, not loaded yet."""
        self._execution = execution
        self._loop = asyncio.get_running_loop()
        # How tasks ended, of which the machine has not been told yet.
        self._inbox: deque[Outcome] = deque()
        self._news = asyncio.Event()
        self._running: set[asyncio.Task[Any]] = set()
        self._waiting: deque[Task] = deque()
        self._calls = LoopCalls(execution.plan.max_concurrency, self._news)
        self._saves: AsyncSaves | None = None
        # As the sync driver's.
        self._in_place = not execution.outlet.eager and execution.plan.spec.step_timeout is None
        self._at_once = Task if self._in_place and execution.plan.cache is None else None

    async def run(self, callbacks: Any) -> AsyncIterator[Any]:
        """Run the execution to its end; as the sync driver's."""
        execution, outlet = self._execution, self._execution.outlet
        execution.load(await load(execution.plan))
        async with self:
            await self._begin(callbacks)
            async with aclosing(self._steps()) as steps:
                async for seen in steps:
                    yield seen
        for seen in outlet.shown():
            yield seen
        teardown.raise_unless_finished(execution)

    async def _steps(self) -> AsyncGenerator[Any, None]:
        """Do what the machine asks for, until it has no more tasks."""
        execution = self._execution
        machine, outlet, called = execution.machine, execution.outlet, self._calls.called
        control, chunks, take = execution.plan.control, outlet.chunks, outlet.taker
        proceed, tell = pregel_loop.planner(pregel_loop.AsyncPregelLoop, execution), execution.teller()
        runs = moves.RUNS
        while True:
            directive = proceed(control.drain_requested)
            if machine.outbox:
                execution.flush()
            if self._saves is not None:
                await self._let_save(self._saves)
            kind = type(directive)
            if kind not in runs:
                break
            while chunks:
                if (seen := take()) is not NOTHING:
                    yield seen
            outcome: Outcome | None = None
            if kind is self._at_once:
                begun = attempt.begin(execution, directive)  # type: ignore[arg-type]
                outcome = begun if isinstance(begun, Draft) else await begun
                if isinstance(outcome, Draft) and not called:
                    tell(outcome)
                    continue
            tasks = moves.tasks_of(directive) if outcome is None else []
            async for seen in self._step(tasks, outcome):
                yield seen
        for seen in teardown.last_results(execution):
            yield seen
        teardown.pause_at_breakpoint(execution)

    async def __aenter__(self) -> None:
        """Connect the run to this driver."""
        execution = self._execution
        if execution.outlet.eager:
            execution.outlet.wake_by(_Waker(self._news))
        if execution.plan.saver is not None:
            self._saves = AsyncSaves(execution.save_calls("aput_writes"))

    async def __aexit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        """Leave the run, however it ended; returns whether it paused rather than failed."""
        if error is not None:
            return await self._leave(error)
        self._execution.outlet.wake_by(None)
        if self._calls.called or not self._execution.plan.leaves_nothing:
            try:
                await self._leave(None)
            except BaseException as refused:
                if not await self._leave(refused):
                    raise
        return False

    async def _begin(self, callbacks: Any) -> None:
        """Start the run, and tell of it."""
        execution = self._execution
        execution.begin(callbacks, AsyncQuietCallbackManager, self._calls, self._saves)
        if execution.graph_callbacks is not None and (told := execution.lifecycle("resume")) is not None:
            await told

    async def _let_save(self, saves: AsyncSaves) -> None:
        """Wait for the saves of the last step, if they have to be done before the next, or too many wait."""
        if self._execution.plan.durability == "sync" or saves.crowded:
            await saves.wait()

    # -- the end; see `teardown.leave` ---------------------------------------

    async def _leave(self, error: BaseException | None) -> bool:
        """Stop what runs, store what waited for the end; returns whether the run paused rather than failed."""
        left = pump.arun(teardown.leave(self._execution, self, error))
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

    async def astop_running(self) -> None:
        """Cancel and await the tasks that still run; record how they ended."""
        self._execution.outlet.wake_by(None)
        running = [*self._running, *self._calls.called]
        for running_task in running:
            running_task.cancel()
        if running:
            await asyncio.wait(running)
            # What they ended with is noted by callbacks, which the loop calls after them.
            await asyncio.sleep(0)
        refused: Exception | None = None
        while self._inbox:
            try:
                self._execution.tell(self._inbox[0])
            except Exception as error:
                # What one task wrote cannot be stored; that of the others may.
                refused = refused or error
            self._inbox.popleft()
        if refused is not None:
            raise refused

    async def asaves_done(self) -> None:
        """Wait for the saves that were asked for."""
        if self._saves is not None:
            await self._saves.wait()

    async def ainterrupted(self, interrupts: tuple[Any, ...]) -> None:
        """Tell handlers of the pause."""
        told = self._execution.lifecycle("interrupt", interrupts)
        if told is not None:
            await told

    # -- one step ----------------------------------------------------------

    async def _step(self, tasks: list[Task], first: Outcome | None = None) -> AsyncIterator[Any]:
        """As the sync driver's; tasks run as tasks of the event loop."""
        end, execution = StepEnd(), self._execution
        if execution.plan.cache is not None:
            await pump.arun(step.look_in_cache(execution, tasks))
            tasks = [task for task in tasks if not task.writes]
            for shown in execution.outlet.shown():
                yield shown
        if self._in_place and len(tasks) == 1:
            first = await attempt.arun(execution, tasks.pop())
        self._waiting = deque(tasks)
        if first is not None:
            await self._take_in_place(first, end)
        async for shown in self._together(end):
            yield shown
        # Let the caller see how the tasks ended before their failure.
        for shown in execution.outlet.shown():
            yield shown
        self._calls.conclude(end)

    async def _take_in_place(self, outcome: Outcome, end: StepEnd) -> None:
        error = None if isinstance(outcome, Draft) else outcome.error
        if isinstance(error, asyncio.CancelledError):
            self._execution.tell(outcome)
        elif error is None or isinstance(error, Exception):
            await self._take(outcome, end)
            return
        raise error

    async def _together(self, end: StepEnd) -> AsyncIterator[Any]:
        """Run the tasks that wait beside each other, until all have ended or one has failed."""
        execution, waiting, open_calls = self._execution, self._waiting, self._calls.open
        limit = execution.plan.max_concurrency or len(waiting) + 1
        timeout = execution.plan.spec.step_timeout
        deadline = None if timeout is None else self._loop.time() + timeout
        # A task may end while the reader of the last chunk takes its time; then it waits in the inbox.
        while (waiting or self._running or self._inbox or open_calls) and end.error is None:
            while waiting and len(self._running) < limit:
                self._start(waiting.popleft())
            await self._next(deadline)
            while self._inbox and end.error is None:
                await self._take(self._inbox.popleft(), end)
            if execution.outlet.chunks:
                for shown in execution.outlet.shown():
                    yield shown

    async def _next(self, deadline: float | None) -> None:
        if self._inbox or self._execution.outlet.chunks:
            return
        self._news.clear()
        if deadline is None:
            await self._news.wait()
            return
        try:
            async with asyncio.timeout_at(deadline):
                await self._news.wait()
        except TimeoutError:
            raise TimeoutError("Timed out") from None

    def _start(self, task: Task) -> None:
        started = self._loop.create_task(self._perform(task), name=task.name)
        self._running.add(started)
        started.add_done_callback(partial(self._ended, task))

    async def _perform(self, task: Task) -> Outcome:
        outcome = await attempt.arun(self._execution, task)
        if isinstance(outcome, Failed) and isinstance(outcome.error, (KeyboardInterrupt, SystemExit)):
            self._inbox.append(outcome)
            raise outcome.error  # the loop's to hear, too
        return outcome

    def _ended(self, task: Task, ended: asyncio.Task[Outcome]) -> None:
        self._running.discard(ended)
        if ended.cancelled():  # before it began
            self._inbox.append(Failed(task.id, [], asyncio.CancelledError()))
        elif ended.exception() is None:
            self._inbox.append(ended.result())
        self._news.set()

    async def _take(self, outcome: Outcome, end: StepEnd) -> None:
        """As the sync driver's."""
        task, handler = step.settle(self._execution, outcome, end)
        if isinstance(outcome, Draft):
            if task.cache_key is not None:
                await pump.arun(step.to_cache(self._execution, task))
        elif handler is not None:
            # The failure has to be durable before its handler acts on it.
            await self.asaves_done()
            if not handler.writes:
                self._waiting.append(handler)
