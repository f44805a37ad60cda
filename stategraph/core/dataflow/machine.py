"""The run of a graph whose nodes start without a barrier.

Rules
-----
* A step of it takes in more tasks while it runs: whatever `Window` says may begin. They are in `started` until the
  driver takes them. Everything else about a step is as in `Machine`; one in which nothing else begins is the same.
* The writes of all its tasks are recorded on the checkpoint before it, under ids that follow from the graph alone. So
  a run that goes on there finds what has ended, wherever the one before was cut off, and begins the rest.
* A checkpoint is made when the window ends: of a chain after each task, of branches where they meet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence

from stategraph.constants import ERROR_SOURCE_NODE, NULL_TASK_ID
from stategraph.core import moves, plan, status
from stategraph.core.dataflow.firing import Firing, Wave, apply
from stategraph.core.dataflow.fork import show
from stategraph.core.dataflow.window import PAUSED_BEFORE, Window, recorded_output
from stategraph.core.effects import PausedBare, TaskSettled, TasksPlanned
from stategraph.core.machine import Machine
from stategraph.core.moves import (
    Cached,
    Called,
    Directive,
    Drain,
    Failed,
    Interrupted,
    OutOfSteps,
    Pause,
    RunTasks,
    Told,
)
from stategraph.core.outcomes import Outcomes
from stategraph.core.program import Program
from stategraph.core.settings import Settings, Thread, Ways
from stategraph.core.task import Draft, Task


class _Outcomes(Outcomes):
    """Ends of tasks beside which others may begin."""

    __slots__ = ()

    def _no_checkpoint_before(self, tasks: Mapping[str, Task]) -> bool:
        return True


class FlowMachine(Machine):
    """One run of a program with `flow`; see the module.

    Attributes:
        started: Tasks of the open step that have begun since the driver was last told which.
    """

    __slots__ = ("_flow", "_shows", "_window", "started")

    _ends = _Outcomes

    def __init__(self, program: Program, thread: Thread, settings: Settings, ways: Ways | None = None) -> None:
        """Begin where a thread is; see `Machine`."""
        ways = Ways.of(program, settings) if ways is None else ways
        # No short ways; and what ends is recorded even if it is alone, as others may begin beside it.
        super().__init__(program, thread, settings, ways._replace(quiet=False, plain=False, apart=False))
        assert program.flow is not None
        self._flow = program.flow
        self._window: Window | None = None
        self.started: list[Task] = []
        # Whether the state shows what has ended in the window.
        self._shows = False

    @property
    def window(self) -> Window:
        """The open step."""
        assert self._window is not None
        return self._window

    # -- the conversation ------------------------------------------------

    def next(self, drain: bool = False) -> Directive:
        """Return what is to run now, of the open step or of the next; see `Machine.next`."""
        if self.status == "planning":
            return self._plan(drain)
        moves.check(self.status, "next")
        if self.started:
            if drain:
                self._move("next", "draining")
                return Drain()
            self._move("next", "stepping")
            return RunTasks(self.take_started())
        self._check_ended()
        window = self.window
        if not window.is_over:
            return self._stop_within(window)
        pauses = self._end_step(False)
        self._window = None
        if pauses:
            return Pause("interrupt_after")
        return self._plan(drain)

    def take_started(self) -> list[Task]:
        """Return the tasks that have begun since the last call."""
        started, self.started = self.started, []
        return started

    def _stop_within(self, window: Window) -> Directive:
        """Stop where nothing of the open step may begin: at the recursion limit, or before a node to pause at."""
        if window.stopped:
            for task_id in window.stopped:
                self._records.add(self.checkpoints.checkpoint["id"], task_id, [(PAUSED_BEFORE, None)])
            self._move("next", "interrupt_before")
            return Pause("interrupt_before")
        self.last_nodes = sorted({task.name for task in window.last_wave})
        self._move("next", "out_of_steps")
        return OutOfSteps()

    def _tell(self, told: Told) -> Task | None:
        if isinstance(told, Draft):
            self._flow.identify(told.writes)
        handler = super()._tell(told)
        if isinstance(told, Called):
            return handler
        task, window = self._tasks[told.task_id], self.window
        if task.id not in window.firings:
            return handler  # a function that a task called
        match told:
            case Draft() | Cached():
                window.end(task)
                self._go_on(window, task)
            case Failed() if handler is not None:
                window.hand_over(task, handler)
                if handler.writes:  # it has run before
                    window.end(handler)
                self._go_on(window, task)
            case Interrupted():
                window.asking.add(task.id)
        return handler

    def _go_on(self, window: Window, task: Task) -> None:
        """Begin what waited for a task, and show what it has changed."""
        if window.is_over:
            return
        if self._tells_values and any(name in self._outputs for name, _ in task.writes):
            self._show(window)
        self.started += self._begin(window)

    def _show(self, window: Window) -> None:
        """Let the state show what all tasks of the open step that have ended add up to."""
        show(self.state, window.state_now())
        self._shows = True
        self._tell_values()

    # -- beginning tasks -------------------------------------------------

    def _look_closer(self, drain: bool) -> Pause | Drain | None:
        planned, pending = self._tasks, self._records.pending
        window = self._window = Window(self._flow, self._planner, self.state, planned.values(), self.step)
        self._shows = False
        if NULL_TASK_ID in pending:
            self._planner.follow_command(pending, planned.values())
        if self.settings.interrupt_before and self._breaks_at(self.settings.interrupt_before):
            self._move("next", "interrupt_before")
            return Pause("interrupt_before")
        if drain:
            self._move("next", "draining")
            return Drain()
        self._tasks, self.started = {}, []
        self._begin(window)
        return None

    def _begin(self, window: Window) -> list[Task]:
        """Begin what may begin; returns what has to run, not what was recorded."""
        self._sync_planner()
        stops = self._stops_at if self.settings.interrupt_before or self.settings.interrupt_after else None
        waiting: list[Task] = []
        restored: deque[Task] = deque()
        while True:
            tasks = window.advance(stops, self.stop)
            if tasks and self.settings.watch.planned:
                self.outbox.append(TasksPlanned(tuple(tasks)))
            for task in tasks:
                self._tasks[task.id] = task
                if not self.leaves_records:
                    self._restore(task)
                if task.writes or self._is_handled(task):
                    restored.append(task)
                else:
                    self._open.add(task.id)
                    waiting.append(task)
            if not restored:
                return waiting
            # One after the other, as when they ran: what one of them starts may begin while others have not ended.
            waiting += self._end_restored(window, restored)
            if window.is_over:
                return waiting

    def _end_restored(self, window: Window, restored: deque[Task]) -> list[Task]:
        """End the first of the tasks whose ends were recorded; returns what has to run in its place."""
        task = restored.popleft()
        if task.writes:
            window.end(task)
            if task.error is None:
                self.outcomes.tell(TaskSettled(task, task.writes, True))
            return []
        handler = self._handler_of(task)
        assert handler is not None
        window.hand_over(task, handler)
        if not handler.writes:
            return [handler]
        restored.append(handler)
        return []

    def _is_handled(self, task: Task) -> bool:
        """Return whether a failure of a task is recorded that another node handles."""
        handler = None if task.node is None else self.program.nodes.get(task.node.error_handler or "")
        if self.leaves_records or handler is None or not handler.runs:
            return False
        writes = self._records.pending.get(task.id, ())
        has_error = status.of(writes).error is not None
        return has_error and any(channel == ERROR_SOURCE_NODE for channel, _ in writes)

    def _restore(self, task: Task) -> None:
        task.writes.extend(status.of(recorded_output(self._records.pending, task.id)).output)

    def _handler_of(self, task: Task) -> Task | None:
        """Return the task that handles the failure that was recorded for another one; None if it cannot be planned."""
        writes = self._records.pending.get(task.id, ())
        error = status.of(writes).error
        assert error is not None
        task.writes.extend(write for write in writes if write[0] in status.CONTROL)
        return self._handle(task, error)

    def _stops_at(self, name: str, causes: Sequence[Firing], task: Task) -> bool:
        """Return whether the run pauses before a task of the open step; not twice before the same one."""
        before, after = self.settings.interrupt_before, self.settings.interrupt_after
        if not (plan.is_named(before, task) or any(plan.is_named(after, cause.task) for cause in causes)):
            return False
        recorded = self._records.pending.get(task.id, ())
        return not (self.resuming and any(channel == PAUSED_BEFORE for channel, _ in recorded))

    # -- ending a step ---------------------------------------------------

    def _apply(self) -> Collection[str]:
        window = self.window
        self._hide(window)
        self.state.goes_on = window.goes_on
        waves = window.waves()
        short = len(waves) == 1 and len(waves[0]) == 1
        updated = set(super()._apply() if short else self._apply_waves(window, waves))
        updated.update(window.open_triggers(self.state))
        return updated

    def _apply_waves(self, window: Window, waves: Sequence[Wave]) -> Collection[str]:
        if self._journal is not None:
            self._journal.applies(self._tasks)
            self._journal.merges(self._tasks)
        updated: set[str] = set()
        first, triggers = self.step, self.program.triggers
        for wave in waves:
            self.step = first + wave[0][0].wave - 1
            self.state.goes_on = wave is not waves[-1] or window.goes_on
            updated = {name for name in updated if name not in triggers} | apply(self.state, wave)
            self._keep(wave)
        return updated

    def _keep(self, wave: Wave) -> None:
        """Have the journal keep what the tasks of a wave have written to delta channels."""
        if self._journal is not None:
            tasks = {firing.task.id: firing.task for part in wave for firing in part}
            pending = self._records.pending
            self._journal.applied(self.step, tasks, {key: pending[key] for key in tasks if key in pending})

    def _hide(self, window: Window) -> None:
        """Let the state be the one before the open step again."""
        if self._shows:
            show(self.state, window.anchor)
            self._shows = False

    def _pauses_after(self) -> bool:
        # What is behind an earlier wave has begun, so the run has paused there.
        self._tasks = {task.id: task for task in self.window.last_wave}
        return super()._pauses_after()

    def pause(self, *, asks: bool) -> None:
        """Pause the run, and show what has ended; see `Machine.pause`."""
        moves.check(self.status, "pause")
        window = self._window
        if window is not None and any(firing.ended for firing in window.firings.values()):
            self.state.is_read = True
            self._show(window)
        if not asks:
            self.outbox.append(PausedBare())
        self._move("pause", "paused")

    def close(self) -> None:
        """Save what waited for the end of the run; see `Machine.close`."""
        if self._window is not None:
            self._hide(self._window)
        super().close()
