"""Ends of tasks: what is recorded and told of them, by how they ended.

Rules
-----
* A task that ended well has output: if it wrote nothing, a marker. So a resume never runs it again.
* Of a task that failed the error stays, and the answers to its own questions; what else it wrote is made again.
* A task that asks has its questions recorded, and the answers that it was given before.
* The only task of a step, in a run that stores nothing, is not recorded: nothing can cut in before its step is applied.
* Each end is told once, by one function, whichever way its step takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stategraph.constants import ERROR, ERROR_SOURCE_NODE, INTERRUPT, RESUME
from stategraph.core import output, status
from stategraph.core.checkpointing import CheckpointMaker
from stategraph.core.delta_journal import DeltaJournal
from stategraph.core.effects import Effect, TaskSettled
from stategraph.core.moves import Cached, Failed, Interrupted
from stategraph.core.records import Records
from stategraph.core.settings import Settings
from stategraph.core.task import Draft, Task, Write
from stategraph.types import Interrupt


class Outcomes:
    """Takes in how the tasks of a run end.

    Attributes:
        interrupts: What they asked.
    """

    __slots__ = ("_checkpoints", "_journal", "_outbox", "_records", "_stores", "_tells", "interrupts")

    def __init__(
        self,
        settings: Settings,
        records: Records,
        checkpoints: CheckpointMaker,
        journal: DeltaJournal | None,
        outbox: list[Effect],
    ) -> None:
        """Begin without having heard of any.

        Args:
            settings: What the run stores, and what its listeners want to hear.
            records: Where ends are recorded.
            checkpoints: Those of the run; the latest is what the open step follows.
            journal: The run's delta channels, if it has any.
            outbox: Gets the facts.
        """
        self.interrupts: list[Interrupt] = []
        self._records = records
        self._checkpoints = checkpoints
        self._journal = journal
        self._outbox = outbox
        self._stores = settings.saves != "never"
        self._tells = settings.watch.ended

    def take_draft(self, draft: Draft, tasks: Mapping[str, Task]) -> None:
        """Take in that a task ended well.

        Args:
            draft: What it achieved.
            tasks: The tasks of the open step.
        """
        task = draft.task
        task.writes, task.fresh = draft.writes, draft.fresh
        status.complete(task.writes)
        self._note_output(task, tasks)
        self.tell(draft)

    def take_cached(self, task: Task, told: Cached, tasks: Mapping[str, Task]) -> None:
        """Take in that a task need not run."""
        task.writes = told.writes
        self._note_output(task, tasks)
        self.tell(TaskSettled(task, task.writes, True))

    def take_questions(self, task: Task, told: Interrupted, tasks: Mapping[str, Task]) -> None:
        """Take in that a task waits for answers."""
        task.writes = told.writes
        if told.interrupts:
            asked: list[Write] = [(INTERRUPT, told.interrupts)]
            asked.extend(write for write in told.writes if write[0] == RESUME)
            self._record(task, asked, tasks)
            self.tell(TaskSettled(task, asked, False))

    def take_failure(self, task: Task, told: Failed, tasks: Mapping[str, Task]) -> bool:
        """Take in that a task failed; returns whether a node is to handle it."""
        error = told.error
        handled = task.node is not None and bool(task.node.error_handler) and isinstance(error, Exception)
        if handled:
            task.writes = [*told.writes, (ERROR, error), (ERROR_SOURCE_NODE, task.name)]
        else:
            task.writes = status.after_failure(told.writes, error, task.own_answers)
        self._record(task, task.writes, tasks)
        self.tell(TaskSettled(task, task.writes, False))
        return handled

    def tell(self, fact: TaskSettled | Draft) -> None:
        """Tell of a task's end, and note what it asks."""
        task, writes = fact.task, fact.writes
        if task.node is not None and task.node.hidden:
            return
        if writes and writes[0][0] == INTERRUPT:
            if task.is_call:
                return
            self.interrupts.extend(output.interrupts_in(writes))
        if self._tells:
            self._outbox.append(fact)

    def _note_output(self, task: Task, tasks: Mapping[str, Task]) -> None:
        if self._stores or len(tasks) > 1 or task.is_call:
            self._record(task, task.writes, tasks)
        elif self._journal is not None:
            self._journal.identify(task.writes, task)

    def _record(self, task: Task, writes: list[Write], tasks: Mapping[str, Task]) -> None:
        if task.took_null_resume:
            self._spend_answer(task, writes, tasks)
        if self._journal is not None:
            self._journal.identify(writes, task)
        self._records.add(self._checkpoints.checkpoint["id"], task.id, writes, task)

    def _spend_answer(self, task: Task, writes: Sequence[Write], tasks: Mapping[str, Task]) -> None:
        """Store that the answer without an id is used up, before what its task did with it.

        In the other order a crash between the two would leave an answer that the next question gets as well. A task
        that failed gets it again when it is tried again.
        """
        channel = writes[0][0]
        if channel == ERROR:
            return
        task.took_null_resume = False
        if channel == INTERRUPT or self._no_checkpoint_before(tasks):
            self._records.spend_answer(self._checkpoints.checkpoint["id"])

    def _no_checkpoint_before(self, tasks: Mapping[str, Task]) -> bool:
        """Return whether another task may ask before the step's checkpoint, which takes no answers over."""
        return not all(task.writes for task in tasks.values())
