"""What the writes recorded for an open step say about each of its tasks.

Rules
-----
* Control writes (interrupt, resume, error) describe a task; every other write
  is output.
* A task is finished exactly when it has output. Finishing without any is
  recorded with a marker, so a resume never runs a finished task again.
* The recorded interrupt is the latest question; it waits for an answer only
  while the task is unfinished.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from stategraph.constants import (
    ERROR,
    ERROR_SOURCE_NODE,
    INTERRUPT,
    NULL_TASK_ID,
    RESUME,
)
from stategraph.core.task import Write
from stategraph.types import Interrupt

CONTROL = frozenset((ERROR, ERROR_SOURCE_NODE, INTERRUPT, RESUME))
"""Channels that tell what happened to a task rather than what it produced."""

Pending = dict[str, list[Write]]
"""Writes recorded in the open step, by task id, in the order of recording."""


@dataclass(frozen=True, slots=True)
class Status:
    """What is recorded about one task.

    Attributes:
        output: Its output writes; empty while it is unfinished.
        interrupts: The latest questions it asked, answered or not.
        error: What it failed with, or None.
    """

    output: tuple[Write, ...] = ()
    interrupts: tuple[Interrupt, ...] = ()
    error: Exception | None = None

    @property
    def waiting(self) -> tuple[Interrupt, ...]:
        """The questions that still wait for an answer."""
        return () if self.output else self.interrupts


NOT_STARTED = Status()


def of(writes: Iterable[Write]) -> Status:
    """Read the status of a task from its recorded writes."""
    output: list[Write] = []
    interrupts: list[Interrupt] = []
    error = None
    for write in writes:
        channel, value = write
        if channel == INTERRUPT:
            interrupts.extend(value if isinstance(value, (list, tuple)) else (value,))
        elif channel == ERROR:
            error = value if error is None else error
        elif channel not in CONTROL:
            output.append(write)
    return Status(tuple(output), tuple(interrupts), error)


def waiting_ids(pending: Mapping[str, list[Write]]) -> set[str]:
    """The ids of all interrupts that wait for an answer."""
    return {i.id for tid, writes in pending.items() if tid != NULL_TASK_ID for i in of(writes).waiting}


def group(pending: Iterable[tuple[str, str, Any]] | None) -> Pending:
    """Index stored pending writes by task id."""
    grouped: Pending = {}
    for task_id, channel, value in pending or ():
        grouped.setdefault(str(task_id), []).append((channel, value))
    return grouped
