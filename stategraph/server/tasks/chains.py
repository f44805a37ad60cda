"""Tasks as chains of runs.

Rules
-----
* A task has the id of its first run, whichever protocol began it.
* A run that waits for an answer is continued by the next run of its thread that gives one: by a run that names the task
  in its metadata, or by any run that resumes the thread and belongs to no other task.
* The state of a task is that of its last run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from stategraph.server.service.port import RunRecord

#: The key in the metadata of a run under which it names its task.
TASK: Final = "task_id"

#: Prefix of the key in the metadata of a thread under which a task that waited for an answer is cancelled.
CANCELLED: Final = "cancelled_task:"


class TaskState(StrEnum):
    """State of a task."""

    SUBMITTED = "submitted"
    WORKING = "working"
    INPUT_REQUIRED = "input_required"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


#: A task in one of these has an end, and takes no more messages.
ENDED: Final = frozenset({TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED})

_BY_STATUS: Final[Mapping[str, TaskState]] = {
    "pending": TaskState.SUBMITTED,
    "running": TaskState.WORKING,
    "success": TaskState.COMPLETED,
    "error": TaskState.FAILED,
    "timeout": TaskState.FAILED,
    "interrupted": TaskState.COMPLETED,
}

#: States at the end of a run that its status does not tell apart from one that has ended well.
BY_END: Final[Mapping[str, TaskState]] = {
    "interrupted": TaskState.INPUT_REQUIRED,
    "cancelled": TaskState.CANCELLED,
}


@dataclass(frozen=True, slots=True)
class Task:
    """A task as it is now.

    Attributes:
        runs: Its runs, the oldest first.
        state: Its state.
    """

    runs: tuple[RunRecord, ...]
    state: TaskState

    @property
    def task_id(self) -> str:
        """Id of the task."""
        return self.runs[0].run_id

    @property
    def thread_id(self) -> str:
        """Its thread."""
        return self.runs[0].thread_id

    @property
    def last(self) -> RunRecord:
        """Its last run."""
        return self.runs[-1]

    @property
    def is_active(self) -> bool:
        """Return whether a run waits for a worker or is executed."""
        return self.state in (TaskState.SUBMITTED, TaskState.WORKING)

    @property
    def has_ended(self) -> bool:
        """Return whether it has ended."""
        return self.state in ENDED

    @property
    def updated_at(self) -> datetime:
        """Time of the last change of its state."""
        return self.last.updated_at


def state_of(runs: tuple[RunRecord, ...]) -> TaskState:
    """Return the state that the status of the last run stands for.

    The status does not tell runs that wait for an answer, or were cancelled, from those that ended well: their logs do.
    """
    state = _BY_STATUS[runs[-1].status]
    return TaskState.WORKING if state is TaskState.SUBMITTED and len(runs) > 1 else state


def chains(runs: Iterable[RunRecord]) -> list[tuple[RunRecord, ...]]:
    """Sort the runs of a thread into tasks.

    Args:
        runs: All runs of the thread from some run on, the oldest first.

    Returns:
        The runs of each task, the oldest task first.
    """
    found: dict[str, list[RunRecord]] = {}
    waiting: str | None = None
    for run in runs:
        named = run.metadata.get(TASK)
        if isinstance(named, str) and named in found:
            task_id = named
        elif named is None and waiting is not None and _answers(run):
            task_id = waiting
        else:
            task_id = run.run_id
        found.setdefault(task_id, []).append(run)
        waiting = task_id if run.status in ("success", "interrupted") else None
    return [tuple(each) for each in found.values()]


def _answers(run: RunRecord) -> bool:
    command: Any = run.kwargs.get("command")
    return isinstance(command, Mapping) and command.get("resume") is not None
