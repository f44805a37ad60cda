"""The procedure of a run: all that the sync and the async driver do alike, written once.

Rules
-----
* The procedure is a generator, and yields what the caller is to see. Where an async run awaits what a sync one calls,
  it says ``yield from self.awaited(self.act())``: `act` is a method of both drivers, a coroutine function of one.
* A lone task runs in place. A step's further tasks are the driver's to run beside each other.
* A task's end is told to the machine before anybody waiting for it goes on.
* The end of a run is in `run` itself. A generator that is told to close closes those that it delegates to, and in them
  nothing can be awaited any more.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from asyncio import CancelledError
from collections import deque
from collections.abc import Awaitable, Callable, Sized
from typing import Any, ClassVar, Protocol, TypeVar

from stategraph.core import moves
from stategraph.core.dataflow.machine import FlowMachine
from stategraph.core.fan_outs import FanOuts, Heard
from stategraph.core.moves import Directive, Outcome
from stategraph.core.task import Draft, Task
from stategraph.engine.checkpoints import pump, saving
from stategraph.engine.checkpoints.pump import Procedure
from stategraph.engine.config.quiet_manager import Quiet
from stategraph.engine.runs import halts, listeners, loading, pregel_loop, step, teardown
from stategraph.engine.runs.execution import Execution, Storing
from stategraph.engine.runs.step import StepEnd
from stategraph.engine.runs.teardown import Asking
from stategraph.engine.streams.payloads import NOTHING
from stategraph.engine.tasks.scope import Calls

T = TypeVar("T")


class Saves(Storing, Protocol):
    """The saves of a run."""

    @property
    def at_once(self) -> bool:
        """True if each is stored when it is asked for."""

    @property
    def crowded(self) -> bool:
        """True if so many saves wait that the run should wait for them."""

    @property
    def idle(self) -> bool:
        """True if it is known that nothing has to be waited for, nor to be raised."""

    def wait(self) -> object:
        """Wait for all saves asked for so far; an async run awaits what this returns."""


class OpenCalls(Calls, Protocol):
    """The functions that the tasks of a step call."""

    @property
    def called(self) -> Sized:
        """The step's calls."""

    @property
    def open(self) -> Sized:
        """Those that have not ended."""

    def conclude(self, end: StepEnd) -> None:
        """End the step: raise what its tasks raised, the gravest first, or forget its calls."""


class RunProcedure(ABC):
    """Drives one run; see the module.

    Attributes:
        quiet: The class of the managers that tasks have if nobody listens.
        loop: The class of the run's loop, for those who wrap `tick`.
        makers: Make the managers of callbacks.
    """

    quiet: ClassVar[type[Quiet]]
    loop: ClassVar[type[pregel_loop.PregelLoop]]
    makers: ClassVar[listeners.Makers]

    _calls: OpenCalls
    # Runs a task. How it ended, or, in an async run, what to await for that unless it has ended well.
    _start: ClassVar[Any]
    # The saves, if the end of a step may have to wait for them.
    _saves_behind: Saves | None = None

    def __init__(self, execution: Execution) -> None:
        """Args: execution: The run, not loaded yet."""
        self._execution = execution
        plan = execution.plan
        self._saves: Saves | None = None
        self._tape = plan.environment.tape
        # Whether tasks may begin beside others of a step.
        self._flows = plan.spec.program.flow is not None
        # The policies of branches that run beside each other, if there are any.
        self._fan_outs: FanOuts | None = None
        # The tasks that have ended and of which the machine has not been told yet.
        self._ended: deque[Outcome] = deque()
        # The step's tasks that are still to begin.
        self._waiting: deque[Task] = deque()
        # A step's only task runs in place, unless what it says is to be heard at once, or it may be given up.
        self._in_place = not (execution.outlet.eager or plan.spec.fan_outs) and plan.spec.step_timeout is None
        # Whether what a lone task shows is passed on while it runs, and nothing else can end its step.
        self._is_watched = not (self._in_place or plan.spec.fan_outs or plan.cache) and plan.spec.step_timeout is None
        # The class of directives that need nothing around them but an attempt; a cache would have to be asked first.
        self._at_once = Task if self._in_place and plan.cache is None else None

    # -- what the drivers do each in its own way -----------------------------

    @abstractmethod
    def awaited(self, done: Any) -> Asking[Any]:
        """Return what a call returned, once it is there."""

    @abstractmethod
    def perform(self, procedure: Procedure[T]) -> T | Awaitable[T]:
        """Perform a procedure over savers and caches."""

    @abstractmethod
    def stop_running(self) -> object:
        """Let no task begin, end or await those that run, and record how they ended; awaited in an async run."""

    @abstractmethod
    def report(self, manager: Any, error: BaseException) -> object:
        """Tell listeners of the run's failure; awaited in an async run."""

    @abstractmethod
    def _leave(self, error: BaseException | None) -> Asking[bool]:
        """Leave the run; see `teardown.leave`."""

    @abstractmethod
    def _together(self, end: StepEnd) -> Asking[None]:
        """Run the tasks that wait beside each other, until all have ended or one has failed."""

    @abstractmethod
    def _waker(self) -> Callable[[], object]:
        """Return what wakes the driver when there is something to show."""

    @abstractmethod
    def _open_saves(self) -> Saves:
        """Return what takes the saves of a run that has a saver."""

    # -- the run -------------------------------------------------------------

    def procedure(self) -> Asking[None]:
        """Run the execution to its end, and tell those who listen.

        Yields:
            What the caller asked to see.

        Raises:
            GraphRecursionError: If the recursion limit is reached.
            GraphDrained: If the run was asked to stop.
            GraphInterrupt: If a nested run pauses.
            BaseException: What a node or a save failed with.
        """
        execution, plan, outlet = self._execution, self._execution.plan, self._execution.outlet
        callbacks: Any = None
        if plan.owns_limits:
            halts.begin(plan)
        if listeners.needed(execution):
            callbacks = yield from self._listen()
        try:
            if plan.saver is None:
                execution.load(loading.nothing(plan))
            elif saving.is_in_memory(plan.saver):
                execution.load(pump.run(loading.load(plan)))
            else:
                execution.load((yield from self.awaited(self.perform(loading.load(plan)))))
            try:
                self._open(callbacks)
                if (told := execution.lifecycle("resume")) is not None:
                    yield from self.awaited(told)
                yield from self._steps()
                outlet.wake_by(None)
                if self._calls.called or not self._leaves_nothing():
                    yield from self._leave(None)
            except BaseException as error:
                if not (yield from self._leave(error)):
                    raise
            if outlet.chunks:
                yield from outlet.shown()
            teardown.raise_unless_finished(execution)
            if plan.spec.output_check is not None:
                teardown.check_output(execution, plan.spec.output_check)
            if listeners.hears_the_end(self.makers, callbacks):
                yield from self.awaited(callbacks.on_chain_end(execution.output()))
        except BaseException as error:
            if callbacks is not None:
                yield from self.awaited(self.report(callbacks, error))
            raise

    def _listen(self) -> Asking[Any]:
        """Start the run for its listeners; returns its run manager."""
        execution, makers = self._execution, self.makers
        callbacks = listeners.start_unheard(execution, makers)
        if callbacks is None:
            callbacks = yield from self.awaited(listeners.start(execution, makers))
        listeners.attach(execution, makers, callbacks)
        return callbacks

    def _open(self, callbacks: Any) -> None:
        """Connect the run to this driver, and start it."""
        execution = self._execution
        if execution.outlet.eager:
            execution.outlet.wake_by(self._waker())
        if execution.plan.saver is not None:
            self._saves = saves = self._open_saves()
            if not saves.at_once:
                self._saves_behind = saves
        ticks = pregel_loop.is_wrapped(self.loop)
        if execution.plan.spec.fan_outs:
            self._fan_outs = FanOuts(execution.machine, execution.plan.spec.fan_outs)
        execution.begin(callbacks, self.quiet, self._calls, self._saves, ticks=ticks)

    def _leaves_nothing(self) -> bool:
        """Return whether nothing is left to store, to ask or to wait for at the end of the run."""
        execution = self._execution
        return execution.machine.status == "done" and (execution.plan.leaves_nothing or self._has_stored())

    def _has_stored(self) -> bool:
        """Return whether a run that has ended well has stored everything: nothing waits for its end."""
        return self._execution.plan.stores_steps and self._saves is not None and self._saves.idle

    def _steps(self) -> Asking[None]:
        """Do what the machine asks for, until it has no more tasks."""
        execution, start = self._execution, self._start
        machine, outlet, called = execution.machine, execution.outlet, self._calls.called
        control, chunks, take = execution.plan.control, outlet.chunks, outlet.taker
        proceed, tell = pregel_loop.planner(self.loop, execution), execution.teller()
        at_once, waits = self._at_once, execution.plan.durability == "sync"
        saves = self._saves_behind
        ahead: Directive | None = None
        while True:
            directive = proceed(control.drain_reason is not None) if ahead is None else ahead
            if machine.outbox:
                execution.flush()
            if saves is not None and (waits or saves.crowded):
                yield from self.saves_done()
            kind = type(directive)
            if kind is not at_once and kind not in moves.RUNS:
                break
            while chunks:
                if (seen := take()) is not NOTHING:
                    yield seen
            if kind is at_once:
                outcome = start(execution, directive)
                well = isinstance(outcome, Draft)
                if not well:
                    outcome = yield from self.awaited(outcome)
                    well = isinstance(outcome, Draft)
                if well and not called:
                    tell(outcome)
                    continue
                yield from self._step([], outcome)
            else:
                ahead = yield from self._run_step(moves.tasks_of(directive))
        yield from teardown.last_results(execution)
        teardown.pause_at_breakpoint(execution)

    # -- one step ------------------------------------------------------------

    def _run_step(self, tasks: list[Task]) -> Asking[Directive | None]:
        """Take a step to its end; returns what the machine asks for next, or None if it has not been asked."""
        yield from self._step(tasks)
        return None

    def _step(self, tasks: list[Task], first: Outcome | None = None) -> Asking[None]:
        """Take a step to its end.

        Args:
            tasks: The step's tasks that have to run, unless the cache has what they write.
            first: How its only task ended, if it has run already.
        """
        end, execution = StepEnd(), self._execution
        if execution.plan.cache is not None:
            yield from self.awaited(self.perform(step.look_in_cache(execution, tasks)))
            tasks = [task for task in tasks if not task.writes]
            yield from execution.outlet.shown()
        if self._in_place and len(tasks) == 1:
            first = self._start(execution, tasks.pop())
            if not isinstance(first, Draft):
                first = yield from self.awaited(first)
        self._waiting = deque(tasks)
        if self._fan_outs is not None:
            yield from self._follow(self._fan_outs.begin(tasks), end)
        if self._flows:
            yield from self._begin_started(end)
        if first is not None:
            yield from self._take_first(first, end)
        yield from self._together(end)
        # Let the caller see how the tasks ended before their failure.
        yield from execution.outlet.shown()
        self._calls.conclude(end)

    def _take_first(self, outcome: Outcome, end: StepEnd) -> Asking[None]:
        """Tell the machine how a task ended that ran in place; an exception that no node may handle ends the run."""
        error = None if isinstance(outcome, Draft) else outcome.error
        if isinstance(error, CancelledError):
            self._execution.tell(outcome)
        elif error is None or isinstance(error, Exception):
            yield from self._take(outcome, end)
            return
        raise error

    def _take(self, outcome: Outcome, end: StepEnd) -> Asking[None]:
        """Tell the machine how a task ended, and do what that means for the rest of the step."""
        if self._tape is not None:
            self._tape.taken(self._execution.plan.ns, outcome.task_id)
        if self._fan_outs is None:
            yield from self._settle(outcome, end)
        else:
            yield from self._follow(self._fan_outs.hear(outcome), end)

    def _follow(self, heard: Heard, end: StepEnd) -> Asking[None]:
        """Do what follows from the end of a branch."""
        end.error = end.error or heard.error
        self._give_up(heard.given_up)
        for outcome in heard.outcomes:
            yield from self._settle(outcome, end)

    def _give_up(self, tasks: list[Task]) -> None:
        """Cancel what runs of some tasks, as far as it can be; what waits does not begin."""
        for task in tasks:
            if task in self._waiting:
                self._waiting.remove(task)

    def _settle(self, outcome: Outcome, end: StepEnd) -> Asking[None]:
        task, handler = step.settle(self._execution, outcome, end)
        if self._flows:
            yield from self._begin_started(end)
        if isinstance(outcome, Draft):
            if task.cache_key is not None:
                yield from self.awaited(self.perform(step.to_cache(self._execution, task)))
        elif handler is not None:
            # The failure has to be durable before its handler acts on it.
            yield from self.saves_done()
            if not handler.writes:
                self._waiting.append(handler)

    def _begin_started(self, end: StepEnd) -> Asking[None]:
        """Let the tasks wait that have begun beside those that run, unless the run was asked to stop."""
        execution = self._execution
        machine = execution.machine
        assert isinstance(machine, FlowMachine)
        while machine.started and execution.plan.control.drain_reason is None:
            tasks = machine.take_started()
            if execution.plan.cache is not None:
                yield from self.awaited(self.perform(step.look_in_cache(execution, tasks)))
            tasks = [task for task in tasks if not task.writes]
            self._waiting.extend(tasks)
            if self._fan_outs is not None:
                yield from self._follow(self._fan_outs.begin(tasks), end)

    def _deadline(self, now: Callable[[], float]) -> float | None:
        """Return when the step that begins is to have ended; None if it has no limit."""
        timeout = self._execution.plan.spec.step_timeout
        return None if timeout is None else now() + timeout

    # -- the end; see `teardown.leave` ---------------------------------------

    def saves_done(self) -> Asking[None]:
        """Wait for the saves that were asked for."""
        if self._saves is not None and not self._saves.idle:
            yield from self.awaited(self._saves.wait())

    def _record_ended(self) -> Exception | None:
        """Tell the machine of the tasks that have ended; returns what could not be stored of them."""
        execution, refused = self._execution, None
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
        return refused
