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

from collections import deque
from collections.abc import Iterator
from contextvars import Context, copy_context
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any

from stategraph.core import moves
from stategraph.core.moves import Outcome
from stategraph.core.task import Draft, Task
from stategraph.engine.checkpoints import pump
from stategraph.engine.checkpoints.saving import Saves
from stategraph.engine.config.quiet_manager import QuietCallbackManager
from stategraph.engine.runs import loading, pregel_loop, step, teardown
from stategraph.engine.runs.execution import Execution
from stategraph.engine.runs.run_plan import RunPlan
from stategraph.engine.runs.step import StepEnd
from stategraph.engine.runs.task_calls import THREADS_A_RUN, ThreadCalls
from stategraph.engine.streams.payloads import NOTHING
from stategraph.engine.tasks import attempt, threads


def load(plan: RunPlan) -> loading.Loaded:
    """Fetch what a run starts from."""
    return loading.nothing(plan) if plan.saver is None else pump.run(loading.load(plan))


class Driver:
    """Drives one run; see the module."""

    def __init__(self, execution: Execution) -> None:
        """Args: execution: The run, not loaded yet."""
        self._execution = execution
        plan, eager = execution.plan, execution.outlet.eager
        # Wakes the driver: a task or a thread has ended, or there is something to show.
        self._inbox: SimpleQueue[None] = SimpleQueue()
        # The tasks that have ended and of which the machine has not been told yet; threads append.
        self._ended: deque[Outcome] = deque()
        # The threads at work, noted before they start; they take themselves out.
        self._working: set[threads.Ticket] = set()
        self._limit = plan.max_concurrency or THREADS_A_RUN
        self._calls = ThreadCalls(self._limit, self._inbox)
        self._runner = plan.environment.runner
        self._saves: Saves | None = None
        # The step's tasks that wait for a thread, and whether none may begin until the driver has heard of a failure.
        self._waiting: deque[Task] = deque()
        self._halted = False
        # A step's only task runs in place, unless what it says is to be heard at once, or it may be given up.
        self._in_place = not eager and plan.spec.step_timeout is None
        # The class of directives that need nothing around them but an attempt; a cache would have to be asked first.
        self._at_once = Task if self._in_place and plan.cache is None else None
        # Whether a step's saves have to be done before the next one begins.
        self._waits = plan.saver is not None and plan.durability == "sync"
        # Whether threads may take tasks by themselves: not if a task's end has to be shown or stored before others do
        # something that is.
        self._goes_on = not eager and execution.outlet.outer is None and not plan.stores_steps

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
        execution, outlet = self._execution, self._execution.outlet
        execution.load(load(execution.plan))
        try:
            self._begin(callbacks)
            yield from self._steps()
            outlet.wake_by(None)
            if self._calls.called or not execution.plan.leaves_nothing:
                pump.run(teardown.leave(execution, self, None))
        except BaseException as error:
            if not pump.run(teardown.leave(execution, self, error)):
                raise
        yield from outlet.shown()
        teardown.raise_unless_finished(execution)

    def _begin(self, callbacks: Any) -> None:
        execution = self._execution
        if execution.outlet.eager:
            execution.outlet.wake_by(partial(self._inbox.put, None))
        if execution.plan.saver is not None:
            self._saves = Saves(execution.save_calls("put_writes"), background=execution.plan.durability == "async")
        execution.begin(callbacks, QuietCallbackManager, self._calls, self._saves)
        execution.lifecycle("resume")

    def _steps(self) -> Iterator[Any]:
        """Do what the machine asks for, until it has no more tasks."""
        execution = self._execution
        machine, outlet, called = execution.machine, execution.outlet, self._calls.called
        control, chunks, take = execution.plan.control, outlet.chunks, outlet.taker
        proceed, tell = pregel_loop.planner(pregel_loop.SyncPregelLoop, execution), execution.teller()
        runs = moves.RUNS
        while True:
            directive = proceed(control.drain_requested)
            if machine.outbox:
                execution.flush()
            if self._waits:
                self.saves_done()
            kind = type(directive)
            if kind not in runs:
                yield from teardown.last_results(execution)
                break
            while chunks:
                if (seen := take()) is not NOTHING:
                    yield seen
            if kind is self._at_once:
                outcome = attempt.run(execution, directive)  # type: ignore[arg-type]
                if isinstance(outcome, Draft) and not called:
                    tell(outcome)
                    continue
                yield from self._step([], outcome)
            else:
                yield from self._step(moves.tasks_of(directive))
        teardown.pause_at_breakpoint(execution)

    # -- the end; see `teardown.leave` ---------------------------------------

    def stop_running(self) -> None:
        """Let no task begin, wait for those that run, and record how they ended."""
        execution = self._execution
        execution.outlet.wake_by(None)
        self._halted = True
        for ticket in list(self._working):
            if ticket.cancel():
                self._working.discard(ticket)
        self._calls.cancel()
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
        self._calls.join()
        if refused is not None:
            raise refused

    def saves_done(self) -> None:
        """Wait for the saves that were asked for."""
        if self._saves is not None:
            self._saves.wait()

    def interrupted(self, interrupts: tuple[Any, ...]) -> None:
        """Tell handlers of the pause."""
        self._execution.lifecycle("interrupt", interrupts)

    # -- one step ----------------------------------------------------------

    def _step(self, tasks: list[Task], first: Outcome | None = None) -> Iterator[Any]:
        """Take a step to its end.

        Args:
            tasks: The step's tasks that have to run, unless the cache has what they write.
            first: How its only task ended, if it has run already.
        """
        end, execution = StepEnd(), self._execution
        if execution.plan.cache is not None:
            pump.run(step.look_in_cache(execution, tasks))
            tasks = [task for task in tasks if not task.writes]
            yield from execution.outlet.shown()
        if self._in_place and len(tasks) == 1:
            first = attempt.run(execution, tasks.pop())
        self._waiting = deque(tasks)
        if first is not None:
            if not isinstance(first, Draft) and not isinstance(first.error, Exception):
                raise first.error
            self._take(first, end)
        yield from self._together(end)
        # Let the caller see how the tasks ended before their failure.
        yield from execution.outlet.shown()
        self._calls.conclude(end)

    def _together(self, end: StepEnd) -> Iterator[Any]:
        """Run the tasks that wait in worker threads, until all have ended or one has failed."""
        execution, open_calls = self._execution, self._calls.open
        timeout = execution.plan.spec.step_timeout
        deadline = None if timeout is None else execution.clock.monotonic() + timeout
        while (self._waiting or self._working or self._ended or open_calls) and end.error is None:
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
            yield from execution.outlet.shown()

    def _wait(self, deadline: float | None) -> None:
        if deadline is None:
            self._inbox.get()
            return
        try:
            self._inbox.get(timeout=max(0.0, deadline - self._execution.clock.monotonic()))
        except Empty:
            raise TimeoutError("Timed out") from None

    def _submit(self, task: Task) -> None:
        ticket = threads.Ticket()
        self._working.add(ticket)
        start = threads.start if self._runner is None else self._runner.start
        start(ticket, self._attempts, ticket, task, copy_context())

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
        """Tell the machine how a task ended, and do what that means for the rest of the step."""
        task, handler = step.settle(self._execution, outcome, end)
        if isinstance(outcome, Draft):
            if task.cache_key is not None:
                pump.run(step.to_cache(self._execution, task))
            return
        if handler is not None:
            # The failure has to be durable before its handler acts on it.
            self.saves_done()
            if not handler.writes:
                self._waiting.append(handler)
        if end.error is None:
            self._halted = False
