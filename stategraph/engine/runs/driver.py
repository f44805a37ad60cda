"""The sync driver: performs what the machine of a run asks for.

Rules
-----
* A step with one task runs it in place, without a thread. Several tasks, or a
  caller who wants to hear events while a node runs, get worker threads. A thread
  that is done with a task takes the next one that waits, until one has failed;
  not where the order in which tasks begin and end is shown, or stored.
* A task's end is told to the machine before anybody waiting for it goes on.
* Leaving waits for what cannot be stopped (running threads, pending saves).
* An exception may be raised at any line of the waiting thread (Ctrl-C, a soft
  time limit). So what the driver waits for is noted by the worker threads, and
  before they start; the inbox only wakes it, and it looks at the notes before
  each wait. What has ended stays noted until the machine was told.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextvars import Context, copy_context
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

from stategraph.core import moves
from stategraph.core.moves import Outcome
from stategraph.core.task import Draft, Task
from stategraph.engine.checkpoints import pump
from stategraph.engine.checkpoints.saving import Saves
from stategraph.engine.compile.functions import is_async_callable
from stategraph.engine.compile.task_functions import SyncAsyncFuture
from stategraph.engine.runs import loading, pregel_loop, step, teardown
from stategraph.engine.runs.execution import Execution
from stategraph.engine.runs.step import StepEnd
from stategraph.engine.tasks import attempt, threads
from stategraph.errors import GraphInterrupt

THREADS_A_RUN = min(32, (os.cpu_count() or 1) + 4)
"""Sync tasks of a run that work at once, unless `max_concurrency` says otherwise: as many as `ThreadPoolExecutor`, and
so LangGraph, allows. Nodes rely on it not to ask a backend everything at once. A nested run has places of its own, so
that a node which waits for a subgraph does not wait for itself."""


class Driver:
    """Drives one run; see the module."""

    def __init__(self, execution: Execution) -> None:
        """Args: execution: The run, not loaded yet."""
        self._execution = execution
        # Wakes the driver: a task or a thread has ended, or there is something to show.
        self._inbox: SimpleQueue[None] = SimpleQueue()
        # The tasks that have ended and of which the machine has not been told yet; threads append.
        self._ended: deque[Outcome] = deque()
        # The threads at work, noted before they start; they take themselves out.
        self._working: set[threads.Ticket] = set()
        self._called: dict[str, Future[Any]] = {}
        # What the called tasks of the step asked, for the run around this one.
        self._asked: list[step.Asked] = []
        # Ids of the called tasks that have not ended; threads take theirs out.
        self._open_calls: set[str] = set()
        self._limit = execution.max_concurrency or THREADS_A_RUN
        # Called tasks that wait for a place among those that work, and how many places are taken.
        self._queued: deque[Callable[[], Any]] = deque()
        self._places_taken = 0
        # The step's tasks that wait for a thread, and whether none may begin until the driver has heard of a failure.
        self._waiting: deque[Task] = deque()
        self._halted = False
        # A step's only task runs in place, unless what it says is to be heard at once, or it may be given up.
        self._in_place = not execution.eager and execution.engine.step_timeout is None
        # Whether threads may take tasks by themselves: not if a task's end has to be shown or stored before others do
        # something that is.
        self._goes_on = not execution.eager and execution.outer_stream is None and not execution.stores_steps

    def run(self, callbacks: Any) -> Iterator[Any]:
        """Run the execution to its end.

        Args:
            callbacks: The run manager of a traced run, or None.

        Yields:
            What the caller asked to see.

        Raises:
            GraphRecursionError: If the recursion limit is reached.
            GraphDrained: If the run was asked to stop.
            GraphInterrupt: If a nested run pauses.
            BaseException: What a node or a save failed with.
        """
        execution = self._execution
        if execution.saver is None:
            execution.load(None, "none", False)
        else:
            pump.run(loading.load(execution))
        execution.new_saves = self._new_saves
        execution.on_call = self._call
        if execution.eager:
            execution.wake = partial(self._inbox.put, None)
        try:
            execution.start(callbacks)
            execution.flush()
            execution.lifecycle("resume")
            yield from self._steps()
            execution.wake = None
            if self._called or not execution.leaves_nothing:
                self._leave(None)
        except BaseException as error:
            if not self._leave(error):
                raise
        finally:
            execution.let_go()
        yield from execution.shown()
        teardown.raise_unless_finished(execution)

    def _new_saves(self) -> Saves:
        execution = self._execution
        return Saves(execution.save_calls("put_writes"), background=execution.durability == "async")

    def _steps(self) -> Iterator[Any]:
        """Do what the machine asks for, until it has no more tasks."""
        execution = self._execution
        machine, control, chunks, called = execution.machine, execution.control, execution.chunks, self._called
        at_once, bare = self._in_place and execution.cache is None, execution.view is None
        loop = pregel_loop.loop_of(pregel_loop.SyncPregelLoop, execution)
        proceed, runs = machine.next if loop is None else loop.next, moves.RUNS
        tell, stepped = execution.teller(), False
        while True:
            directive = proceed(control is not None and control.drain_requested)
            if machine.outbox:
                execution.flush()
            if stepped and execution.saves is not None and execution.durability == "sync":
                execution.saves.wait()
            kind = type(directive)
            if kind not in runs:
                yield from teardown.last_results(execution)
                break
            while bare and chunks:
                yield chunks.popleft()
            if chunks:
                yield from execution.shown()
            if kind is Task and at_once:
                outcome = attempt.run(execution, directive)  # type: ignore[arg-type]
                if isinstance(outcome, Draft) and not called:
                    tell(outcome)
                else:
                    yield from self._step([], outcome)
            else:
                yield from self._step(moves.tasks_of(directive))
            stepped = True
        teardown.pause_at_breakpoint(execution)

    def _leave(self, error: BaseException | None) -> bool:
        """Stop what runs, store what waited for the end; returns whether the run paused rather than failed."""
        execution = self._execution
        try:
            self._stop_running()
            teardown.close(execution, error)
        except Exception as refused:
            self._finish_saves(refused)
            if not teardown.keeps(execution, error, refused):
                raise
        else:
            self._finish_saves(error)
        interrupts = teardown.asked(execution, error)
        if interrupts is None:
            return False
        execution.lifecycle("interrupt", interrupts)
        teardown.pause(execution, interrupts)
        return True

    def _finish_saves(self, error: BaseException | None) -> None:
        """Wait for the saves that were asked for; what one failed with is raised unless the run has failed anyway."""
        saves = self._execution.saves
        if saves is None:
            return
        try:
            saves.wait()
        except Exception as refused:
            if not teardown.keeps(self._execution, error, refused):
                raise
        except BaseException:
            if error is None or isinstance(error, GraphInterrupt):
                raise

    def _stop_running(self) -> None:
        execution = self._execution
        execution.wake = None
        self._halted = True
        for ticket in list(self._working):
            if ticket.cancel():
                self._working.discard(ticket)
        for future in list(self._called.values()):
            future.cancel()
        while self._working:
            # A thread cannot be stopped. What it still achieves is recorded, so that a
            # resume need not do it again.
            self._inbox.get()
        refused: Exception | None = None
        while self._ended:
            outcome = self._ended[0]
            try:
                # One that was being told when an exception of a signal handler hit may be told again.
                if execution.machine.waits_for(outcome.task_id):
                    execution.tell(outcome)
            except Exception as error:
                # What one task wrote cannot be stored; that of the others may.
                refused = refused or error
            self._ended.popleft()
        for future in list(self._called.values()):
            if not future.cancelled():
                future.exception()
        if refused is not None:
            raise refused

    # -- one step ----------------------------------------------------------

    def _step(self, tasks: list[Task], first: Outcome | None = None) -> Iterator[Any]:
        """Take a step to its end.

        Args:
            tasks: The step's tasks that have to run, unless the cache has what they write.
            first: How its only task ended, if it has run already.
        """
        end, execution = StepEnd(), self._execution
        if execution.cache is not None:
            self._look_in_cache(tasks)
            tasks = [task for task in tasks if not task.writes]
            yield from execution.shown()
        if self._in_place and len(tasks) == 1:
            first = attempt.run(execution, tasks.pop())
        self._waiting = deque(tasks)
        if first is not None:
            if not isinstance(first, Draft) and not isinstance(first.error, Exception):
                raise first.error
            self._take(first, end)
        yield from self._together(end)
        # Let the caller see how the tasks ended before their failure.
        yield from execution.shown()
        end.conclude(self._asked)
        self._called.clear()

    def _together(self, end: StepEnd) -> Iterator[Any]:
        """Run the tasks that wait in worker threads, until all have ended or one has failed."""
        execution = self._execution
        timeout = execution.engine.step_timeout
        deadline = None if timeout is None else execution.environment.clock.monotonic() + timeout
        while (self._waiting or self._working or self._ended or self._open_calls) and end.error is None:
            while len(self._working) < self._limit and (task := self._take_waiting()) is not None:
                self._submit(task)
            if not self._ended:
                self._wait(deadline)
            if self._ended:
                try:
                    self._take(self._ended[0], end)
                except Exception:
                    self._ended.popleft()
                    raise
                self._ended.popleft()
            yield from execution.shown()

    def _wait(self, deadline: float | None) -> None:
        if deadline is None:
            self._inbox.get()
            return
        try:
            self._inbox.get(timeout=max(0.0, deadline - self._execution.environment.clock.monotonic()))
        except Empty:
            raise TimeoutError("Timed out") from None

    def _submit(self, task: Task) -> None:
        ticket = threads.Ticket()
        self._working.add(ticket)
        threads.start(ticket, self._attempts, ticket, task, copy_context())

    def _attempts(self, ticket: threads.Ticket, first: Task, context: Context) -> None:
        """Run a task, and after it such as wait: to have each handed over takes as long as a small task."""
        task: Task | None = first
        while task is not None:
            outcome = context.copy().run(attempt.run, self._execution, task)
            failed = not isinstance(outcome, Draft)
            if failed:
                # Whether others are to begin is for the driver to say.
                self._halted = True
            task = self._take_waiting() if self._goes_on and not failed else None
            self._ended.append(outcome)
            if task is None:
                self._working.discard(ticket)
            self._inbox.put(None)

    def _take_waiting(self) -> Task | None:
        try:
            return None if self._halted else self._waiting.popleft()
        except IndexError:
            return None

    def _take(self, outcome: Outcome, end: StepEnd) -> None:
        """Tell the machine how a task ended, and see what that means for the rest of the step."""
        execution = self._execution
        task = execution.machine.tasks[outcome.task_id]
        handler = execution.tell(outcome)
        if isinstance(outcome, Draft):
            self._to_cache(task)
            return
        if handler is not None:
            self._before_handler()
            if not handler.writes:
                self._waiting.append(handler)
        elif not step.handled(task, outcome):
            end.add(outcome)
        if end.error is None:
            self._halted = False

    def _before_handler(self) -> None:
        # The failure has to be durable before its handler acts on it.
        if self._execution.saves is not None:
            self._execution.saves.wait()

    # -- calls from a task to another ---------------------------------------

    def _call(
        self,
        caller: Task,
        func: Callable[..., Any],
        input: Any,
        *,
        retry_policy: Any = None,
        cache_policy: Any = None,
        callbacks: Any = None,
        timeout: Any = None,
    ) -> Future[Any]:
        """Start a function as a task of the current step; what ``@task`` functions call."""
        if is_async_callable(func):
            raise RuntimeError("In an sync context async tasks cannot be called")
        execution = self._execution
        future: SyncAsyncFuture[Any] = SyncAsyncFuture()
        task = step.plan_call(execution, caller, func, input, retry_policy, cache_policy, callbacks, timeout)
        if execution.cache is not None:
            self._look_in_cache([task])
        if task.writes:
            _resolve(future, partial(step.result_of, task))
            return future
        self._called[task.id] = future
        self._open_calls.add(task.id)
        # A task that another called task calls goes on in its caller's place: waiting for
        # a place of its own while the caller holds one could wait forever.
        placed = not caller.is_call
        context = copy_context()

        def start() -> None:
            threads.start(threads.Ticket(), context.run, self._run_called, task, future, placed)

        with execution.lock:
            if placed and self._places_taken >= self._limit:
                self._queued.append(start)
                return future
            self._places_taken += placed
        start()
        return future

    def _run_called(self, task: Task, future: Future[Any], placed: bool) -> None:
        try:
            if future.set_running_or_notify_cancel():
                self._finish_call(task, future)
            if placed:
                with self._execution.lock:
                    following = self._queued.popleft() if self._queued else None
                    self._places_taken -= following is None
                if following is not None:
                    following()
        finally:
            self._open_calls.discard(task.id)
            self._inbox.put(None)

    def _finish_call(self, task: Task, future: Future[Any]) -> None:
        try:
            value = self._run_to_end(task)
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(value)

    def _run_to_end(self, task: Task) -> Any:
        """Run a called task and record how it ended; its caller is told either way, also if that cannot be stored."""
        outcome = attempt.run(self._execution, task)
        self._asked += step.asked_by(self._execution, task, outcome)
        self._execution.tell(outcome)
        if not isinstance(outcome, Draft):
            raise outcome.error
        self._to_cache(task)
        return outcome.value

    # -- cache ---------------------------------------------------------------

    def _look_in_cache(self, tasks: Sequence[Task]) -> None:
        execution = self._execution
        keys = step.cache_keys(execution, tasks)
        if keys and execution.cache is not None:
            step.take_cached(execution, keys, execution.cache.get(tuple(keys)))

    def _to_cache(self, task: Task) -> None:
        entry = step.to_cache(task)
        if entry is not None and self._execution.cache is not None:
            self._execution.cache.set(entry)


def _resolve(future: Future[Any], produce: Callable[[], Any]) -> None:
    try:
        future.set_result(produce())
    except BaseException as error:
        future.set_exception(error)
