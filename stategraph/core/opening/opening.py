"""The beginning of a run: its input is taken in, or the answers that it continues with.

Rules
-----
* What an earlier run left undone is dropped by new input, and continued otherwise.
* A replay that continues starts a branch with a checkpoint of its own, as the one that it starts from may have others.
* A command's writes are recorded as the checkpoint's own, or, on a branch, go into its first checkpoint.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from stategraph.constants import INPUT, INTERRUPT, NULL_TASK_ID, RESUME
from stategraph.core import output
from stategraph.core.checkpointing import CheckpointMaker
from stategraph.core.delta_journal import DeltaJournal
from stategraph.core.opening import answers as questions
from stategraph.core.opening import travel
from stategraph.core.opening.course import EDITS, course_of
from stategraph.core.plan import Planner
from stategraph.core.records import Records
from stategraph.core.settings import Settings, Start, Thread
from stategraph.core.state import State
from stategraph.core.state.reading import writes_twice
from stategraph.core.task import Task, Write
from stategraph.errors import EmptyInputError
from stategraph.types import Command


def take_plainly(
    start: Start, step: int, thread: Thread, state: State, planner: Planner, checkpoints: CheckpointMaker
) -> tuple[Collection[str], int, bool] | None:
    """Take in the input of a run that begins a thread, and whose steps may take the short way.

    As `Opening` does for it, which has nothing else to look at. If nothing is stored, a node that only copies the input
    has its step at once.

    Args:
        start: How the run begins.
        step: The number of its first step.
        thread: What it starts from.
        state: Its channels.
        planner: Plans its tasks.
        checkpoints: Those of the run.

    Returns:
        The channels that changed, the number of the next step, and whether that is the first one; None if the run takes
        an `Opening`: nothing has been changed then.
    """
    if thread.found or thread.addressed or thread.superseded or thread.pending or checkpoints.journal is not None:
        return None
    value, program = start.input, state.program
    channel, entry = program.input_channels, program.entry
    if value is None or type(channel) is not str or isinstance(value, Command):
        return None
    planner.resume_map, planner.renames = start.resume_map, planner.ids.counts
    if entry is not None and start.copies and type(value) is dict:
        try:
            writes = entry.copies(value)  # type: ignore[misc]
        except Exception:
            writes = []  # what it refuses, its task will refuse
        if writes and not writes_twice(writes):
            return state.enter(entry, writes), step + 2, False
    updated = state.take_input([(channel, value)])
    checkpoints.take_input(step, updated)
    return updated, step + 1, True


class Opening:
    """The beginning of one run.

    Attributes:
        resuming: Whether the run continues an earlier one.
        leaves_records: Whether what was recorded after its checkpoint is another run's, and its tasks are not given it
            back.
        step: The number of the next step.
        updated: The channels that the last step changed, or None if not known.
        took_input: Whether it has taken its input in.
        replay_id: Checkpoint before which subgraphs look for theirs; None if history is not replayed.
        namespaces_before: Where the tasks of a fork's first step ran before, by their paths, if the caller means a
            graph inside them.
    """

    __slots__ = (
        "_checkpoints",
        "_forks",
        "_journal",
        "_planner",
        "_records",
        "_replay_bound",
        "_settings",
        "_start",
        "_state",
        "_thread",
        "leaves_records",
        "namespaces_before",
        "replay_id",
        "resuming",
        "step",
        "took_input",
        "updated",
    )

    def __init__(
        self,
        start: Start,
        step: int,
        thread: Thread,
        settings: Settings,
        state: State,
        planner: Planner,
        records: Records,
        checkpoints: CheckpointMaker,
    ) -> None:
        """Args: start: How the run begins; step: The number of its first step; the rest are its parts."""
        loaded = checkpoints.checkpoint.get("updated_channels")
        self.step = step
        self.updated: Collection[str] | None = set(loaded) if loaded else None
        self.took_input = False
        self.replay_id: str | None = None
        self.namespaces_before: dict[str, str] | None = None
        self._replay_bound: str | None = None
        self._start = start
        self._thread = thread
        self._settings = settings
        self._state = state
        self._planner = planner
        self._records = records
        self._checkpoints = checkpoints
        self._journal = checkpoints.journal

    def take(self, *, plain: bool, apart: bool) -> None:
        """Begin the run.

        Args:
            plain: Whether its steps may take the short way.
            apart: Whether what is stored in the end is beside nothing else.

        Raises:
            EmptyInputError: If there is neither input nor anything to continue.
            RuntimeError: If the input answers interrupts but nothing is saved,
                or does not say which of several it answers.
            UnknownInterruptError: If answers match no waiting interrupt and
                strict resuming is on.
        """
        start, planner, records, nested = self._start, self._planner, self._records, self._settings.nested
        written, source = bool(self._state.versioning.by_channel), self._checkpoints.metadata.get("source")
        course = course_of(start, self._thread, nested, written, source)
        self.resuming, self.leaves_records, self._forks = course.resuming, course.leaves_records, course.forks
        planner.resume_map, planner.before = start.resume_map, self._thread.tasks
        planner.renames = planner.ids.counts or (nested and (course.replays or source in EDITS))
        if course.replays:
            records.drop(RESUME)
        if self._journal is not None:
            self._open_journal(self._journal)
        if isinstance(start.input, Command):
            self._take_command(start.input)
        if NULL_TASK_ID in records.pending:
            planner.null_resume_for = questions.questions_meant(records.pending)
            self._apply_null_writes(records.pending[NULL_TASK_ID])
        if self.resuming:
            self._resume()
        elif not self._take_input(start.input, plain, apart) and start.resuming is None:
            raise EmptyInputError(
                f"Received no input for {self._state.program.input_channels}, and there is no run to continue: "
                "pass an input, or the config of a thread that has one"
            )
        if course.replays and not nested:
            self.replay_id = self._replay_point()

    def _open_journal(self, journal: DeltaJournal) -> None:
        journal.begin(self._records.pending, reapplies=self.resuming and not self.leaves_records)
        if self._thread.moved:
            journal.moved()

    def _replay_point(self) -> str:
        """Return the checkpoint before which subgraphs look for theirs: that of an edit or a fork has none of them."""
        checkpoints = self._checkpoints
        if self._replay_bound:
            return self._replay_bound
        if checkpoints.metadata.get("source") in EDITS and checkpoints.parent_id:
            return checkpoints.parent_id
        return str(checkpoints.checkpoint["id"])

    # -- a command -------------------------------------------------------

    def _take_command(self, command: Command[Any]) -> None:
        by_id = command.resume is not None and self._take_answers(command.resume)
        writes = [write for write in output.command_writes(command) if not (by_id and write[0] == RESUME)]
        if writes:
            self._take_command_writes(writes)
        elif not by_id:
            raise EmptyInputError("Received empty Command input")

    def _take_command_writes(self, writes: list[Write]) -> None:
        journal, records = self._journal, self._records
        if self._forks:
            # The fork's own checkpoint holds these; the one it starts from may have other children, which must not see
            # them.
            if journal is not None:
                journal.carried(writes)
            records.carry(NULL_TASK_ID, writes)
            return
        self._record(NULL_TASK_ID, writes)
        if journal is not None:
            journal.commanded(writes)

    def _record(self, task_id: str, writes: list[Write]) -> None:
        if self._journal is not None:
            self._journal.identify(writes)
        self._records.add(self._checkpoints.checkpoint["id"], task_id, writes)

    def _take_answers(self, answers: Any) -> bool:
        """Take a resume value that names interrupts by id; returns whether it does."""
        settings = self._settings
        if settings.saves == "never":
            raise RuntimeError("Cannot use Command(resume=...) without checkpointer")
        strict = settings.strict_resume and not settings.nested and not self._thread.superseded
        by_id = questions.names_interrupts(answers, self._records.pending, strict=strict)
        if by_id:
            self._planner.resume_map = answers
        return by_id

    def _apply_null_writes(self, writes: list[Write]) -> None:
        self._state.versioning.note_run(INPUT, ())  # an answer alone counts as input, too
        updated = self._state.apply((), [w for w in writes if w[0] != RESUME])
        if self.updated is not None:
            self.updated = {*self.updated, *updated}

    # -- going on --------------------------------------------------------

    def _resume(self) -> None:
        self._state.versioning.mark_all_seen(INTERRUPT)
        if self._forks:
            if self._checkpoints.metadata.get("source") in EDITS:
                self._replay_bound = self._checkpoints.parent_id
            self._records.drop(INTERRUPT)
            self._note_namespaces()
            self._checkpoints.make("fork", self.step, None)
            self.step += 1

    def _note_namespaces(self) -> None:
        """Note where the tasks ran whose ids are about to change, if the caller means a graph inside them."""
        settings, start = self._settings, self._start
        ns = settings.ns if start.ns is None else start.ns
        if start.named and travel.names_below(start.named, ns):
            self.namespaces_before = travel.namespaces_before(
                self._state,
                self._checkpoints.checkpoint,
                ns,
                settings.parent,
                self._records.pending,
                self.updated,
                self.step,
                self._planner.stop,
            )

    # -- input -----------------------------------------------------------

    def _take_input(self, value: Any, plain: bool, apart: bool) -> bool:
        """Take the caller's input in; returns whether there is any."""
        state, journal = self._state, self._journal
        channels = state.program.input_channels
        unknown: list[str] = []
        writes = output.input_writes(channels, value, unknown)
        for key in unknown:
            state.ignored[f"Input key '{key}' is ignored: the graph takes {channels}"] = None
        if not writes:
            return False
        if journal is not None:
            journal.identify(writes)
        first = plain and not state.versioning.by_channel
        self.updated = state.take_input(writes) if first else state.apply(self._dropped(), writes)
        if journal is not None:
            self._note_input(journal, writes)
        if apart and first:
            self._checkpoints.undescribed = "input"
        else:
            self._checkpoints.make("input", self.step, self.updated)
        self.step += 1
        self.took_input = True
        return True

    def _dropped(self) -> list[Task]:
        """Return the unfinished tasks, whatever step began them; their triggers count as seen."""
        if not self._state.versioning.by_channel:
            return []
        planner = self._planner
        planner.pending, planner.step = self._records.pending, self.step
        return planner.next_tasks(None)

    def _note_input(self, journal: DeltaJournal, writes: list[Write]) -> None:
        thread = self._thread
        onto = self._checkpoints.checkpoint["id"] if thread.found and not thread.addressed else None
        recorded = journal.took_input(writes, self.step, onto=onto)
        if recorded is not None:
            self._record(*recorded)
