r"""The run of a graph as a machine: told what happened, it says what to do next.

The walk of a run, by status (``moves.TRANSITIONS`` is the same as a table)::

    loading --start--> planning --next--> stepping --tell, tell, next--> planning ...
                                    \--> done | out_of_steps | draining | interrupt_before
                                            next \--> interrupt_after

Rules
-----
* The machine is pure: time, ids and the saver's version rule are arguments,
  and nothing here waits, locks or does I/O. One thread at a time may call it.
* One conversation: ``next`` answers with a directive, each outcome is told with ``tell``.
* A step of one task is planned, told and applied by a short way of the machine's own. Drivers see no difference, nor
  do listeners, and the same is stored.
* The only functions of the driver that it calls are those in ``Settings``. What the driver has to do (save, show) is
  put in ``outbox``; the driver empties it after each call.
* A move that the table does not have is refused before it changes anything.
* A fact without a listener is not recorded.
* A task's end is recorded before its step is applied; a step is applied only
  when all its tasks have ended; a checkpoint is stored only after the step it
  describes was applied. So a crash at any point loses no finished task.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import ClassVar, Final, Literal, assert_never

from stategraph.constants import ERROR, ERROR_SOURCE_NODE, INTERRUPT, NULL_TASK_ID, START
from stategraph.core import moves, plan, status
from stategraph.core.checkpoint import Checkpoint, Metadata
from stategraph.core.checkpointing import CheckpointMaker
from stategraph.core.delta_journal import DeltaJournal
from stategraph.core.effects import CheckpointReached, Effect, PausedBare, TaskSettled, TasksPlanned, ValuesChanged
from stategraph.core.moves import (
    Cached,
    Called,
    Directive,
    Drain,
    Failed,
    Finish,
    Interrupted,
    Left,
    OutOfSteps,
    Pause,
    RunTasks,
    Status,
    Told,
)
from stategraph.core.opening import Opening, take_plainly
from stategraph.core.outcomes import Outcomes
from stategraph.core.plan import Planner
from stategraph.core.program import Program
from stategraph.core.records import Records
from stategraph.core.settings import Settings, Start, Thread, Ways
from stategraph.core.state import State
from stategraph.core.state.versioning import count_up
from stategraph.core.task import Draft, IdMaker, ResumeMap, Task, Write
from stategraph.errors import IllegalMoveError, NodeError
from stategraph.types import Interrupt

_STARTED: Final = moves.follow("loading", "start", "planning")
_BEGUN: Final = moves.follow("planning", "next", "stepping")
_APPLIED: Final = moves.follow("stepping", "next", "planning")
_DONE: Final = moves.follow("planning", "next", "done")
"""What the table says of moves that every run makes, and of steps that take the short way, where a call for each move
would take a tenth of a step."""

_FINISH: Final = Finish()


class Machine:
    """One run of a program.

    Attributes:
        status: Where the run is; see ``moves.TRANSITIONS``.
        checkpoints: Those of the run.
        state: The run's channels.
        outbox: What the driver still has to do, in order.
        last_nodes: The nodes of the last step, once the run is out of steps.
        resuming: Whether the run continues an earlier one.
        leaves_records: Whether what was recorded of the open step is another run's: its tasks are not given it back.
        child_resuming: What runs inside the step's tasks are told about resuming; None once the first step is over.
        replay_id: Checkpoint before which subgraphs look for theirs when the run replays history; None otherwise.
        resume_map: Answers by interrupt id, or None.
    """

    __slots__ = (
        "_apart",
        "_ended",
        "_fresh",
        "_ids",
        "_journal",
        "_namespaces_before",
        "_open",
        "_outcomes",
        "_outputs",
        "_plain",
        "_planner",
        "_quiet",
        "_records",
        "_single",
        "_tasks",
        "_tells_ends",
        "_tells_values",
        "_torn",
        "_unrecorded",
        "_values_changed",
        "checkpoints",
        "child_resuming",
        "last_nodes",
        "leaves_records",
        "outbox",
        "program",
        "replay_id",
        "resuming",
        "settings",
        "state",
        "status",
        "step",
        "stop",
        "thread",
        "updated",
    )

    _ends: ClassVar[type[Outcomes]] = Outcomes

    def __init__(self, program: Program, thread: Thread, settings: Settings, ways: Ways | None = None) -> None:
        """Begin where a thread is.

        Args:
            program: The compiled graph.
            thread: What the run starts from.
            settings: How it is run.
            ways: What the settings come to, if it is known.
        """
        self.program = program
        self.thread = thread
        self.settings = settings
        self.status: Status = "loading"
        outbox: list[Effect] = []
        self.outbox = outbox
        self.step: int = thread.metadata["step"] + 1
        self.stop = self.step + settings.limit + 1
        # Whether it goes short ways; see `Ways`.
        if ways is None:
            ways = Ways.of(program, settings)
        self._outputs, self._quiet, self._plain, self._unrecorded, self._apart = ways
        self._tells_values, self._tells_ends, _, _ = settings.watch
        # Its parts.
        stored = not self._unrecorded
        pending: status.Pending = {} if thread.pending is None else thread.pending
        state = State(program, thread.checkpoint, settings.next_version or count_up, thread.histories, stored=stored)
        self.state = state
        ids = self._ids = IdMaker(thread.checkpoint["id"], thread.checkpoint["v"], counts=not stored)
        journal: DeltaJournal | None = None
        if settings.deltas is not None:
            journal = DeltaJournal(program, settings.deltas, at_exit=settings.saves == "exit")
        self._journal = journal
        self._records = Records(pending, outbox, program.untracked, at_once=settings.saves == "step")
        self.checkpoints = CheckpointMaker(state, thread, settings, ids, journal, outbox)
        self._outcomes: Outcomes | None = None
        self._planner = Planner(state, ids, settings.ns, settings.parent, pending, None, self.step, self.stop)
        # The step: its tasks, those of them that have not ended, and how the only task of one that takes the short way
        # ended.
        self._tasks: dict[str, Task] = {}
        self._open: set[str] = set()
        self._single: Task | None = None
        self._ended: Draft | None = None
        self._namespaces_before: dict[str, str] | None = None
        self.last_nodes: list[str] = []
        # The last one: what it changed, whether this run has applied it, so that the nodes it started need no check of
        # versions, and whether it is being applied: cut off there, channels and records are of two steps.
        self.updated: Collection[str] | None = None
        self._fresh = self._torn = False
        # The run so far.
        self._values_changed = self.resuming = self.leaves_records = False
        self.replay_id: str | None = None
        self.child_resuming: bool | None = None

    @property
    def tasks(self) -> dict[str, Task]:
        """The step's tasks by id, in the order they were planned."""
        single = self._single
        return self._tasks if single is None else {single.id: single}

    @property
    def pending(self) -> status.Pending:
        """The writes recorded in the open step, by task id."""
        return self._records.pending

    @property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint that the step follows."""
        return self.checkpoints.checkpoint

    @property
    def metadata(self) -> Metadata:
        """The metadata of that checkpoint."""
        return self.checkpoints.metadata

    @property
    def parent_id(self) -> str | None:
        """The id of the checkpoint before it, or None."""
        return self.checkpoints.parent_id

    @property
    def interrupts(self) -> list[Interrupt]:
        """The interrupts that the run's tasks have raised."""
        return [] if self._outcomes is None else self._outcomes.interrupts

    @property
    def values_seen(self) -> bool:
        """True if a reader of the values would have been shown any."""
        return self._values_changed or bool(self.interrupts)

    @property
    def resume_map(self) -> ResumeMap | None:
        """Answers by interrupt id, for this run and those inside it."""
        return self._planner.resume_map

    @property
    def outcomes(self) -> Outcomes:
        """The ends of its tasks; made for the first that does not take the short way."""
        outcomes = self._outcomes
        if outcomes is None:
            parts = self.settings, self._records, self.checkpoints, self._journal, self.outbox
            outcomes = self._outcomes = self._ends(*parts)
        return outcomes

    def _move(self, move: str, target: Status) -> None:
        self.status = moves.follow(self.status, move, target)

    # -- starting --------------------------------------------------------

    def start(self, start: Start) -> None:
        """Take the run's input, or the answers it continues with.

        Raises:
            EmptyInputError: If there is neither input nor anything to continue.
            RuntimeError: If the input answers interrupts but nothing is saved,
                or does not say which of several it answers.
            UnknownInterruptError: If answers match no waiting interrupt and
                strict resuming is on.
        """
        moves.check(self.status, "start")
        taken = None
        if self._plain:
            taken = take_plainly(start, self.step, self.thread, self.state, self._planner, self.checkpoints)
        if taken is None:
            self._open_run(start)
            self.child_resuming = start.resuming if self.settings.nested else self.resuming
        else:
            (self.updated, self.step, first), self._fresh = taken, True
            self.child_resuming = (start.resuming if self.settings.nested else False) if first else None
            if not self._outputs.isdisjoint(taken[0]):
                self._tell_values()
        self.status = _STARTED

    def _open_run(self, start: Start) -> None:
        parts = self.thread, self.settings, self.state, self._planner, self._records, self.checkpoints
        opened = Opening(start, self.step, *parts)
        opened.take(plain=self._plain, apart=self._apart)
        self.resuming, self.leaves_records = opened.resuming, opened.leaves_records
        self.step, self.updated, self._fresh = opened.step, opened.updated, opened.took_input
        self.replay_id, self._namespaces_before = opened.replay_id, opened.namespaces_before
        if self.resuming:
            self._tell_values()

    # -- the conversation ------------------------------------------------

    def next(self, drain: bool = False) -> Directive:
        """End the open step, if there is one, and plan the following one.

        Args:
            drain: Stop before running anything, if there is anything to run.

        Returns:
            What to do now; it holds until the next call. Whatever is not `RunTasks` ends the conversation.

        Raises:
            IllegalMoveError: If the run is not between two steps, or tasks of the open one have not ended.
            InvalidUpdateError: If what the step's tasks wrote cannot be applied.
            Exception: What a reducer, or the type of a node's input, refused.
        """
        single = self._ended is not None
        if (single or self.status != "planning") and self._end_step(single):
            return Pause("interrupt_after")
        # After a step that took the short way the next one may.
        short = single or (self._plain and self._fresh and not self._records.pending)
        if short and not drain and self.step <= self.stop:
            task = self._planner.single(self.updated or (), self.step)
            if task is not None:
                self._single = task
                self.status = _BEGUN
                return task
        return self._plan(drain)

    def tell(self, told: Told) -> Task | None:
        """Take in how a task ended, or that a running task called a function.

        Args:
            told: What happened.

        Returns:
            The task that this adds to the step: the called function, or the node that handles a failure. It has
            writes already if its output was recorded before.

        Raises:
            IllegalMoveError: If there is no open step, or it has no such task that has not ended.
        """
        if self._ended is not None or not isinstance(told, Draft) or told.task is not self._single:
            return self._tell(told)
        task = told.task
        task.writes, task.fresh = told.writes, told.fresh
        if self._records.at_once:
            self._records.save_single(self.checkpoints.checkpoint["id"], task)
        if self._tells_ends and not task.node.hidden:  # type: ignore[union-attr]
            # It asks nothing, as a task that ended well: there is no more to tell of it.
            self.outbox.append(told)
        self._ended = told
        return None

    def _tell(self, told: Told) -> Task | None:
        moves.check(self.status, "tell")
        single = self._single
        if isinstance(told, Called):
            self._widen()
            return self._take_call(told)
        waiting = self._open if single is None else {single.id} if self._ended is None else ()
        if told.task_id not in waiting:
            raise moves.not_open(told.task_id, waiting)
        self._widen()
        task, handler = self._tasks[told.task_id], None
        match told:
            case Draft():
                self.outcomes.take_draft(told, self._tasks)
            case Cached():
                self.outcomes.take_cached(task, told, self._tasks)
            case Interrupted():
                self.outcomes.take_questions(task, told, self._tasks)
            case Failed():
                if self.outcomes.take_failure(task, told, self._tasks):
                    handler = self._handle(task, told.error)
            case Left(_, writes, _):
                task.writes = writes
            case _:
                assert_never(told)
        self._open.discard(task.id)
        return handler

    def waits_for(self, task_id: str) -> bool:
        """Return whether the outcome of a task has not been told yet."""
        single = self._single
        if single is None:
            return task_id in self._open
        return single.id == task_id and self._ended is None

    def _widen(self) -> None:
        """Leave the short way: what follows concerns more than the end of the step's only task."""
        task = self._single
        if task is None:
            return
        self._tasks, self._open, self._single = {task.id: task}, {task.id}, None
        if self._ended is not None:
            self._open = set()
            if not self._unrecorded:
                self._records.take_single(task)
            self._ended = None

    # -- planning --------------------------------------------------------

    def _plan(self, drain: bool) -> Directive:
        """Find the next step's tasks."""
        plain = self._plain and self._fresh and self.step <= self.stop
        if plain and self.program.starts.keys().isdisjoint(self.updated or ()):
            # The last step started nothing, and no listener wants to hear how that was found out.
            self._tasks, self._single = {}, None
            self.status = _DONE
            return _FINISH
        self._widen()
        if self.step > self.stop:
            self.last_nodes = sorted({task.name for task in self._tasks.values()})
            self._prepare()
            self._move("next", "out_of_steps")
            return OutOfSteps()
        self._prepare()
        if not self._tasks:
            self._move("next", "done")
            return _FINISH
        stop = self._look_closer(drain)
        if stop is not None:
            return stop
        tasks = [task for task in self._tasks.values() if not task.writes]
        self._open = {task.id for task in tasks}
        self._move("next", "stepping")
        return tasks[0] if len(tasks) == 1 else RunTasks(tasks)

    def _look_closer(self, drain: bool) -> Pause | Drain | None:
        """Take in what is recorded of the step, see whether the run stops before it, and tell of it."""
        if self._quiet and not self._records.pending and not drain:
            return None
        if self._records.pending and not self.leaves_records:
            for task in list(self._tasks.values()):
                self._records.restore(task)
            self._restart_handlers()
        if NULL_TASK_ID in self._records.pending:
            self._planner.follow_command(self._records.pending, self._tasks.values())
        if self.settings.interrupt_before and self._breaks_at(self.settings.interrupt_before):
            self._move("next", "interrupt_before")
            return Pause("interrupt_before")
        if drain:
            self._move("next", "draining")
            return Drain()
        if self.settings.watch.planned:
            self.outbox.append(TasksPlanned(tuple(self._tasks.values())))
        for task in self._tasks.values():
            if task.writes:
                self.outcomes.tell(TaskSettled(task, task.writes, True))
        return None

    def _prepare(self) -> None:
        self._sync_planner()
        tasks = self._planner.next_tasks(self.updated, fresh=self._fresh)
        self._tasks = {task.id: task for task in tasks}
        if self._namespaces_before is not None:
            for task in tasks:
                task.ns_before = self._namespaces_before.get(task.path_key)
            self._namespaces_before = None
        if not self._quiet and self.settings.watch.checkpoints and self.settings.saves != "never":
            self.outbox.append(CheckpointReached(tuple(tasks)))

    def _sync_planner(self) -> None:
        planner = self._planner
        planner.pending, planner.step = self._records.pending, self.step

    def recorded(self, caller: Task, name: str) -> Sequence[Write]:
        """Return the writes recorded for the next task of a name that a task calls."""
        self._sync_planner()
        return () if self.leaves_records else self._planner.recorded(caller, name)

    def _restart_handlers(self) -> None:
        """Start the error handlers of tasks that failed before the run was cut off."""
        for task_id, writes in list(self._records.pending.items()):
            task = self._tasks.get(task_id)
            if task is None or not any(channel == ERROR_SOURCE_NODE for channel, _ in writes):
                continue
            error = status.of(writes).error
            if error is not None and task.node is not None and task.node.error_handler:
                task.writes.append((ERROR, error))
                self._handle(task, error)

    def _handle(self, failed: Task, error: BaseException) -> Task | None:
        """Plan the node that handles a failed task; None if the graph has no such node."""
        name = failed.node.error_handler if failed.node is not None else None
        if not name or name not in self.program.nodes:
            return None
        self._sync_planner()
        task = self._planner.handler(failed, self.program.nodes[name], NodeError(node=failed.name, error=error))
        if task is not None:
            self._add(task)
        return task

    def _take_call(self, called: Called) -> Task:
        """Plan the task for a function that a running task calls."""
        self._sync_planner()
        task = self._planner.called(*called)
        if self.settings.watch.planned:
            self.outbox.append(TasksPlanned((task,)))
        self._add(task)
        return task

    def _add(self, task: Task) -> None:
        """Add a task to the open step; it is finished already if its output was recorded."""
        self._tasks[task.id] = task
        if not self.leaves_records:
            self._records.restore(task)
        if not task.writes:
            self._open.add(task.id)

    # -- ending a step ---------------------------------------------------

    def _end_step(self, single: bool) -> bool:
        """Apply the step, tell what it changed and make its checkpoint; returns whether the run pauses after it.

        Args:
            single: Whether it took the short way.

        Raises:
            IllegalMoveError: If tasks of the step have not ended.
        """
        if not single:
            self._check_ended()
        # For those who store; see `Reader`.
        if not (self._unrecorded or (single and self._single.node.reads == START)):  # type: ignore[union-attr]
            self.state.is_read = True
        self._torn = True
        try:
            updated = self.state.apply_single(self._single) if single else self._apply()  # type: ignore[arg-type]
        except Exception:
            self._torn = False
            self._widen()
            raise
        if self._records.pending:
            self._records.clear()
        self.updated = updated
        self.leaves_records = False
        self.child_resuming = None
        if not self._outputs.isdisjoint(updated):
            self._values_changed = True
            if self._tells_values:
                self.outbox.append(ValuesChanged())
        if not self._unrecorded:
            if single and self._apart:
                self.checkpoints.undescribed = "loop"
            else:
                self.checkpoints.make("loop", self.step, updated)
        self.step += 1
        if single:
            self._ended = None
            self.status = _APPLIED
            self._torn = False
            return False
        self._fresh = True
        self._torn = False
        return self._pauses_after()

    def _check_ended(self) -> None:
        moves.check(self.status, "next")
        if self._open or self._single is not None:
            names = sorted({task.name for task in self.tasks.values() if self.waits_for(task.id)})
            raise IllegalMoveError(f"`next` is no move while tasks of the step have not ended: {', '.join(names)}")

    def _apply(self) -> Collection[str]:
        journal, records = self._journal, self._records
        if journal is not None:
            journal.applies(self._tasks)
        updated = self.state.apply(plan.in_order(tuple(self._tasks.values())))
        if journal is not None:
            journal.applied(self.step, self._tasks, records.pending)
        return updated

    def _pauses_after(self) -> bool:
        """Leave the step, and see whether the run pauses there."""
        if not (self.settings.interrupt_after and self._breaks_at(self.settings.interrupt_after)):
            self._move("next", "planning")
            return False
        if self.settings.watch.checkpoints:
            self._prepare()
        else:
            self._sync_planner()
            self._tasks = {t.id: t for t in self._planner.next_tasks(self.updated)}
        self._move("next", "interrupt_after")
        return True

    def _tell_values(self) -> None:
        self._values_changed = True
        if self._tells_values:
            self.outbox.append(ValuesChanged())

    def _breaks_at(self, names: Literal["*"] | Sequence[str]) -> bool:
        """Return whether the run should pause at one of the current tasks."""
        news = self.state.versioning.changed_since_seen_by(INTERRUPT)
        return news and any(map(partial(plan.is_named, names), self._tasks.values()))

    def pause(self, *, asks: bool) -> None:
        """Pause the run, and show what the finished tasks of the open step changed.

        Args:
            asks: Whether it waits for answers, rather than at a breakpoint.

        Raises:
            IllegalMoveError: If the run is not where it can pause.
        """
        moves.check(self.status, "pause")
        self._widen()
        if self._records.pending and any(task.writes for task in self._tasks.values()):
            self.state.is_read = True
            updated = self.state.apply(plan.in_order(tuple(self._tasks.values())))
            if not self._outputs.isdisjoint(updated):
                self._tell_values()
        if not asks:
            self.outbox.append(PausedBare())
        self._move("pause", "paused")

    # -- the end ---------------------------------------------------------

    def close(self) -> None:
        """Save what waited for the end of the run, whether it succeeded or not; a refused command has not begun one.

        If a step was cut off while it was applied, the thread stays as it was: there is no whole state to store.
        """
        if self.settings.saves != "exit" or self._torn:
            return
        self._widen()
        self.state.is_read = True  # by the tasks of a step that was begun and has not ended
        self.checkpoints.finish(self.step, self.updated)
        self._records.save_all(self.checkpoints.checkpoint["id"], self._tasks, begun=self.status != "loading")
