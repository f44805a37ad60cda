"""The sync driver: performs the procedure of a run, and runs tasks in threads.

Rules
-----
* A step with one task runs it in place, without a thread. Several tasks, or a
  caller who wants to hear events while a node runs, get worker threads. A thread
  that is done with a task takes the next one that waits, until one has failed;
  not where the order in which tasks begin and end is shown, or stored.
* Leaving waits for what cannot be stopped (running threads, pending saves).
* An exception may be raised at any line of the waiting thread (Ctrl-C, a soft
  time limit). So what the driver waits for is noted by the worker threads, and
  before they start; the inbox only wakes it, and it looks at the notes before
  each wait. What has ended stays noted until the machine was told.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context, copy_context
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, ClassVar, TypeVar

from stategraph.core.moves import Directive
from stategraph.core.task import Draft, Task
from stategraph.engine.checkpoints import pump
from stategraph.engine.checkpoints.saving import Saves
from stategraph.engine.config.quiet_manager import QuietCallbackManager
from stategraph.engine.runs import listeners, pregel_loop, teardown
from stategraph.engine.runs.execution import Execution
from stategraph.engine.runs.procedure import RunProcedure
from stategraph.engine.runs.step import StepEnd
from stategraph.engine.runs.task_calls import THREADS_A_RUN, ThreadCalls
from stategraph.engine.runs.teardown import Asking
from stategraph.engine.tasks import attempt, threads

T = TypeVar("T")


class Driver(RunProcedure):
    """Drives one run; see the module."""

    quiet = QuietCallbackManager
    loop = pregel_loop.SyncPregelLoop
    makers = listeners.SYNC

    _calls: ThreadCalls
    _start: ClassVar[Any] = staticmethod(attempt.run)
    # Whether none of the tasks that wait for a thread may begin until the driver has heard of a failure.
    _halted = False

    def __init__(self, execution: Execution) -> None:
        """Args: execution: The run, not loaded yet."""
        super().__init__(execution)
        # Wakes the driver: a task or a thread has ended, or there is something to show.
        self._inbox: SimpleQueue[None] = SimpleQueue()
        # The threads at work, noted before they start; they take themselves out.
        self._working: set[threads.Ticket] = set()
        self._limit = execution.plan.max_concurrency or THREADS_A_RUN
        self._calls = ThreadCalls(self._limit, self._inbox)

    @property
    def _goes_on(self) -> bool:
        """True if threads may take tasks by themselves.

        Not if a task's end has to be shown or stored before others do something that is.
        """
        outlet = self._execution.outlet
        return not outlet.eager and outlet.outer is None and not self._execution.plan.stores_steps

    def awaited(self, done: T) -> Asking[T]:
        """Return what a call returned: it is there."""
        yield from ()
        return done

    def perform(self, procedure: pump.Procedure[T]) -> T:
        """Perform a procedure over savers and caches."""
        return pump.run(procedure)

    def report(self, manager: Any, error: BaseException) -> None:
        """Tell listeners of the run's failure."""
        manager.on_chain_error(error)

    def _waker(self) -> Callable[[], object]:
        return partial(self._inbox.put, None)

    def _open_saves(self) -> Saves:
        execution = self._execution
        return Saves(execution.save_calls("put_writes"), background=execution.plan.durability == "async")

    # -- the end -------------------------------------------------------------

    def _leave(self, error: BaseException | None) -> Asking[bool]:
        return teardown.leave(self._execution, self, error)

    def stop_running(self) -> None:
        """Let no task begin, wait for those that run, and record how they ended."""
        self._halted = True
        if not (self._working or self._ended or self._calls.called):
            return
        for ticket in list(self._working):
            if ticket.cancel():
                self._working.discard(ticket)
        self._calls.cancel()
        while self._working:
            # A thread cannot be stopped. What it still achieves is recorded, so that a
            # resume need not do it again.
            self._inbox.get()
        refused = self._record_ended()
        self._calls.join()
        if refused is not None:
            raise refused

    # -- one step ----------------------------------------------------------

    def _together(self, end: StepEnd) -> Asking[None]:
        """Run the tasks that wait in worker threads, until all have ended or one has failed."""
        execution, open_calls = self._execution, self._calls.open
        deadline = self._deadline(execution.clock.monotonic)
        while (self._waiting or self._working or self._ended or open_calls) and end.error is None:
            while len(self._working) < self._limit and (task := self._take_waiting()) is not None:
                self._submit(task)
            if not self._ended:
                self._wait(deadline)
            if self._ended:
                outcome = self._ended[0]
                try:
                    yield from self._take(outcome, end)
                    if end.error is None and not isinstance(outcome, Draft):
                        self._halted = False
                except Exception:
                    self._ended.popleft()
                    raise
                self._ended.popleft()
            yield from execution.outlet.shown()

    def _run_step(self, tasks: list[Task]) -> Asking[Directive | None]:
        return self._run_alone(tasks[0]) if len(tasks) == 1 and self._is_watched else super()._run_step(tasks)

    def _run_alone(self, task: Task) -> Asking[None]:
        """Take a step of one task to its end, and show what comes meanwhile."""
        execution, outlet, ended = self._execution, self._execution.outlet, self._ended
        self._submit(task)
        while not ended:
            self._inbox.get()
            yield from outlet.shown()
        outcome = ended[0]
        if self._calls.called or not isinstance(outcome, Draft):
            yield from self._step([])
            return
        try:
            execution.tell(outcome)
        except Exception:
            ended.popleft()
            raise
        ended.popleft()
        yield from outlet.shown()

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
        runner = self._execution.plan.environment.runner
        start = threads.start if runner is None else runner.start
        start(ticket, self._attempts, ticket, task, copy_context())

    def _attempts(self, ticket: threads.Ticket, first: Task, context: Context) -> None:
        """Run a task, and after it such as wait: to have each handed over takes as long as a small task."""
        task: Task | None = first
        while task is not None:
            outcome = context.copy().run(attempt.run, self._execution, task)
            if self._tape is not None:
                self._tape.hold(self._execution.plan.ns, task.id)
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
