"""Tasks of a host, in memory: the newest ones, and those that are not over."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from a2a.server.context import ServerCallContext
from a2a.server.tasks import InMemoryTaskStore
from a2a.types import Task, TaskState

#: Tasks that are over and can still be looked at.
MOST_TASKS: Final = 1_000

_OVER: Final = frozenset(
    {
        TaskState.TASK_STATE_COMPLETED,
        TaskState.TASK_STATE_FAILED,
        TaskState.TASK_STATE_CANCELED,
        TaskState.TASK_STATE_REJECTED,
    }
)


class KeptTasks(InMemoryTaskStore):
    """A store that forgets the oldest tasks that are over.

    Args:
        most: How many of them it keeps.
    """

    def __init__(self, most: int = MOST_TASKS) -> None:
        super().__init__()
        self._most = most
        self._over: OrderedDict[str, ServerCallContext] = OrderedDict()

    async def save(self, task: Task, context: ServerCallContext) -> None:
        """Store a task."""
        await super().save(task, context)
        if task.status.state in _OVER:
            self._over[task.id] = context
            self._over.move_to_end(task.id)
        while len(self._over) > self._most:
            oldest, by = self._over.popitem(last=False)
            await super().delete(oldest, by)
