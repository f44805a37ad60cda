"""The beginning of a run: its input is taken in, or the answers that it continues with.

Rules
-----
* What an earlier run left undone is dropped by new input, and continued otherwise.
* A replay that continues starts a branch with a checkpoint of its own, as the one that it starts from may have others.
* A command's writes are recorded as the checkpoint's own, or, on a branch, go into its first checkpoint.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from stategraph.constants import INTERRUPT, NULL_TASK_ID, RESUME
from stategraph.core import output, starting, travel
from stategraph.core.checkpointing import CheckpointMaker
from stategraph.core.delta_book import DeltaBook
from stategraph.core.plan import Planner
from stategraph.core.records import Records
from stategraph.core.settings import Settings
from stategraph.core.starting import Course, Start, Thread
from stategraph.core.state import State
from stategraph.core.task import IdMaker, Task, Write
from stategraph.errors import EmptyInputError
from stategraph.types import Command


class Parts(NamedTuple):
    """The parts of a run that its beginning works on; see `stategraph.core.machine.Machine`."""

    thread: Thread
    settings: Settings
    state: State
    ids: IdMaker
    planner: Planner
    records: Records
    checkpoints: CheckpointMaker
    book: DeltaBook | None


class Opened(NamedTuple):
    """The state of a run that has begun.

    Attributes:
        course: What it does with its thread.
        step: The number of the next step.
        updated: The channels that the last step changed, or None if not known.
        took_input: Whether it has taken its input in.
        replay_id: Checkpoint before which subgraphs look for theirs; None if history is not replayed.
        namespaces_before: Where the tasks of a fork's first step ran before, by their paths, if the caller means a
            graph inside them.
    """

    course: Course
    step: int
    updated: Collection[str] | None
    took_input: bool
    replay_id: str | None
    namespaces_before: dict[str, str] | None


def open_run(parts: Parts, start: Start, step: int, *, plain: bool) -> Opened:
    """Begin a run.

    Args:
        parts: The run's.
        start: How it begins.
        step: The number of its first step.
        plain: Whether its steps may take the short way.

    Raises:
        EmptyInputError: If there is neither input nor anything to continue.
        RuntimeError: If the input answers interrupts but nothing is saved,
            or does not say which of several it answers.
        UnknownInterruptError: If answers match no waiting interrupt and
            strict resuming is on.
    """
    return _Opening(parts, start, step).take(plain)


class _Opening:
    """The beginning of one run, under way."""

    __slots__ = ("course", "namespaces_before", "parts", "replay_bound", "start", "step", "updated")

    def __init__(self, parts: Parts, start: Start, step: int) -> None:
        checkpoints = parts.checkpoints
        loaded = checkpoints.checkpoint.get("updated_channels")
        self.parts = parts
        self.start = start
        self.step = step
        self.updated: Collection[str] | None = set(loaded) if loaded else None
        self.course = starting.course_of(
            start,
            parts.thread,
            nested=parts.settings.nested,
            written=bool(parts.state.versions),
            source=checkpoints.metadata.get("source"),
        )
        self.namespaces_before: dict[str, str] | None = None
        self.replay_bound: str | None = None

    def take(self, plain: bool) -> Opened:
        start, course, parts = self.start, self.course, self.parts
        planner, records, nested = parts.planner, parts.records, parts.settings.nested
        planner.resume_map = start.resume_map
        planner.renames = parts.ids.counts or (nested and course.travelling)
        if course.travelling:
            records.drop(RESUME)
        if parts.book is not None:
            self._open_book(parts.book)
        if isinstance(start.input, Command):
            self._take_command(start.input)
        if NULL_TASK_ID in records.pending:
            planner.null_resume_for = starting.questions_meant(records.pending)
            self._apply_null_writes(records.pending[NULL_TASK_ID])
        took_input = not course.resuming and self._take_input(start.input, plain)
        if course.resuming:
            self._resume()
        elif not took_input and start.resuming is None:
            raise EmptyInputError(
                f"Received no input for {parts.state.program.input_channels}, and there is no run to continue: "
                "pass an input, or the config of a thread that has one"
            )
        replay_id = self._replay_point() if course.travelling and not nested else None
        return Opened(course, self.step, self.updated, took_input, replay_id, self.namespaces_before)

    def _open_book(self, book: DeltaBook) -> None:
        course = self.course
        book.begin(self.parts.records.pending, reapplies=course.resuming and not course.replaying)
        if self.parts.thread.moved:
            book.moved()

    def _replay_point(self) -> str:
        """Return the checkpoint before which subgraphs look for theirs: that of an edit or a fork has none of them."""
        checkpoints = self.parts.checkpoints
        if self.replay_bound:
            return self.replay_bound
        if checkpoints.metadata.get("source") in starting.EDITS and checkpoints.parent_id:
            return checkpoints.parent_id
        return str(checkpoints.checkpoint["id"])

    # -- a command -------------------------------------------------------

    def _take_command(self, command: Command[Any]) -> None:
        by_id = command.resume is not None and self._take_answers(command.resume)
        writes: dict[str, list[Write]] = {}
        for task_id, channel, value in output.command_writes(command):
            if not (by_id and channel == RESUME):
                writes.setdefault(task_id, []).append((channel, value))
        if not writes and not by_id:
            raise EmptyInputError("Received empty Command input")
        for task_id, task_writes in writes.items():
            self._take_command_writes(task_id, task_writes)

    def _take_command_writes(self, task_id: str, writes: list[Write]) -> None:
        book, records = self.parts.book, self.parts.records
        if self.course.forks:
            # The fork's own checkpoint holds these; the one it starts from may have other children, which must not see
            # them.
            if book is not None:
                book.carried(writes)
            records.carry(task_id, writes)
            return
        self._record(task_id, writes)
        if book is not None and task_id == NULL_TASK_ID:
            book.commanded(writes)

    def _record(self, task_id: str, writes: list[Write]) -> None:
        if self.parts.book is not None:
            self.parts.book.identify(writes)
        self.parts.records.add(self.parts.checkpoints.checkpoint["id"], task_id, writes)

    def _take_answers(self, answers: Any) -> bool:
        """Take a resume value that names interrupts by id; returns whether it does."""
        settings = self.parts.settings
        if settings.saves == "never":
            raise RuntimeError("Cannot use Command(resume=...) without checkpointer")
        strict = settings.strict_resume and not settings.nested and not self.parts.thread.superseded
        by_id = starting.names_interrupts(answers, self.parts.records.pending, strict=strict)
        if by_id:
            self.parts.planner.resume_map = answers
        return by_id

    def _apply_null_writes(self, writes: list[Write]) -> None:
        updated = self.parts.state.apply((), [w for w in writes if w[0] != RESUME])
        if self.updated is not None:
            self.updated = {*self.updated, *updated}

    # -- going on --------------------------------------------------------

    def _resume(self) -> None:
        parts = self.parts
        parts.state.versioning.mark_all_seen(INTERRUPT)
        if self.course.forks:
            if parts.checkpoints.metadata.get("source") in starting.EDITS:
                self.replay_bound = parts.checkpoints.parent_id
            parts.records.drop(INTERRUPT)
            self._note_namespaces()
            parts.checkpoints.make("fork", self.step, None)
            self.step += 1

    def _note_namespaces(self) -> None:
        """Note where the tasks ran whose ids are about to change, if the caller means a graph inside them."""
        parts, start = self.parts, self.start
        settings = parts.settings
        ns = settings.ns if start.ns is None else start.ns
        if start.named and travel.names_below(start.named, ns):
            self.namespaces_before = travel.namespaces_before(
                parts.state,
                parts.checkpoints.checkpoint,
                ns,
                settings.parent,
                parts.records.pending,
                self.updated,
                self.step,
            )

    # -- input -----------------------------------------------------------

    def _take_input(self, value: Any, plain: bool) -> bool:
        """Take the caller's input in; returns whether there is any."""
        parts = self.parts
        state, settings, book = parts.state, parts.settings, parts.book
        channels = state.program.input_channels
        unknown: list[str] = []
        writes = output.input_writes(channels, value, unknown)
        for key in unknown:
            state.ignored[f"Input key '{key}' is ignored: the graph takes {channels}"] = None
        if not writes:
            return False
        if book is not None:
            book.identify(writes)
        first = plain and not state.versions
        self.updated = state.take_input(writes) if first else state.apply(self._dropped(), writes)
        if book is not None:
            self._note_input(book, writes)
        if settings.is_apart and first:
            parts.checkpoints.undescribed = "input"
        else:
            parts.checkpoints.make("input", self.step, self.updated)
        self.step += 1
        return True

    def _dropped(self) -> list[Task]:
        """Return the unfinished tasks, whatever step began them; their triggers count as seen."""
        if not self.parts.state.versions:
            return []
        planner = self.parts.planner
        planner.pending, planner.step = self.parts.records.pending, self.step
        return planner.next_tasks(None)

    def _note_input(self, book: DeltaBook, writes: list[Write]) -> None:
        thread = self.parts.thread
        onto = self.parts.checkpoints.checkpoint["id"] if thread.found and not thread.addressed else None
        recorded = book.took_input(writes, self.step, onto=onto)
        if recorded is not None:
            self._record(*recorded)
