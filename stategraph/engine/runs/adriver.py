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
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from contextvars import Context, copy_context
from functools import partial
from typing import Any

from stategraph.core import moves
from stategraph.core.moves import Failed, Outcome
from stategraph.core.task import Draft, Task
from stategraph.engine.checkpoints import pump
from stategraph.engine.checkpoints.saving import AsyncSaves
from stategraph.engine.compile.task_functions import SyncAsyncFuture
from stategraph.engine.config.quiet_manager import AsyncQuietCallbackManager
from stategraph.engine.runs import loading, pregel_loop, step, teardown
from stategraph.engine.runs.execution import Execution
from stategraph.engine.runs.step import StepEnd
from stategraph.engine.tasks import attempt
from stategraph.errors import GraphInterrupt

_Answer = asyncio.Future[Any] | Future[Any]


class AsyncDriver:
    """Drives one run; see the module."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        # How tasks ended, of which the machine has not been told yet.
        self._inbox: deque[Outcome] = deque()
        self._news = asyncio.Event()
        self._waking = False
        self._running: set[asyncio.Task[Any]] = set()
        self._waiting: deque[Task] = deque()
        self._called: set[asyncio.Task[Any]] = set()
        # What the called tasks of the step asked, for the run around this one.
        self._asked: list[step.Asked] = []
        self._open_calls: set[asyncio.Task[Any]] = set()
        # As the sync driver's.
        self._in_place = not execution.eager and execution.engine.step_timeout is None
        limit = execution.max_concurrency
        self._call_slots = asyncio.Semaphore(limit) if limit else None

    async def run(self, callbacks: Any) -> AsyncIterator[Any]:
        """As the sync driver's."""
        await self._open()
        execution = self._execution
        chunks, called = execution.chunks, self._called
        at_once, bare = self._in_place and execution.cache is None, execution.view is None
        waits = execution.saver is not None
        try:
            await self._begin(callbacks)
            machine, control, tell = execution.machine, execution.control, execution.teller()
            loop = pregel_loop.loop_of(pregel_loop.AsyncPregelLoop, execution)
            proceed, runs = machine.next if loop is None else loop.next, moves.RUNS
            while True:
                directive = proceed(control is not None and control.drain_requested)
                if machine.outbox:
                    execution.flush()
                if waits:
                    await self._let_save()
                kind = type(directive)
                if kind not in runs:
                    for shown in teardown.last_results(execution):
                        yield shown
                    break
                while bare and chunks:
                    yield chunks.popleft()
                for shown in execution.shown() if chunks else ():
                    yield shown
                if kind is Task and at_once:
                    begun = attempt.begin(execution, directive)  # type: ignore[arg-type]
                    outcome = begun if isinstance(begun, Draft) else await begun
                    if isinstance(outcome, Draft) and not called:
                        tell(outcome)
                        continue
                    rest = self._step([], outcome)
                else:
                    rest = self._step(moves.tasks_of(directive))
                async for shown in rest:
                    yield shown
            teardown.pause_at_breakpoint(execution)
            execution.wake = None
            if called or not execution.leaves_nothing:
                await self._leave(None)
        except BaseException as error:
            if not await self._leave(error):
                raise
        finally:
            execution.let_go()
        for shown in execution.shown():
            yield shown
        teardown.raise_unless_finished(execution)

    async def _begin(self, callbacks: Any) -> None:
        """Start the run, and tell of it."""
        execution = self._execution
        execution.start(callbacks, AsyncQuietCallbackManager)
        execution.flush()
        if execution.graph_callbacks is not None:
            await _maybe(execution.lifecycle("resume"))

    async def _let_save(self) -> None:
        """Wait for the saves of the last step, if they have to be done before the next, or too many wait."""
        saves = self._execution.saves
        if saves is not None and (self._execution.durability == "sync" or saves.crowded):
            await saves.wait()

    async def _open(self) -> None:
        """Load what the run starts from and connect the run to this driver."""
        execution = self._execution
        if execution.saver is None:
            execution.load(None, "none", False)
        else:
            await pump.arun(loading.load(execution))
        execution.new_saves = self._new_saves
        execution.on_call = self._call
        if execution.eager:
            execution.wake = self._wake

    def _new_saves(self) -> AsyncSaves:
        return AsyncSaves(self._execution.save_calls("aput_writes"))

    def _wake(self) -> None:
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

    async def _leave(self, error: BaseException | None) -> bool:
        """Stop what runs, store what waited for the end; returns whether the run paused rather than failed."""
        waits = self._running or self._called or self._execution.saver is not None
        if not waits and not isinstance(error, GraphInterrupt):
            return await self._left(error)
        # In a task of its own, so that cancelling the run again does not cut it short.
        leaving_task = self._loop.create_task(self._left(error))
        try:
            return await asyncio.shield(leaving_task)
        except asyncio.CancelledError as cancelled:
            if not leaving_task.done():
                # Whoever cancelled may wait for the rest, to close a connection after it.
                cancelled.args = (*cancelled.args, leaving_task)
            raise

    async def _left(self, error: BaseException | None) -> bool:
        execution = self._execution
        execution.wake = None
        try:
            await self._stop_running()
            teardown.close(execution, error)
        except Exception as refused:
            await self._finish_saves(refused)
            if not teardown.keeps(execution, error, refused):
                raise
        else:
            await self._finish_saves(error)
        interrupts = teardown.asked(execution, error)
        if interrupts is None:
            return False
        await _maybe(execution.lifecycle("interrupt", interrupts))
        teardown.pause(execution, interrupts)
        return True

    async def _finish_saves(self, error: BaseException | None) -> None:
        """Wait for the saves that were asked for; what one failed with is raised unless the run has failed anyway."""
        saves = self._execution.saves
        if saves is None:
            return
        try:
            await saves.wait()
        except Exception as refused:
            if not teardown.keeps(self._execution, error, refused):
                raise
        except BaseException:
            if error is None or isinstance(error, GraphInterrupt):
                raise

    async def _stop_running(self) -> None:
        """Cancel and await the tasks that still run; record how they ended."""
        running = [*self._running, *self._called]
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

    # -- one step ----------------------------------------------------------

    async def _step(self, tasks: list[Task], first: Outcome | None = None) -> AsyncIterator[Any]:
        """As the sync driver's; tasks run as tasks of the event loop."""
        end, execution = StepEnd(), self._execution
        if execution.cache is not None:
            await self._look_in_cache(tasks)
            tasks = [task for task in tasks if not task.writes]
            for shown in execution.shown():
                yield shown
        if self._in_place and len(tasks) == 1:
            first = await attempt.arun(execution, tasks.pop())
        self._waiting = deque(tasks)
        if first is not None:
            await self._take_in_place(first, end)
        async for shown in self._together(end):
            yield shown
        # Let the caller see how the tasks ended before their failure.
        for shown in execution.shown():
            yield shown
        end.conclude(self._asked)
        self._called.clear()

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
        execution, waiting = self._execution, self._waiting
        limit = execution.max_concurrency or len(waiting) + 1
        timeout = execution.engine.step_timeout
        deadline = None if timeout is None else self._loop.time() + timeout
        # A task may end while the reader of the last chunk takes its time; then it waits in the inbox.
        while (waiting or self._running or self._inbox or self._open_calls) and end.error is None:
            while waiting and len(self._running) < limit:
                self._start(waiting.popleft())
            await self._next(deadline)
            while self._inbox and end.error is None:
                await self._take(self._inbox.popleft(), end)
            if execution.chunks:
                for shown in execution.shown():
                    yield shown

    async def _next(self, deadline: float | None) -> None:
        if self._inbox or self._execution.chunks:
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
        execution = self._execution
        task = execution.machine.tasks[outcome.task_id]
        handler = execution.tell(outcome)
        if isinstance(outcome, Draft):
            await self._to_cache(task)
        elif handler is not None:
            # The failure has to be durable before its handler acts on it.
            if execution.saves is not None:
                await execution.saves.wait()
            if not handler.writes:
                self._waiting.append(handler)
        elif not step.handled(task, outcome):
            end.add(outcome)

    # -- calls from a task to another ---------------------------------------

    def _call(self, caller: Task, func: Callable[..., Any], input: Any, **options: Any) -> _Answer:
        """Start a function as a task of the current step; what ``@task`` functions call."""
        if threading.get_ident() == self._thread:
            answer: _Answer = self._loop.create_future()
            self._begin_call(answer, copy_context(), caller, func, input, options)
        else:
            # A sync function in a worker thread: it may block on the answer.
            answer = SyncAsyncFuture()
            self._loop.call_soon_threadsafe(self._begin_call, answer, copy_context(), caller, func, input, options)
        return answer

    def _begin_call(
        self,
        answer: _Answer,
        context: Context,
        caller: Task,
        func: Callable[..., Any],
        input: Any,
        options: dict[str, Any],
    ) -> None:
        execution = self._execution
        try:
            task = step.plan_call(
                execution,
                caller,
                func,
                input,
                options.get("retry_policy"),
                options.get("cache_policy"),
                options.get("callbacks"),
                options.get("timeout"),
            )
        except BaseException as error:
            _answer(answer, None, error)
            return
        # A task that another called task calls goes on in its caller's place: waiting for
        # a place of its own while the caller holds one could wait forever.
        slots = None if caller.is_call else self._call_slots
        work = self._run_called(task, answer, slots)
        called = self._loop.create_task(work, name=task.name, context=context)
        self._called.add(called)
        self._open_calls.add(called)
        called.add_done_callback(self._call_ended)
        answer.add_done_callback(partial(_follow, self._loop, called))

    def _call_ended(self, called: asyncio.Task[Any]) -> None:
        self._open_calls.discard(called)
        if not called.cancelled():
            called.exception()
        self._news.set()

    async def _run_called(self, task: Task, answer: _Answer, slots: asyncio.Semaphore | None) -> None:
        execution = self._execution
        try:
            if execution.cache is not None:
                await self._look_in_cache([task])
            if task.writes:
                value = step.result_of(task)
            else:
                async with slots if slots is not None else nullcontext():
                    value = await self._finish_call(task)
        except BaseException as error:
            _answer(answer, None, error)
            if isinstance(error, asyncio.CancelledError):
                raise
        else:
            _answer(answer, value, None)

    async def _finish_call(self, task: Task) -> Any:
        outcome = await attempt.arun(self._execution, task)
        self._asked += step.asked_by(self._execution, task, outcome)
        self._execution.tell(outcome)
        if not isinstance(outcome, Draft):
            raise outcome.error
        await self._to_cache(task)
        return outcome.value

    # -- cache ---------------------------------------------------------------

    async def _look_in_cache(self, tasks: Sequence[Task]) -> None:
        execution = self._execution
        keys = step.cache_keys(execution, tasks)
        if keys and execution.cache is not None:
            step.take_cached(execution, keys, await execution.cache.aget(tuple(keys)))

    async def _to_cache(self, task: Task) -> None:
        if task.cache_key is None:
            return
        entry = step.to_cache(task)
        if entry is not None and self._execution.cache is not None:
            await self._execution.cache.aset(entry)


def _follow(loop: asyncio.AbstractEventLoop, called: asyncio.Task[Any], answer: _Answer) -> None:
    """A caller that cancels the future means the task behind it."""
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


async def _maybe(awaitable: Awaitable[Any] | None) -> None:
    if awaitable is not None:
        await awaitable
