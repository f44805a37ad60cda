"""The status of each task of an open step, as its recorded writes tell it.

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

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stategraph.constants import (
    ERROR,
    ERROR_SOURCE_NODE,
    INTERRUPT,
    NO_WRITES,
    NULL_TASK_ID,
    RESUME,
    TASKS,
)
from stategraph.core.checkpoint import VERSION_CHANNEL
from stategraph.core.task import Write
from stategraph.types import Interrupt, Send

CONTROL = frozenset((ERROR, ERROR_SOURCE_NODE, INTERRUPT, RESUME))
"""Channels that tell what happened to a task rather than what it produced."""

Pending = dict[str, list[Write]]
"""Writes recorded in the open step, by task id, in the order of recording."""


@dataclass(frozen=True, slots=True)
class Status:
    """The status of one task.

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


def complete(writes: list[Write]) -> None:
    """Mark the writes of a finished task as such if there is no output among them."""
    for channel, _ in writes:
        if channel not in CONTROL:
            return
    writes.append((NO_WRITES, None))


def after_failure(writes: Sequence[Write], error: BaseException, own_answers: int) -> list[Write]:
    """Make what is recorded of a task that failed.

    What it wrote before is left out: a resume would take that for its output, and neither run the rest of it nor ask
    its routers. Of the answers that it was given the ones to its own questions stay: one without an id does anyway.

    Args:
        writes: What it had written.
        error: What it raised.
        own_answers: How many answers it began with.
    """
    answers = next((value for channel, value in reversed(writes) if channel == RESUME), ())
    kept = answers[:own_answers]
    return [(ERROR, error), (RESUME, kept)] if kept else [(ERROR, error)]


def marked(writes: Sequence[Write], version: str) -> Sequence[Write]:
    """Return the writes of a task with the version of the graph that made them, if there is output among them."""
    if all(channel in CONTROL for channel, _ in writes):
        return writes  # savers replace these, and only if there are no others
    return [*writes, (VERSION_CHANNEL, version)]


def storable(writes: Sequence[Write], untracked: Collection[str]) -> list[Write]:
    """Select the writes of a task that savers are given; a finished task stays finished, whatever is left out."""
    if not untracked:
        return list(writes)
    kept = [
        (channel, tracked(value, untracked) if channel == TASKS else value)
        for channel, value in writes
        if channel not in untracked
    ]
    if len(kept) < len(writes) and all(channel in CONTROL for channel, _ in kept):
        kept.append((NO_WRITES, None))
    return kept


def tracked(packet: Any, untracked: Collection[str]) -> Any:
    """Leave untracked channels out of what a packet carries."""
    if not (isinstance(packet, Send) and isinstance(packet.arg, dict)):
        return packet
    kept = {k: v for k, v in packet.arg.items() if k not in untracked}
    return Send(packet.node, kept, timeout=packet.timeout)


def waiting_ids(pending: Mapping[str, list[Write]]) -> set[str]:
    """Return the ids of all interrupts that wait for an answer."""
    return {i.id for tid, writes in pending.items() if tid != NULL_TASK_ID for i in of(writes).waiting}


def group(pending: Iterable[tuple[str, str, object]] | None) -> Pending:
    """Index stored pending writes by task id."""
    grouped: Pending = {}
    for task_id, channel, value in pending or ():
        grouped.setdefault(str(task_id), []).append((channel, value))
    return grouped
