"""The records of the open step: the writes of tasks that ended, kept so that a resume does not run them again.

Rules
-----
* Recording and asking for the record to be saved are one act; a run that stores at its end asks then.
* Savers number the regular writes of a task by position, and keep special ones (answers, questions, errors) in a slot
  each, where a later one replaces an earlier one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from stategraph.constants import ERROR, INTERRUPT, NULL_TASK_ID, RESUME
from stategraph.core import status
from stategraph.core.effects import Effect, SaveWrites
from stategraph.core.task import Task, Write

SPENT: Final[Write] = (RESUME, None)
"""Stored in place of an answer that was given to no interrupt in particular, once a task has used it."""

_SPECIAL_SLOTS = frozenset((ERROR, INTERRUPT, RESUME, "__scheduled__"))


class Records:
    """The recorded writes of the open step.

    Attributes:
        at_once: Whether writes are saved when they are recorded.
        pending: The writes by task id.
    """

    __slots__ = ("_outbox", "_untracked", "_written", "at_once", "pending")

    def __init__(
        self, pending: status.Pending, outbox: list[Effect], untracked: Collection[str], *, at_once: bool
    ) -> None:
        """Take over the writes recorded on a checkpoint.

        Args:
            pending: The writes.
            outbox: Gets the requests to save writes.
            untracked: Channels that are never stored.
            at_once: Whether writes are saved when they are recorded.
        """
        self.pending = pending
        self._outbox = outbox
        self._untracked = untracked
        self.at_once = at_once
        # Whose writes this run has recorded.
        self._written: set[str] = set()

    def add(self, checkpoint_id: str, task_id: str, writes: Sequence[Write], task: Task | None = None) -> None:
        """Record writes.

        Args:
            checkpoint_id: The checkpoint that the step follows.
            task_id: Whose writes; the null id for a command's.
            writes: The writes, at least one.
            task: The task, if it is one of the step's.
        """
        self._written.add(task_id)
        if all(channel in _SPECIAL_SLOTS for channel, _ in writes):
            writes = list({channel: (channel, value) for channel, value in writes}.values())
        before = self.pending.pop(task_id, [])
        if task_id == NULL_TASK_ID:
            # The special ones, which a later command replaces, go last.
            before = [w for w in before if w[0] not in _SPECIAL_SLOTS]
            writes = before + sorted(writes, key=lambda w: w[0] in _SPECIAL_SLOTS)
        self.pending[task_id] = list(writes)
        if self.at_once:
            self._save(checkpoint_id, task_id, writes, task)

    def spend_answer(self, checkpoint_id: str) -> None:
        """Record that the answer without an id is used up."""
        if self.at_once:
            self._outbox.append(SaveWrites(checkpoint_id, NULL_TASK_ID, [SPENT], ""))
        else:
            self._written.add(NULL_TASK_ID)
            self.pending.setdefault(NULL_TASK_ID, []).append(SPENT)

    def carry(self, task_id: str, writes: Sequence[Write]) -> None:
        """Add writes that the run's next checkpoint will hold, so that they need not be saved."""
        self.pending.setdefault(task_id, []).extend(writes)

    def save_single(self, checkpoint_id: str, task: Task) -> None:
        """Record the end of the step's only task, and ask for that to be saved."""
        writes, task_id = task.writes, task.id
        status.complete(writes)
        self._written.add(task_id)
        self.pending = {task_id: writes.copy()}
        stored = status.storable(writes, self._untracked) if self._untracked else writes.copy()
        self._outbox.append(SaveWrites(checkpoint_id, task_id, stored, task.path_key))

    def take_single(self, task: Task) -> None:
        """Record the end of the step's only task, which is saved at the end of the run or has been."""
        self._written.add(task.id)
        self.pending = {task.id: list(task.writes)}

    def restore(self, task: Task) -> None:
        """Give a task back the output recorded for it, so that it does not run again."""
        recorded = self.pending.get(task.id)
        if recorded:
            task.writes.extend(status.of(recorded).output)

    def drop(self, channel: str) -> None:
        """Forget all writes to a channel."""
        for task_id in list(self.pending):
            kept = [w for w in self.pending[task_id] if w[0] != channel]
            if kept:
                self.pending[task_id] = kept
            else:
                del self.pending[task_id]

    def clear(self) -> None:
        """Forget everything, as the step was applied; tasks of it may still hold what there was."""
        self.pending = {}

    def save_all(self, checkpoint_id: str, tasks: Mapping[str, Task], *, begun: bool) -> None:
        """Ask for all that this run has recorded to be saved, at its end.

        Args:
            checkpoint_id: The checkpoint that the step follows.
            tasks: The step's tasks.
            begun: Whether the run has begun; a command that was refused has not.
        """
        for task_id, writes in self.pending.items():
            if task_id in self._written and (begun or task_id != NULL_TASK_ID):
                self._save(checkpoint_id, task_id, writes, tasks.get(task_id))

    def _save(self, checkpoint_id: str, task_id: str, writes: Sequence[Write], task: Task | None) -> None:
        path = task.path_key if task is not None else ""
        self._outbox.append(SaveWrites(checkpoint_id, task_id, status.storable(writes, self._untracked), path))
