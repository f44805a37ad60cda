"""A window as its records tell it, for those who look at a thread without running it."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence

from stategraph.core import status
from stategraph.core.dataflow import firing
from stategraph.core.dataflow.fork import show
from stategraph.core.dataflow.window import Window, recorded_output
from stategraph.core.plan import Planner
from stategraph.core.state import State
from stategraph.core.task import Task


def opened(state: State, planner: Planner, tasks: Sequence[Task], pending: status.Pending) -> Window:
    """Open a window and begin, and end, what is recorded of it.

    Args:
        state: The channels before it.
        planner: Makes its tasks.
        tasks: Those that come next, as supersteps have it.
        pending: What is recorded.
    """
    flow = state.program.flow
    assert flow is not None
    window = Window(flow, planner, state, tasks, planner.step)
    ended: deque[Task] = deque()
    while True:
        for task in window.advance():
            task.writes.extend(status.of(recorded_output(pending, task.id)).output)
            if task.writes or planner.recorded_handler(task, pending.get(task.id, ())) is not None:
                ended.append(task)
        if not ended:
            return window
        # One after the other, as when they ran: what one of them starts may begin while others have not ended.
        _end(window, planner, ended, pending)
        if window.is_over:
            return window


def _end(window: Window, planner: Planner, ended: deque[Task], pending: status.Pending) -> None:
    task = ended.popleft()
    if task.writes:
        window.end(task)
        return
    handler = planner.recorded_handler(task, pending.get(task.id, ()))
    assert handler is not None
    task.writes.extend(write for write in pending[task.id] if write[0] in status.CONTROL)
    window.hand_over(task, handler)
    handler.writes.extend(status.of(recorded_output(pending, handler.id)).output)
    if handler.writes:
        ended.append(handler)


def tasks_of(window: Window) -> list[Task]:
    """Return the tasks of a window in the order in which they began."""
    return [each.task for each in window.firings.values()]


def first_names(window: Window) -> tuple[str, ...]:
    """Return the names of the tasks that begin at once."""
    return tuple(each.task.name for each in window.firings.values() if not each.past)


def apply(state: State, window: Window) -> Collection[str]:
    """Apply what has ended to the state before the window; returns the channels that the last wave changed."""
    updated: Collection[str] = ()
    waves = window.waves()
    for wave in waves:
        state.goes_on = wave is not waves[-1] or window.goes_on
        updated = firing.apply(state, wave)
    return {*updated, *window.open_triggers(state)}


def show_now(state: State, window: Window) -> None:
    """Let the state before a window show what has ended in it."""
    show(state, window.state_now())


def upcoming(state: State, planner: Planner, tasks: Sequence[Task], pending: status.Pending) -> tuple[str, ...]:
    """Return the names of the nodes that a run which goes on would run first.

    Args:
        state: The channels before the window; changed.
        planner: Makes tasks.
        tasks: Those that come next, as supersteps have it.
        pending: What is recorded.
    """
    window = opened(state, planner, tasks, pending)
    if window.is_over and tasks:
        waves = window.waves()
        updated = apply(state, window)
        planner.step += waves[-1][0][0].wave
        window = opened(state, planner, planner.next_tasks(updated, fresh=True), {})
    return tuple(each.task.name for each in window.firings.values() if not each.ended)
