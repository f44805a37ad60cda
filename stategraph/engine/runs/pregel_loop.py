"""The planning of steps, for those who wrap it.

Rules
-----
* Datadog's LLM Observability wraps `PregelLoop.tick`: what has run before a tick and what is to run after it tells it
  the names of nodes and the links between their spans.
* A run looks once, when it starts, whether `tick` has been replaced. Only then is there a loop; a step that is planned
  by the core alone costs nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from langchain_core.runnables import RunnableConfig

from stategraph.core.moves import Directive
from stategraph.core.task import Task
from stategraph.engine.config import foreign_types
from stategraph.engine.runs.execution import lifecycle_status
from stategraph.errors import GraphInterrupt

if TYPE_CHECKING:
    from stategraph.engine.runs.execution import Execution


class PregelLoop:
    """Plans the steps of one run, and shows it to those who wrap `tick`.

    Args:
        execution: The run, started.
    """

    def __init__(self, execution: Execution) -> None:
        self._execution = execution
        self._drain = False
        self._before_tick = False
        # What the machine asked for in the last tick.
        self._directive: Directive

    @property
    def config(self) -> RunnableConfig:
        """The run's config."""
        return self._execution.plan.config

    @property
    def tasks(self) -> Mapping[str, Task]:
        """The tasks of a step by id: of the one that has ended before a tick, of the one that begins after it."""
        return self._execution.machine.tasks

    @property
    def step(self) -> int:
        """The number of the step that is planned next."""
        machine = self._execution.machine
        # A step that has ended counts as over before the tick that applies it.
        return machine.step + (self._before_tick and machine.status == "stepping")

    @property
    def stop(self) -> int:
        """The number of the last step that the recursion limit allows."""
        stop: int = self._execution.machine.stop
        return stop

    @property
    def status(self) -> str:
        """The run's status, in the words of lifecycle events."""
        return lifecycle_status(self._execution.machine.status)

    def tick(self) -> bool:
        """Plan the next step.

        Returns:
            Whether it has tasks to run; `status` says why not.

        Raises:
            GraphInterrupt: The run is to pause before one of them.
        """
        machine = self._execution.machine
        self._directive = machine.next(self._drain)
        self._before_tick = False
        if machine.status == "interrupt_before":
            raise foreign_types.pause()
        return machine.status == "stepping"

    def next(self, drain: bool = False) -> Directive:
        """Plan the next step through `tick`, as the machine's `next` does without it."""
        self._drain, self._before_tick = drain, True
        try:
            self.tick()
        except GraphInterrupt:
            if self._execution.machine.status != "interrupt_before":
                raise
        return self._directive


_TICK = PregelLoop.tick


class SyncPregelLoop(PregelLoop):
    """The loop of a sync run."""


class AsyncPregelLoop(PregelLoop):
    """The loop of an async run."""


def planner(kind: type[PregelLoop], execution: Execution) -> Callable[[bool], Directive]:
    """Return what plans the steps of a run: its machine, or a loop before it if `tick` has been wrapped.

    Args:
        kind: The class of loops of the driver.
        execution: The run, started.
    """
    return kind(execution).next if is_wrapped(kind) else execution.machine.next


def is_wrapped(kind: type[PregelLoop]) -> bool:
    """Return whether `tick` of a class of loops has been replaced."""
    return kind.tick is not _TICK
