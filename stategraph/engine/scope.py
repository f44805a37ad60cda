"""What one attempt of a task may touch: its writes, its config, the state as it sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig

from stategraph.core.state import State
from stategraph.core.task import Task, Write


class TaskScope:
    """The hands of a running task.

    Attributes:
        config: The attempt's config.
        writes: Where the attempt's writes go.
        progress: Notes a sign of life; None unless a time limit asks for it.
    """

    __slots__ = ("_state", "_task", "config", "progress", "writes")

    def __init__(self, task: Task, state: State) -> None:
        self._task = task
        self._state = state
        self.writes: list[Write] = task.writes
        self.config: RunnableConfig = {}
        self.progress: Callable[[], None] | None = None

    def read(self, select: str | Sequence[str], fresh: bool = False) -> Any:
        """Read the state.

        Args:
            select: One channel for its bare value, or several for a dict.
            fresh: Whether the attempt's own writes so far are applied.
        """
        return self._state.read_for(self._task, select, fresh)

    __call__ = read

    @property
    def args(self) -> tuple[Any, ...]:
        """Bookkeeping, channels, managed values and task: `ToolNode` takes the channels' names from the second.

        It expects the reader under `CONFIG_KEY_READ` to be a partial of LangGraph's, with these four arguments.
        """
        program = self._state.program
        return (self._task, program.specs, program.managed, self._task)
