"""The end of a run: what is stored, what is shown last, what is raised.

Rules
-----
* With ``durability="exit"`` the last checkpoint and the writes of an unfinished
  step are stored now; by a nested run only if it failed, paused, or keeps a
  history of its own.
* A run that has failed is left with its own error, also if storing its end
  fails too: that error is logged, and named in a note of the first.
* How the last tasks ended is shown at once; the state that they led to, and its checkpoint, once all is stored.
* A pause of a root run is not an error: its caller sees the interrupts. A
  nested run hands them to the node it runs in.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from typing import Any, Protocol, TypeVar

from stategraph.engine.config import foreign_types
from stategraph.engine.runs import halts
from stategraph.engine.runs.execution import Execution
from stategraph.engine.runs.outlet import Outlet
from stategraph.engine.spec import OutputCheck
from stategraph.engine.streams.modes import MODES
from stategraph.errors import (
    ErrorCode,
    GraphDrained,
    GraphInterrupt,
    GraphRecursionError,
    create_error_message,
)

logger = logging.getLogger(__name__)


def last_results(execution: Execution) -> list[Any]:
    """Take from what is ready the part that the caller is to see before everything is stored."""
    outlet = execution.outlet
    chunks = outlet.chunks
    if not chunks:
        return []
    first_state = next((place for place, chunk in enumerate(chunks) if _is_state(outlet, chunk)), len(chunks))
    later = [chunks.pop() for _ in range(len(chunks) - first_state)]
    seen = outlet.shown()
    chunks.extend(reversed(later))
    return seen


def _is_state(outlet: Outlet, chunk: Any) -> bool:
    _, mode, payload = chunk if outlet.view is not None else (None, *outlet.own_modes, chunk)
    if mode == "debug":
        return bool(payload["type"] == "checkpoint")
    shown = MODES.get(mode)
    return shown is not None and (shown.values is not None or shown.checkpoint is not None)


def pause_at_breakpoint(execution: Execution) -> None:
    """Pass on what is left when the machine asks for no more tasks.

    Raises:
        GraphInterrupt: If it paused at a breakpoint.
    """
    if execution.machine.outbox:
        execution.flush()
    if execution.machine.status in ("interrupt_before", "interrupt_after"):
        raise foreign_types.pause()


T = TypeVar("T")

Asking = Generator[object, Any, T]
"""A part of a run's procedure; see `procedure`."""


class Leaving(Protocol):
    """A driver that leaves its run."""

    def awaited(self, done: Any, /) -> Asking[Any]:
        """Return what a call returned, once it is there."""

    def stop_running(self) -> object:
        """Let no task begin, end those that run, and record how they ended; awaited in an async run."""

    def saves_done(self) -> Asking[None]:
        """Wait for the saves that were asked for."""


def leave(execution: Execution, driver: Leaving, error: BaseException | None) -> Asking[bool]:
    """Stop what runs, and store what waited for the end of the run.

    Args:
        execution: The run.
        driver: Stops tasks, and waits for saves.
        error: What the run ended with, or None.

    Returns:
        Whether the run paused rather than failed.
    """
    try:
        execution.outlet.wake_by(None)
        yield from driver.awaited(driver.stop_running())
        halts.ask(execution, error)
        _close(execution, error)
    except Exception as refused:
        yield from _finish_saves(execution, driver, refused)
        if not keeps(execution, error, refused):
            raise
    else:
        if execution.saves is not None:
            yield from _finish_saves(execution, driver, error)
    if isinstance(error, GraphDrained) and halts.pauses(execution, error):
        execution.machine.pause(asks=True)
        execution.flush()
        return True
    # A root run pauses; a nested one hands its interrupts to the node it runs in.
    if not isinstance(error, GraphInterrupt) or execution.plan.nested:
        return False
    interrupts = tuple(error.args[0]) if error.args else ()
    if (told := execution.lifecycle("interrupt", interrupts)) is not None:
        yield from driver.awaited(told)
    # Show what the unfinished step has changed so far.
    execution.machine.pause(asks=bool(interrupts))
    execution.flush()
    return True


def _finish_saves(execution: Execution, driver: Leaving, error: BaseException | None) -> Asking[None]:
    """Wait for the saves that were asked for; what one failed with is raised unless the run has failed anyway."""
    try:
        yield from driver.saves_done()
    except Exception as refused:
        if not keeps(execution, error, refused):
            raise
    except BaseException:
        if error is None or isinstance(error, GraphInterrupt):
            raise


def _close(execution: Execution, error: BaseException | None) -> None:
    """Ask for what was to be stored at the end of the run."""
    _report(execution)
    plan = execution.plan
    at_exit = plan.durability == "exit" and plan.saver is not None
    if at_exit and (error is not None or plan.keeps_history or halts.is_stopped(execution)):
        execution.machine.close()
    # What an exception of a signal handler has cut short is there too.
    execution.flush()


def _report(execution: Execution) -> None:
    """Log each ignored input or write once."""
    ignored = execution.machine.state.ignored
    for note in ignored:
        logger.warning("%s: %s", execution.plan.spec.name, note)
    ignored.clear()


def keeps(execution: Execution, error: BaseException | None, refused: BaseException) -> bool:
    """Return whether a run ends with its own error rather than with one of storing its end.

    Args:
        execution: The run.
        error: Its own error; None if it has not failed.
        refused: The error of storing its end; logged and noted if the run's own error stays.

    Returns:
        Whether the run ends with its own error.
    """
    if error is None or isinstance(error, GraphInterrupt):
        return False
    if refused is not error:
        logger.error("%s failed, and its end could not be stored", execution.plan.spec.name, exc_info=refused)
        error.add_note(f"The end of the run could not be stored: {type(refused).__name__}: {refused}")
    return True


def raise_unless_finished(execution: Execution) -> None:
    """Raise what a run that stopped early ends with.

    Raises:
        GraphRecursionError: If the recursion limit was reached.
        GraphLimitError: If another limit of the caller's was.
        GraphDrained: If the run was asked to stop.
    """
    machine = execution.machine
    if machine.state.ignored:
        _report(execution)
    status = machine.status
    if status != "done" and halts.concludes(execution):
        return
    if status == "out_of_steps":
        limit = execution.plan.config["recursion_limit"]
        raise GraphRecursionError(
            create_error_message(
                message=(
                    f"Recursion limit of {limit} reached "
                    "without hitting a stop condition. You can increase the "
                    f"limit by setting the `recursion_limit` config key.{_last_nodes(execution)}"
                ),
                error_code=ErrorCode.GRAPH_RECURSION_LIMIT,
            )
        )
    if status == "draining":
        control = execution.plan.runtime.control
        raise GraphDrained((control.drain_reason if control is not None else None) or "shutdown")


def check_output(execution: Execution, check: OutputCheck) -> None:
    """Check the output of a run that has ended, unless its caller asked for other keys or nothing was written.

    Raises:
        ValueError: It does not fit the graph's output schema.
    """
    machine, keys = execution.machine, execution.plan.spec.output_channels
    asked = execution.plan.setup.options.output_keys
    if machine.status == "done" and machine.values_seen and asked in (None, keys):
        check(machine.state.read(keys if isinstance(keys, str) else list(keys)))


def _last_nodes(execution: Execution) -> str:
    """Say which nodes used up the steps."""
    machine = execution.machine
    upcoming = sorted({task.name for task in machine.tasks.values()})
    if not upcoming:
        return ""
    return (
        f" The last step ran {_quoted(machine.last_nodes)}, the next one would run {_quoted(upcoming)}: "
        "if the graph goes round there, one of these needs a way to END."
    )


def _quoted(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
