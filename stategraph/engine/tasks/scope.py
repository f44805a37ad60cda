"""Access of one attempt of a task: its writes, its config, the state as it sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from langchain_core.runnables import RunnableConfig

from stategraph.core.state import State
from stategraph.core.task import Draft, Task
from stategraph.core.views import Keys


class Calls(Protocol):
    """Starts the functions that tasks of a run call."""

    def start(self, run: Any, caller: Task, func: Callable[..., Any], input: object, **options: Any) -> Any:
        """Start a function as a task of the current step.

        Args:
            run: The run.
            caller: The task that calls it.
            func: The function.
            input: Its positional and keyword arguments.
            **options: Its policies, callbacks and time limit.

        Returns:
            A future.
        """


class TaskScope(Draft):
    """Access of an attempt of a task: the state that it reads, the writes that it makes.

    Attributes:
        config: The attempt's config.
        progress: Notes a sign of life; None unless a time limit asks for it.
    """

    __slots__ = ("_run", "_state", "config", "progress")

    def __init__(self, task: Task, state: State, run: Any = None) -> None:
        """Args: run: The run, whose `calls` starts the functions that the task calls; None if it cannot call."""
        # As the constructor of a draft does; to call it would take as long again.
        self.task = task
        self.writes = []
        self.fresh = self.value = None
        self._state = state
        self._run = run
        self.config: RunnableConfig = {}
        self.progress: Callable[[], None] | None = None

    def sees(self, state: State) -> None:
        """Let the attempt see a state of its task's own."""
        self._state = state

    def read(self, select: str | Sequence[str], fresh: bool = False) -> Any:
        """Read the state.

        Args:
            select: One channel for its bare value, or several for a dict.
            fresh: Whether the attempt's own writes so far are applied.
        """
        if fresh and type(select) is Keys:
            # The short way of a router.
            written = self._state.last_written(self, select)
            if written is not None:
                return written
        return self._state.read_for(self, select, fresh)

    __call__ = read

    def read_input(self) -> object:
        """Read the state as the node would be given it by an edge; a task that was sent got something else."""
        assert self.task.node is not None
        return self._state.node_input(self.task.node, self.task)

    def show(self, keys: Keys, mapper: Callable[[Any], object]) -> Any:
        """Apply a mapper to the state with the attempt's own writes applied."""
        return self._state.show(self, keys, mapper)

    def call(self, func: Callable[..., Any], input: object, **options: Any) -> Any:
        """Start a function as a task of the current step; what ``@task`` functions call."""
        run = self._run
        return run.calls.start(run, self.task, func, input, **options)

    def recorded(self, func: Callable[..., Any]) -> Any:
        """Return what the next call of a function returned in an earlier execution of the task; None if it was none."""
        return None if self._run is None else self._run.recorded(self.task, func)

    @property
    def args(self) -> tuple[Any, ...]:
        """Bookkeeping, channels, managed values and task: `ToolNode` takes the channels' names from the second.

        It expects the reader under `CONFIG_KEY_READ` to be a partial of LangGraph's, with these four arguments.
        """
        program = self._state.program
        return (self.task, program.specs, program.managed, self.task)
