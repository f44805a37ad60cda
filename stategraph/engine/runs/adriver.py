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
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from contextlib import nullcontext
from contextvars import Context, copy_context
from functools import partial
from typing import Any

from langgraph.checkpoint.base import CheckpointTuple

from stategraph.constants import CONFIG_KEY_CHECKPOINT_ID
from stategraph.core.task import Task
from stategraph.engine.checkpoints import damage, pump
from stategraph.engine.checkpoints.saving import AsyncSaves
from stategraph.engine.compile.task_functions import SyncAsyncFuture
from stategraph.engine.config import foreign_types
from stategraph.engine.config.quiet_manager import AsyncQuietCallbackManager
from stategraph.engine.config.runnable_config import patch_configurable
from stategraph.engine.runs import pregel_loop, step, teardown
from stategraph.engine.runs.execution import Execution, Lookup
from stategraph.engine.runs.step import StepEnd
from stategraph.engine.tasks import attempt
from stategraph.errors import GraphInterrupt

_Ended = tuple[Task, BaseException | None]
_Answer = asyncio.Future[Any] | Future[Any]


async def find(execution: Execution, lookup: Lookup) -> tuple[CheckpointTuple | None, bool]:
    """Fetch the checkpoint a run starts from, and whether the thread has moved past it."""
    saver = execution.saver
    assert saver is not None
    with damage.reading(lookup.config):
        if lookup.how == "replay" and lookup.replay is not None:
            return foreign_types.received(
                await lookup.replay.aget_checkpoint(execution.ns, saver, lookup.config)
            ), False
        found = foreign_types.received(await saver.aget_tuple(lookup.config))
        if lookup.ns is not None:
            return found, True
        if found is None:
            return None, False
        if lookup.how != "id":
            around = lookup.lineage
            if around is not None and around.lost(found):
                found = await pump.arun(around.latest(saver, lookup.config, found))
            return found, False
        latest = await saver.aget_tuple(patch_configurable(lookup.config, {CONFIG_KEY_CHECKPOINT_ID: None}))
    return found, latest is not None and latest.checkpoint["id"] != found.checkpoint["id"]


class AsyncDriver:
    """Drives one run; see the module."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        # The asyncio tasks that have ended and of which the machine has not been told yet.
        self._inbox: deque[asyncio.Task[Any]] = deque()
        self._news = asyncio.Event()
        self._waking = False
        self._running: dict[asyncio.Task[Any], Task] = {}
        self._called: set[asyncio.Task[Any]] = set()
        self._open_calls: set[asyncio.Task[Any]] = set()
        limit = execution.max_concurrency
        self._call_slots = asyncio.Semaphore(limit) if limit else None

    async def run(self, callbacks: Any) -> AsyncIterator[Any]:
        """As the sync driver's."""
        await self._open()
        execution = self._execution
        machine, control = execution.machine, execution.control
        in_place = not execution.eager and execution.engine.step_timeout is None
        chunks, bare = execution.chunks, execution.view is None
        try:
            execution.start(callbacks, AsyncQuietCallbackManager)
            execution.flush()
            if execution.graph_callbacks is not None:
                await _maybe(execution.lifecycle("resume"))
            loop = pregel_loop.loop_of(pregel_loop.AsyncPregelLoop, execution)
            plan = machine.plan if loop is None else loop.plan
            express = in_place and execution.cache is None and execution.node_finished is None and loop is None
            end_lone = execution.end_lone
            while True:
                drain = control is not None and control.drain_requested
                lone = machine.next_lone() if express and not drain else None
                if lone is not None:
                    tasks = [lone]
                elif plan(drain=drain):
                    tasks = await self._planned()
                else:
                    break
                while bare and chunks:
                    yield chunks.popleft()
                if chunks:
                    for shown in execution.shown():
                        yield shown
                end = None
                if in_place and len(tasks) == 1:
                    rest = attempt.begin(execution, tasks[0])
                    if rest is not None or lone is None or self._called:
                        end, tasks, ended = await self._alone(tasks[0], rest, lone is not None)
                        if ended:
                            continue
                    else:
                        end_lone(lone)
                        continue
                if tasks or self._called:
                    end = end or StepEnd()
                    async for shown in self._together(tasks, end):
                        yield shown
                if end is not None:
                    # Let the caller see how the tasks ended before their failure.
                    for shown in execution.shown():
                        yield shown
                    end.conclude()
                if self._called:
                    self._called.clear()
                await self._advance()
                if machine.status == "interrupt_after":
                    break
            execution.flush()
            if machine.status in ("interrupt_before", "interrupt_after"):
                raise foreign_types.pause()
        except BaseException as error:
            if not await self._leave(error):
                raise
        else:
            execution.wake = None
            if self._called or not execution.leaves_nothing:
                await self._leave(None)
        finally:
            execution.let_go()
        for shown in execution.shown():
            yield shown
        teardown.raise_unless_finished(execution)

    async def _open(self) -> None:
        """Load what the run starts from and connect the run to this driver."""
        execution = self._execution
        lookup = execution.lookup()
        if lookup is None:
            execution.load(None, "none", False)
        else:
            found, superseded = await find(execution, lookup)
            asked = execution.history_request(found)
            history = None
            if asked is not None and execution.saver is not None:
                with damage.reading(lookup.config):
                    history = await execution.saver.aget_delta_channel_history(**asked)
            execution.load(found, lookup.how, superseded, history)
        execution.new_saves = self._new_saves
        execution.on_call = self._call
        if execution.eager:
            execution.wake = self._wake

    def _new_saves(self) -> AsyncSaves:
        return AsyncSaves(self._execution.save_calls("aput_writes"))

    async def _advance(self) -> None:
        """End the step, and wait for its saves if they have to be done before the next."""
        execution = self._execution
        machine, saves = execution.machine, execution.saves
        machine.advance()
        if machine.outbox:
            execution.flush()
        if saves is not None and (execution.durability == "sync" or saves.crowded):
            await saves.wait()

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
            raise
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
        refused: Exception | None = None
        while self._inbox:
            try:
                step.settle(self._execution, *self._outcome(self._inbox[0]))
            except Exception as error:
                # What one task wrote cannot be stored; that of the others may.
                refused = refused or error
            self._running.pop(self._inbox.popleft(), None)
        self._running.clear()
        if refused is not None:
            raise refused

    # -- one step ----------------------------------------------------------

    async def _planned(self) -> list[Task]:
        """The tasks of a planned step that still have to run."""
        execution = self._execution
        machine = execution.machine
        if machine.outbox:
            execution.flush()
        tasks = machine.unfinished()
        if execution.cache is not None:
            await self._look_in_cache(tasks)
            tasks = machine.unfinished()
        return tasks

    async def _alone(
        self, task: Task, rest: Awaitable[Any] | None, lone: bool
    ) -> tuple[StepEnd | None, list[Task], bool]:
        """Let a step's only task end in place.

        Args:
            task: The task.
            rest: What is left of it, or None.
            lone: Whether the machine planned it as such, so that it ends its step.

        Returns:
            What it raised, if anything; the task that handles its failure; and whether the step has ended with it.
        """
        execution = self._execution
        try:
            if rest is not None:
                await rest
        except asyncio.CancelledError as cancelled:
            step.settle(execution, task, cancelled)
            raise
        except Exception as error:
            end = StepEnd()
            handler = step.settle(execution, task, error)
            if handler is None and not step.handled(task, error):
                end.add(error)
            await self._before_handler(handler)
            return end, [] if handler is None else [handler], False
        if lone and not self._called:
            execution.end_lone(task)
            return None, [], True
        step.finished(execution, task)
        if task.cache_key is not None:
            await self._to_cache(task)
        return None, [], False

    async def _together(self, tasks: list[Task], end: StepEnd) -> AsyncIterator[Any]:
        """Run tasks beside each other until all have ended or one has failed."""
        execution = self._execution
        limit = execution.max_concurrency or len(tasks) + 1
        timeout = execution.engine.step_timeout
        deadline = None if timeout is None else self._loop.time() + timeout
        waiting = deque(task for task in tasks if not task.writes)
        # A task may end while the reader of the last chunk takes its time; then it waits in the inbox.
        while (waiting or self._running or self._open_calls) and end.error is None:
            while waiting and len(self._running) < limit:
                self._start(waiting.popleft())
            await self._next(deadline)
            while self._inbox and end.error is None:
                try:
                    await self._take(self._outcome(self._inbox[0]), end, waiting)
                except Exception:
                    self._running.pop(self._inbox.popleft(), None)
                    raise
                self._running.pop(self._inbox.popleft(), None)
            if execution.chunks:
                for shown in execution.shown():
                    yield shown
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
        started = self._loop.create_task(attempt.arun(self._execution, task), name=task.name)
        self._running[started] = task
        started.add_done_callback(self._ended)

    def _ended(self, ended: asyncio.Task[Any]) -> None:
        self._inbox.append(ended)
        self._news.set()

    def _outcome(self, ended: asyncio.Task[Any]) -> _Ended:
        return self._running[ended], asyncio.CancelledError() if ended.cancelled() else ended.exception()

    async def _take(self, ended: _Ended, end: StepEnd, waiting: deque[Task]) -> None:
        task, error = ended
        handler = step.settle(self._execution, task, error)
        if error is None:
            await self._to_cache(task)
        elif handler is not None:
            await self._before_handler(handler)
            if not handler.writes:
                waiting.append(handler)
        elif not step.handled(task, error):
            end.add(error)

    async def _before_handler(self, handler: Task | None) -> None:
        # The failure has to be durable before its handler acts on it.
        if handler is not None and self._execution.saves is not None:
            await self._execution.saves.wait()

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
            execution.flush()
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
        execution = self._execution
        try:
            value = await attempt.arun(execution, task)
        except BaseException as error:
            step.settle(execution, task, error)
            raise
        step.settle(execution, task, None)
        await self._to_cache(task)
        return value

    # -- cache ---------------------------------------------------------------

    async def _look_in_cache(self, tasks: list[Task]) -> None:
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
