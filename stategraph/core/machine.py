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
* A step of one task, in a run that stores nothing before its end, is planned, told and applied by a short way of the
  machine's own. Drivers see no difference, nor do listeners.
* It never calls back. What the driver has to do (save, show) is put in
  ``outbox``; the driver empties it after each call.
* A move that the table does not have is refused before it changes anything.
* A fact nobody listens to is not recorded.
* A task's end is recorded before its step is applied; a step is applied only
  when all its tasks have ended; a checkpoint is stored only after the step it
  describes was applied. So a crash at any point loses no finished task.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final, Literal

from stategraph.constants import (
    ERROR,
    ERROR_SOURCE_NODE,
    INTERRUPT,
    MISSING,
    NS_END,
    NULL_TASK_ID,
    PREVIOUS,
    RESUME,
    TASKS,
)
from stategraph.core import checkpoint as checkpoints
from stategraph.core import moves, output, plan, starting, status, travel
from stategraph.core.delta_book import DeltaBook
from stategraph.core.effects import (
    CheckpointReached,
    Effect,
    PausedBare,
    SaveCheckpoint,
    SaveWrites,
    TaskSettled,
    TasksPlanned,
    ValuesChanged,
)
from stategraph.core.moves import (
    Cached,
    Called,
    Directive,
    Drain,
    Failed,
    Finish,
    Interrupted,
    OutOfSteps,
    Pause,
    RunTasks,
    Status,
    Told,
)
from stategraph.core.plan import Planner
from stategraph.core.program import Program
from stategraph.core.settings import Settings, takes_short_way
from stategraph.core.starting import Start, Thread
from stategraph.core.state import State, count_up
from stategraph.core.task import Draft, IdMaker, Task, Write
from stategraph.errors import EmptyInputError, IllegalMoveError, NodeError
from stategraph.types import Command

_BEGUN: Final = moves.follow("planning", "next", "stepping")
_APPLIED: Final = moves.follow("stepping", "next", "planning")
"""What the table says of steps that take the short way, where a call for each move would take a tenth of a step."""

SPENT: Final[Write] = (RESUME, None)
"""Stored in place of an answer that was given to no interrupt in particular, once a task has used it."""

_SPECIAL_SLOTS = frozenset((ERROR, INTERRUPT, RESUME, "__scheduled__"))
"""Writes that savers keep once per task; a later one replaces an earlier one."""


class Machine:
    """One run of a program.

    Attributes:
        status: Where the run is; see ``moves.TRANSITIONS``.
        state: The run's channels.
        outbox: What the driver still has to do, in order.
        last_nodes: The nodes of the last step, once the run is out of steps.
        resuming: Whether the run continues an earlier one.
        child_resuming: What runs inside the step's tasks are told about
            resuming; None once the first step is over.
        replay_id: Checkpoint before which subgraphs look for theirs when the
            run replays history; None otherwise.
        resume_map: Answers by interrupt id, or None.
    """

    __slots__ = (
        "_apart",
        "_book",
        "_ended",
        "_fresh",
        "_ids",
        "_namespaces_before",
        "_open",
        "_output_set",
        "_plain",
        "_planner",
        "_previous_versions",
        "_quiet",
        "_single",
        "_tasks",
        "_tells_ends",
        "_tells_values",
        "_torn",
        "_undescribed",
        "_unrecorded",
        "_unsaved",
        "_written",
        "checkpoint",
        "child_resuming",
        "interrupts",
        "last_nodes",
        "metadata",
        "outbox",
        "parent_id",
        "pending",
        "program",
        "replay_id",
        "replaying",
        "resuming",
        "settings",
        "state",
        "status",
        "step",
        "stop",
        "stored_id",
        "thread",
        "updated",
        "values_seen",
    )

    def __init__(self, program: Program, thread: Thread, settings: Settings) -> None:
        """Begin where a thread is."""
        self.program = program
        self.thread = thread
        self.settings = settings
        self.checkpoint = thread.checkpoint
        self.metadata = thread.metadata
        self.parent_id = thread.parent_id
        self.stored_id = thread.stored_id
        self.pending: status.Pending = {} if thread.pending is None else thread.pending
        self.state = State(program, self.checkpoint, settings.next_version or count_up, thread.histories)
        # In a namespace that the checkpoint does not come from, no value is stored yet.
        self._previous_versions = {} if thread.moved else dict(self.state.versions)
        self._namespaces_before: dict[str, str] | None = None
        self.step: int = thread.metadata["step"] + 1
        self.stop = self.step + settings.limit + 1
        self._tasks: dict[str, Task] = {}
        # The tasks of the open step that have not ended.
        self._open: set[str] = set()
        # The only task of a step that takes the short way, and how it ended.
        self._single: Task | None = None
        self._ended: Draft | None = None
        self.outbox: list[Effect] = []
        self.interrupts: list[Any] = []
        self.last_nodes: list[str] = []
        self.updated: Collection[str] | None = None
        self.values_seen = False
        self.resuming = False
        self.replaying = False
        self.replay_id: str | None = None
        self.child_resuming: bool | None = None
        self.status: Status = "loading"
        # Whether `updated` stems from a step this run applied, so that the nodes
        # it triggers need no check of versions.
        self._fresh = False
        # Whether a checkpoint waits for the end of the run to be stored.
        self._unsaved = False
        # Whether an exception that no node raised has cut off the application of a step: half of it is no state.
        self._torn = False
        # What ended last, if nothing but `step` tells of it: a step that took the short way, or the input, of a run
        # apart.
        self._undescribed: Literal["loop", "input"] | None = None
        self._written: set[str] = set()
        # Whether planning needs to look at nothing but the tasks themselves.
        watch = settings.watch
        self._quiet = not (settings.interrupt_before or settings.deltas or program.due) and takes_short_way(watch)
        self._tells_ends = watch.settled or watch.updates
        # Whether the only task of a step need not be recorded: nothing can cut in before its step is applied.
        self._unrecorded = settings.saves == "never"
        # Whether what is stored in the end, if anything, is beside nothing else: nobody but this run's task knows its
        # namespace. Then steps need no ids of their own by which checkpoints would be told apart, or sorted.
        self._apart = settings.saves == "exit" and settings.nested and NS_END in settings.ns
        self._plain = self._quiet and settings.saves != "step" and not settings.interrupt_after
        self._tells_values = watch.values
        self._book: DeltaBook | None = None
        if settings.deltas is not None:
            self._book = DeltaBook(program, settings.deltas, at_exit=settings.saves == "exit")
        keys = settings.output_keys
        self._output_set = frozenset((keys,) if isinstance(keys, str) else keys)
        self._ids = IdMaker(self.checkpoint["id"], self.checkpoint["v"], counts=settings.saves == "never")
        self._planner = Planner(
            self.state,
            self._ids,
            settings.ns,
            settings.parent,
            self.pending,
            None,
            self.step,
            self.stop,
        )

    @property
    def tasks(self) -> dict[str, Task]:
        """The step's tasks by id, in the order they were planned."""
        single = self._single
        return self._tasks if single is None else {single.id: single}

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
        command = start.input if isinstance(start.input, Command) else None
        loaded = self.checkpoint.get("updated_channels")
        self.updated = set(loaded) if loaded else None
        nested, addressed = self.settings.nested, self.thread.addressed
        self.resuming = bool(self.state.versions) and starting.is_resuming(start, nested=nested)
        travelling = starting.is_travelling(start, addressed=addressed, nested=nested)
        self.replaying = travelling or self.thread.superseded
        self._planner.resume_map = start.resume_map
        self._planner.renames = self._ids.counts or (nested and travelling)
        if travelling:
            self._drop_pending(RESUME)
        forks = (
            self.resuming
            and travelling
            and (self.metadata.get("source") not in ("update", "fork") or self.thread.superseded)
        )
        if self._book is not None:
            self._book.begin(self.pending, reapplies=self.resuming and not self.replaying)
            if self.thread.moved:
                self._book.moved()
        if command is not None:
            self._take_command(command, forks)
        if NULL_TASK_ID in self.pending:
            self._planner.null_resume_for = starting.questions_meant(self.pending)
        self._apply_null_writes()
        replay_bound = None
        if self.resuming:
            self.state.mark_all_seen(INTERRUPT)
            if forks:
                if self.metadata.get("source") in ("update", "fork"):
                    replay_bound = self.parent_id
                self._drop_pending(INTERRUPT)
                self._remember_namespaces(start)
                self._make_checkpoint({"source": "fork"})
            self._values_changed()
        elif not self._take_input(start.input) and start.resuming is None:
            raise EmptyInputError(
                f"Received no input for {self.program.input_channels}, and there is no run to continue: pass an input, "
                "or the config of a thread that has one"
            )
        self.child_resuming = start.resuming if self.settings.nested else self.resuming
        if travelling and not self.settings.nested:
            self.replay_id = replay_bound or self._replay_point()
        self._move("start", "planning")

    def _remember_namespaces(self, start: Start) -> None:
        """Note where the tasks ran whose ids are about to change, if the caller means a graph inside them."""
        ns = self.settings.ns if start.ns is None else start.ns
        if start.named and travel.names_below(start.named, ns):
            self._namespaces_before = travel.namespaces_before(
                self.state, self.checkpoint, ns, self.settings.parent, self.pending, self.updated, self.step
            )

    def _replay_point(self) -> str:
        if self.metadata.get("source") in ("update", "fork") and self.parent_id:
            return self.parent_id
        return str(self.checkpoint["id"])

    def _drop_pending(self, channel: str) -> None:
        for task_id in list(self.pending):
            kept = [w for w in self.pending[task_id] if w[0] != channel]
            if kept:
                self.pending[task_id] = kept
            else:
                del self.pending[task_id]

    def _take_command(self, command: Command[Any], forks: bool) -> None:
        by_id = command.resume is not None and self._take_answers(command.resume)
        writes: dict[str, list[Write]] = {}
        for task_id, channel, value in output.command_writes(command):
            if not (by_id and channel == RESUME):
                writes.setdefault(task_id, []).append((channel, value))
        if not writes and not by_id:
            raise EmptyInputError("Received empty Command input")
        for task_id, task_writes in writes.items():
            if forks:
                # The fork's own checkpoint holds these; the one it starts from may
                # have other children, which must not see them.
                if self._book is not None:
                    self._book.carried(task_writes)
                self.pending.setdefault(task_id, []).extend(task_writes)
            else:
                self.record(task_id, task_writes)
                if self._book is not None and task_id == NULL_TASK_ID:
                    self._book.commanded(task_writes)

    def _take_answers(self, answers: Any) -> bool:
        """Take a resume value that names interrupts by id; returns whether it does."""
        settings = self.settings
        if settings.saves == "never":
            raise RuntimeError("Cannot use Command(resume=...) without checkpointer")
        strict = settings.strict_resume and not settings.nested and not self.thread.superseded
        by_id = starting.names_interrupts(answers, self.pending, strict=strict)
        if by_id:
            self._planner.resume_map = answers
        return by_id

    @property
    def resume_map(self) -> dict[str, Any] | None:
        """Answers by interrupt id, for this run and those inside it."""
        return self._planner.resume_map

    def _apply_null_writes(self) -> None:
        writes = self.pending.get(NULL_TASK_ID)
        if writes:
            updated = self.state.apply((), [w for w in writes if w[0] != RESUME])
            if self.updated is not None:
                self.updated = {*self.updated, *updated}

    def _take_input(self, value: Any) -> bool:
        unknown: list[str] = []
        writes = output.input_writes(self.program.input_channels, value, unknown)
        for key in unknown:
            self.state.ignored[f"Input key '{key}' is ignored: the graph takes {self.program.input_channels}"] = None
        if not writes:
            return False
        if self._book is not None:
            self._book.identify(writes)
        # Unfinished tasks are dropped, whatever step began them; their triggers count as seen.
        dropped: list[Task] = []
        if self.state.versions:
            self._sync_planner()
            dropped = self._planner.next_tasks(None)
        first = self._plain and not self.state.versions
        self.updated = self.state.take_input(writes) if first else self.state.apply(dropped, writes)
        self._fresh = True
        if self._book is not None:
            latest = self.thread.found and not self.thread.addressed
            onto = self.checkpoint["id"] if latest else None
            recorded = self._book.took_input(writes, self.step, onto=onto)
            if recorded is not None:
                self.record(*recorded)
        if self._apart and first:
            self._undescribed = "input"
            self.step += 1
        else:
            self._make_checkpoint({"source": "input"})
        return True

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
        if self._ended is not None:
            self._end_single()
        elif self.status != "planning" and self._end_step():
            return Pause("interrupt_after")
        updated = self.updated
        if self._plain and self._fresh and not (self.pending or drain or updated is None or self.step > self.stop):
            task = self._planner.lone(updated, self.step)
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
        task = self._single
        if task is None or self._ended is not None or not isinstance(told, Draft) or told.task is not task:
            return self._tell(told)
        task.writes, task.fresh = told.writes, told.fresh
        if self._tells_ends:
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
                task.writes, task.fresh = told.writes, told.fresh
                self._take_end(task)
            case Cached(_, writes):
                task.writes = writes
                self._record_task(task, writes, cached=True)
            case Interrupted(_, writes, _, interrupts):
                task.writes = writes
                if interrupts:
                    asked: list[Write] = [(INTERRUPT, interrupts)]
                    asked.extend(w for w in writes if w[0] == RESUME)
                    self.record(task.id, asked, task)
            case Failed(_, writes, error):
                handler = self._take_failure(task, writes, error)
            case _:
                task.writes = told.writes
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
            if not self._unrecorded:  # to be stored at the end
                self._written.add(task.id)
                self.pending = {task.id: list(task.writes)}
            self._ended = None

    # -- planning --------------------------------------------------------

    def _plan(self, drain: bool) -> Directive:
        """Find the next step's tasks."""
        self._widen()
        if self.step > self.stop:
            self.last_nodes = sorted({task.name for task in self._tasks.values()})
            self._prepare()
            self._move("next", "out_of_steps")
            return OutOfSteps()
        if self._plain and self._fresh and self.program.starts.keys().isdisjoint(self.updated or ()):
            # The last step started nothing, and nobody wants to hear how that was found out.
            self._tasks = {}
            self._move("next", "done")
            return Finish()
        self._prepare()
        if not self._tasks:
            self._move("next", "done")
            return Finish()
        stop = self._look_closer(drain)
        if stop is not None:
            return stop
        tasks = [task for task in self._tasks.values() if not task.writes]
        self._open = {task.id for task in tasks}
        self._move("next", "stepping")
        return tasks[0] if len(tasks) == 1 else RunTasks(tasks)

    def _look_closer(self, drain: bool) -> Pause | Drain | None:
        """Take in what is recorded of the step, see whether the run stops before it, and tell of it."""
        if self._quiet and not self.pending and not drain:
            return None
        if self.pending and not self.replaying:
            for task in list(self._tasks.values()):
                self._restore(task)
            self._restart_handlers()
        if NULL_TASK_ID in self.pending:
            self._follow_command()
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
                self._settled(task, task.writes, True)
        return None

    def _follow_command(self) -> None:
        """Let the tasks that a command sent have the answer that came with it, if they replaced the one that asked."""
        if not self._planner.null_resume_for or all(channel != TASKS for channel, _ in self.pending[NULL_TASK_ID]):
            return
        if any(status.of(self.pending.get(task_id, ())).waiting for task_id in self._tasks):
            return
        self._planner.null_resume_for = None
        for task in self._tasks.values():
            task.null_resume_for = None

    def _prepare(self) -> None:
        planner = self._planner
        planner.pending, planner.step = self.pending, self.step
        tasks = planner.next_tasks(self.updated, fresh=self._fresh)
        self._tasks = {task.id: task for task in tasks}
        if self._namespaces_before is not None:
            for task in tasks:
                task.ns_before = self._namespaces_before.get(task.path_key)
            self._namespaces_before = None
        if not self._quiet and self.settings.watch.checkpoints and self.settings.saves != "never":
            self.outbox.append(CheckpointReached(tuple(tasks)))

    def _sync_planner(self) -> None:
        planner = self._planner
        planner.pending, planner.step = self.pending, self.step

    def _restore(self, task: Task) -> None:
        """Give a task back the output recorded for it, so that it does not run again."""
        recorded = self.pending.get(task.id)
        if recorded:
            task.writes.extend(status.of(recorded).output)

    def _restart_handlers(self) -> None:
        """Start the error handlers of tasks that failed before the run was cut off."""
        for task_id, writes in list(self.pending.items()):
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
        if not self.replaying:
            self._restore(task)
        if not task.writes:
            self._open.add(task.id)

    # -- outcomes --------------------------------------------------------

    def _take_end(self, task: Task) -> None:
        writes = task.writes
        status.complete(writes)
        if self._unrecorded and self._quiet and len(self._tasks) == 1 and task.call is None:
            if self._tells_ends:
                self._settled(task, writes, False)
            return
        self._record_task(task, writes, cached=False)

    def _take_failure(self, task: Task, writes: list[Write], error: BaseException) -> Task | None:
        """Record a failure; returns the task that handles it, if a node does."""
        handled = task.node is not None and bool(task.node.error_handler) and isinstance(error, Exception)
        if handled:
            task.writes = [*writes, (ERROR, error), (ERROR_SOURCE_NODE, task.name)]
        else:
            task.writes = status.after_failure(writes, error, task.own_answers)
        self.record(task.id, task.writes, task)
        return self._handle(task, error) if handled else None

    def _record_task(self, task: Task, writes: list[Write], *, cached: bool) -> None:
        if self._unrecorded and len(self._tasks) == 1 and not task.is_call:
            if self._book is not None:
                self._book.identify(writes, task)
            self._settled(task, writes, cached)
        else:
            self.record(task.id, writes, task, cached=cached)

    def record(self, task_id: str, writes: list[Write], task: Task | None = None, *, cached: bool = False) -> None:
        """Record writes of the open step and ask for them to be saved.

        Args:
            task_id: Whose writes; the null id for a command's.
            writes: The writes, at least one.
            task: The task, if it is one of this step's.
            cached: Whether they were not produced by running.
        """
        if task is not None and task.took_null_resume:
            self._spend_answer(task, writes)
        self._written.add(task_id)
        if self._book is not None:
            self._book.identify(writes, task)
        if all(channel in _SPECIAL_SLOTS for channel, _ in writes):
            writes = list({channel: (channel, value) for channel, value in writes}.values())
        before = self.pending.pop(task_id, [])
        if task_id == NULL_TASK_ID:
            # Savers number regular writes by position, so the special ones, which a
            # later command replaces, go last.
            before = [w for w in before if w[0] not in _SPECIAL_SLOTS]
            writes = before + sorted(writes, key=lambda w: w[0] in _SPECIAL_SLOTS)
        self.pending[task_id] = list(writes)
        if self.settings.saves == "step":
            self.outbox.append(
                SaveWrites(
                    self.checkpoint["id"],
                    task_id,
                    status.storable(writes, self.program.untracked),
                    task.path_key if task is not None else "",
                )
            )
        if task is not None:
            self._settled(task, writes, cached)

    def _spend_answer(self, task: Task, writes: Sequence[Write]) -> None:
        """Store that the answer without an id is used up, before what its task did with it.

        In the other order a crash between the two would leave an answer that the next question gets as well. A task
        that failed gets it again when it is tried again.
        """
        channel = writes[0][0]
        if channel == ERROR:
            return
        task.took_null_resume = False
        if channel != INTERRUPT and all(other.writes for other in self._tasks.values()):
            return  # The step's checkpoint follows, and takes no answers over.
        if self.settings.saves == "step":
            self.outbox.append(SaveWrites(self.checkpoint["id"], NULL_TASK_ID, [SPENT], ""))
        else:
            self._written.add(NULL_TASK_ID)
            self.pending.setdefault(NULL_TASK_ID, []).append(SPENT)

    def _settled(self, task: Task, writes: Sequence[Write], cached: bool) -> None:
        if task.node is not None and task.node.hidden:
            return
        first = writes[0][0]
        if first == INTERRUPT:
            if task.is_call:
                return
            self.interrupts.extend(output.interrupts_in(writes))
            self.values_seen = True
        if self._tells_ends:
            # Past the constructor of a named tuple, which takes twice as long as this.
            self.outbox.append(tuple.__new__(TaskSettled, (task, writes, cached)))

    # -- ending a step ---------------------------------------------------

    def _end_single(self) -> None:
        """Apply the step of a task that took the short way."""
        task = self._single
        assert task is not None
        try:
            self.updated = updated = self.state.apply_lone(task)
        except Exception:
            self._widen()
            raise
        except BaseException:
            self._torn = True
            raise
        self.child_resuming = None
        if not self._output_set.isdisjoint(updated):
            self.values_seen = True
            if self._tells_values:
                self.outbox.append(ValuesChanged())
        self.replaying = False
        if self._unrecorded:
            self.step += 1
        elif self._apart:
            self._undescribed = "loop"
            self.step += 1
        else:
            self._make_checkpoint({"source": "loop"})
        self._ended = None
        self.status = _APPLIED

    def _end_step(self) -> bool:
        """Apply the step, if every task of it has ended; returns whether the run pauses after it."""
        moves.check(self.status, "next")
        if self._open or self._single is not None:
            names = sorted({task.name for task in self.tasks.values() if self.waits_for(task.id)})
            raise IllegalMoveError(f"`next` is no move while tasks of the step have not ended: {', '.join(names)}")
        try:
            self._apply_step()
        except Exception:
            raise
        except BaseException:
            self._torn = True
            raise
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

    def _apply_step(self) -> None:
        book = self._book
        if book is not None:
            book.applies(self._tasks)
        self.updated = updated = self.state.apply(self._in_order())
        if book is not None:
            book.applied(self.step, self._tasks, self.pending)
        self._fresh = True
        self.child_resuming = None
        if not self._output_set.isdisjoint(updated):
            self._values_changed()
        if self.pending:
            self.pending = {}
        self.replaying = False
        if self._unrecorded:
            self.step += 1
        else:
            self._make_checkpoint({"source": "loop"})

    def _in_order(self) -> Sequence[Task]:
        return plan.in_order(tuple(self._tasks.values()))

    def _output_updated(self, updated: Iterable[str]) -> None:
        if not self._output_set.isdisjoint(updated):
            self._values_changed()

    def _values_changed(self) -> None:
        self.values_seen = True
        if self.settings.watch.values:
            self.outbox.append(ValuesChanged())

    def _breaks_at(self, names: Literal["*"] | Sequence[str]) -> bool:
        """Whether the run should pause at one of the current tasks."""
        if not self.state.changed_since_seen_by(INTERRUPT):
            return False
        tasks = self._tasks.values()
        if names == "*":
            return any(t.node is None or not t.node.hidden for t in tasks)
        return any(t.name in names for t in tasks)

    def pause(self, *, asks: bool) -> None:
        """The run pauses: show what the finished tasks of the open step changed.

        Args:
            asks: Whether it waits for answers, rather than at a breakpoint.

        Raises:
            IllegalMoveError: If the run is not where it can pause.
        """
        moves.check(self.status, "pause")
        self._widen()
        if self.pending and any(task.writes for task in self._tasks.values()):
            self._output_updated(self.state.apply(self._in_order()))
        if not asks:
            self.outbox.append(PausedBare())
        self._move("pause", "paused")

    # -- checkpoints -----------------------------------------------------

    def _make_checkpoint(self, metadata: dict[str, Any]) -> None:
        settings = self.settings
        metadata["step"] = self.step
        metadata["parents"] = settings.parents
        if self._book is not None:
            # A fork is made before anything is updated.
            updated = () if metadata["source"] == "fork" else self.updated or ()
            self._book.count(self.metadata, metadata, updated)
        self.metadata, self._undescribed = metadata, None
        if settings.saves == "never":
            self.step += 1
            return
        if settings.saves == "step":
            self._store(settings.new_id(self.step), None if metadata["source"] == "fork" else self.updated)
        else:
            self.checkpoint = {**self.checkpoint, "id": settings.new_id(self.step)}
            self._unsaved = True
        self._ids.anchor(self.checkpoint["id"], checkpoints.FORMAT_VERSION)
        self.step += 1

    def _store(self, checkpoint_id: str, updated: Iterable[str] | None) -> None:
        """Freeze the channels under a new id and ask for the result to be saved.

        Args:
            checkpoint_id: The new id.
            updated: The channels that the checkpoint's step changed; None if it
                stands for no step.
        """
        values = self.state.freeze()
        if self._book is not None:
            values |= self._book.snapshots(self.state, self.metadata, self._previous_versions)
        if self.program.untracked and TASKS in values:
            values[TASKS] = [status.tracked(packet, self.program.untracked) for packet in values[TASKS]]
        self.checkpoint = {
            "v": checkpoints.FORMAT_VERSION,
            "ts": self.settings.now(),
            "id": checkpoint_id,
            "channel_values": values,
            "channel_versions": self.state.versions,
            "versions_seen": self.state.seen,
            "updated_channels": None if updated is None else sorted(updated),
        }
        versions = dict(self.state.versions)
        self.outbox.append(
            SaveCheckpoint(
                self.stored_id,
                checkpoints.detached(self.checkpoint),
                self.metadata,
                checkpoints.newer_versions(self._previous_versions, versions),
            )
        )
        self._previous_versions = versions
        self.parent_id = self.stored_id
        self.stored_id = checkpoint_id

    def close(self) -> None:
        """Save what waited for the end of the run, whether it succeeded or not; a refused command has not begun one.

        If a step was cut off while it was applied, the thread stays as it was: there is no whole state to store.
        """
        if self.settings.saves != "exit" or self._torn:
            return
        self._widen()
        if self._undescribed is not None:
            settings = self.settings
            self.metadata = {"source": self._undescribed, "step": self.step - 1, "parents": settings.parents}
            self._unsaved = True
        if self._unsaved:
            if self._book is not None:
                self._save_kept(self._book)
            self._store(self.checkpoint["id"], self.updated)
        for task_id, writes in self.pending.items():
            if task_id in self._written and (task_id != NULL_TASK_ID or self.status != "loading"):
                task = self._tasks.get(task_id)
                self.outbox.append(
                    SaveWrites(
                        self.checkpoint["id"],
                        task_id,
                        status.storable(writes, self.program.untracked),
                        task.path_key if task is not None else "",
                    )
                )

    def _save_kept(self, book: DeltaBook) -> None:
        """Ask for the writes of all steps to be saved on the checkpoint the run started from."""
        thread = self.thread
        kept = book.kept(self.state, self.metadata, built_on=thread.found and thread.addressed)
        if kept and not thread.found:
            root = checkpoints.empty(thread.checkpoint["id"], self.settings.now())
            self.outbox.append(SaveCheckpoint(None, root, {"step": -2}, {}))
            self.stored_id = root["id"]
        for task_id, path, writes in kept:
            assert self.stored_id is not None
            self.outbox.append(SaveWrites(self.stored_id, task_id, writes, path))

    def previous(self) -> Any:
        """The value an entrypoint saved for its next run, or None."""
        channels = self.state.channels
        if PREVIOUS not in self.program.specs or not channels.has_value(PREVIOUS):
            return None
        channel = channels[PREVIOUS]
        value = channel.checkpoint()
        return None if value is MISSING else value
