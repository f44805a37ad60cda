"""Planning: which tasks come next.

Rules
-----
* Pending ``Send`` packets first, in their order; then, sorted by name, every
  node that a channel newer than the node has seen starts.
* If the channels updated by the last step are known, only the nodes they
  trigger are looked at.
* Nodes of a step that read the same channels the same way share one read; each
  gets a shallow copy.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, Final, Literal

from stategraph.constants import ERROR_SOURCE_NODE, MISSING, NS_END, NS_SEP, NULL_TASK_ID, PULL, PUSH, TASKS
from stategraph.core import explain, status
from stategraph.core.program import Mapper, Node
from stategraph.core.state import State
from stategraph.core.status import Pending
from stategraph.core.task import Call, IdMaker, Path, ResumeMap, Task, Write, path_key
from stategraph.core.views import Keys
from stategraph.errors import NodeError
from stategraph.types import Send

PUSH_TRIGGER = (PUSH,)

_PLANNED: Final = 3
"""The longest path of a task that a step was planned with; that of a call or a handler is longer."""

_new_task = object.__new__

Inputs = dict[tuple[Mapper | None, Keys | str], Any]
"""What nodes of one step have read, by what they read and how it is mapped."""

_NOT_TOLD: Any = ()
"""The writes of a task that has not ended; a list for each takes as long as a tenth of planning it."""


@dataclass(slots=True)
class Planner:
    """Makes the tasks of one run.

    Attributes:
        state: The run's channels.
        ids: Makes task ids.
        ns: Namespace of the run's graph within its thread; "" for the root.
        parent: The task whose node the run is, or None for a root run.
        pending: Recorded writes of the open step, by task id.
        resume_map: Answers by interrupt id, or None.
        step: Number of the step being planned.
        stop: The last step's number allowed by the recursion limit.
        null_resume_for: Ids of the questions that an answer without an id may
            be given to; None for any.
        renames: Whether the tasks' questions have other ids than in the run before.
        before: By the id of a task, the id and the namespace that it had under an earlier version of the graph; None
            if all have their own.
    """

    state: State
    ids: IdMaker
    ns: str
    parent: Task | None
    pending: Pending
    resume_map: ResumeMap | None
    step: int
    stop: int
    null_resume_for: frozenset[str] | None = None
    renames: bool = False
    before: Mapping[str, tuple[str, str]] | None = None

    def next_tasks(self, updated: Iterable[str] | None, *, fresh: bool = False) -> list[Task]:
        """Plan the tasks of the next step, in the order they are started.

        Args:
            updated: Channels updated by the last step, or None if not known.
            fresh: True when ``updated`` was just returned by applying a step,
                so that a node it triggers need not be checked again.
        """
        state = self.state
        program = state.program
        # A step that sent no packets leaves none.
        tasks = [] if fresh and updated is not None and TASKS not in updated else self._packets()
        candidates: Collection[str]
        if updated:
            candidates = _triggered(program.triggers, updated)
        elif fresh and updated is not None:
            # A step that changed nothing is the occasion of those that are due without a write.
            candidates, fresh = program.due, False
        elif state.versions:
            candidates, fresh = program.nodes.keys(), False
        else:
            candidates = ()
        # Only tasks of the same step share reads.
        inputs: Inputs | None = None if len(candidates) < 2 else {}
        for name in candidates:
            node = program.nodes[name]
            if fresh or state.triggers(node):
                task = self._pull(node, inputs)
                if task is not None:
                    tasks.append(task)
        if self.before:
            for task in tasks:
                self._keep_place(task, self.before)
        return tasks

    def _keep_place(self, task: Task, before: Mapping[str, tuple[str, str]]) -> None:
        """Give a task the id and namespace under which an earlier version of the graph has begun it."""
        if task.id in before:
            task.id, task.ns = before[task.id]
            task.resume = []
            if self.pending:
                task.load_answers(self.pending, self.resume_map, self.null_resume_for)

    def single(self, updated: Iterable[str], step: int) -> Task | None:
        """Plan the next step's task, if one node is all that the last step started.

        The short way for the commonest step; None tells nothing, ask
        :meth:`next_tasks`. Only where nothing is pending.

        Args:
            updated: Channels updated by the last step of this run.
            step: The next step's number.
        """
        starts = self.state.program.starts
        node: Node | None = None
        for channel in updated:
            if channel in starts:
                if node is not None:
                    return None
                node = starts[channel]
                if node is None:
                    return None
        if node is None:
            return None
        task = self._started(node, step)
        value = task.input = self.state.node_input(node, task)
        return None if value is MISSING else task

    def _started(self, node: Node, step: int) -> Task:
        """Make the task of a node that a channel starts."""
        # Without the constructor, whose call takes as long as all of this.
        task = _new_task(Task)
        name, ids = node.name, self.ids
        ns = f"{self.ns}{NS_SEP}{name}" if self.ns else name
        task.id = task_id = f"{ids.prefix}{next(ids.number)}" if ids.counts else ids.make(f"{ns}{step}{node.id_part}")
        task.ns = f"{ns}{NS_END}{task_id}"
        task.name = name
        task.node = node
        task.path = node.path
        task._path_key = node.path_key
        task.triggers = node.triggers
        task.parent_ns = self.ns
        task.step = step
        task.stop = self.stop
        task.body = node.body
        task.writes = _NOT_TOLD
        task.resume = []
        task.call = task.config = task.fresh = task.timeout = None
        if self.parent is not None:
            task.parent = self.parent
            task.renamed = self.renames
        return task

    def _packets(self) -> list[Task]:
        channels = self.state.channels
        if TASKS not in self.state.program.specs or not channels.may_hold_value(TASKS):
            return []
        channel = channels[TASKS]
        if not channel.is_available():
            return []
        tasks = []
        for index, packet in enumerate(channel.get()):
            task = self._packet(index, packet, self.step)
            if task is not None:
                tasks.append(task)
        return tasks

    def _packet(self, index: int, packet: object, step: int, key: str = "") -> Task | None:
        if not isinstance(packet, Send):
            self.state.ignored[f"A packet of type {type(packet).__name__} is ignored: expected a Send"] = None
            return None
        node = self.state.program.nodes.get(packet.node)
        if node is None:
            there = explain.what_there_is(str(packet.node), tuple(self.state.program.nodes))
            note = f"A Send to '{packet.node}' is ignored: the graph has no node of that name. {there}"
            self.state.ignored[note] = None
            return None
        if not node.runs:
            return None
        ns = self._child_ns(self.ns, node.name)
        task_id = self.ids.make(f"{ns}{step}{node.name}{PUSH}{index}{key}")
        task = self._task(task_id, node.name, node, (PUSH, index, False), PUSH_TRIGGER, ns)
        task.input = packet.arg
        task.timeout = packet.timeout
        return task

    def _pull(self, node: Node, inputs: Inputs | None) -> Task | None:
        task = self._started(node, self.step)
        task.writes = []
        if self.pending:
            task.load_answers(self.pending, self.resume_map, self.null_resume_for)
        task.input = self.state.node_input(node, task) if inputs is None else self._input(node, task, inputs)
        if task.input is MISSING or not node.runs:
            return None
        return task

    def started(self, node: Node, step: int, key: str, state: State) -> Task | None:
        """Plan the task of a node that edges start while other tasks of the step run; None if it runs nothing.

        Args:
            node: The node.
            step: The number of the superstep that the task would be in.
            key: What tells it from others of that node and number.
            state: The channels as it sees them.
        """
        task = self._started(node, step)
        ns = self._child_ns(self.ns, node.name)
        task.id = self.ids.make(f"{ns}{step}{node.id_part}{key}")
        task.ns = f"{ns}{NS_END}{task.id}"
        task.writes = []
        if self.pending:
            task.load_answers(self.pending, self.resume_map, self.null_resume_for)
        task.input = state.node_input(node, task)
        return None if task.input is MISSING or not node.runs else task

    def sent(self, packet: object, index: int, step: int, key: str) -> Task | None:
        """Plan the task of a packet that is sent while other tasks of the step run; None if it runs nothing.

        Args:
            packet: The packet.
            index: Its number among those of its sender.
            step: The number of the superstep that the task would be in.
            key: What tells it from the packets of other senders.
        """
        task = self._packet(index, packet, step, key)
        if task is not None:
            task.step = step
        return task

    def _input(self, node: Node, task: Task, inputs: Inputs) -> Any:
        key = (node.mapper, node.reads)
        if key in inputs:
            return copy(inputs[key])
        value = self.state.node_input(node, task)
        if value is not MISSING:
            inputs[key] = value
        return value

    def called(self, caller: Task, index: int, call: Call) -> Task:
        """Plan the task for a function that ``caller`` calls.

        Args:
            caller: The running task.
            index: The call's number among the caller's calls.
            call: What to run.
        """
        ns = self._child_ns(caller.ns, call.name)
        path = (PUSH, caller.path, index, True)
        task = self._task(self._call_id(caller, index, call.name), call.name, None, path, PUSH_TRIGGER, ns, caller)
        task.parent_ns = caller.ns
        task.call = call
        task.body = call.body
        task.input = call.input
        task.timeout = call.timeout
        return task

    def recorded(self, caller: Task, name: str) -> Sequence[Write]:
        """Return what is recorded of the next task that ``caller`` calls, if that has a name; nothing is planned."""
        return self.pending.get(self._call_id(caller, caller.calls_made, name), ())

    def _call_id(self, caller: Task, index: int, name: str) -> str:
        ns = self._child_ns(caller.ns, name)
        return self.ids.make(f"{ns}{self.step}{name}{PUSH}{path_key(caller.path)}{index}")

    def handler(self, failed: Task, node: Node, error: NodeError) -> Task | None:
        """Plan the task that handles another one's failure; None if it runs nothing."""
        if not node.runs:
            return None
        ns = self._child_ns(failed.ns, node.name)
        task_id = self.ids.make(f"{ns}{self.step}{node.name}{PUSH}node_error_handler{failed.id}")
        path = (*failed.path[:3], "node_error_handler", False)
        task = self._task(task_id, node.name, node, path, PUSH_TRIGGER, ns, failed)
        task.parent_ns = failed.ns
        task.input = failed.input
        task.error = error
        return task

    def recorded_handler(self, failed: Task, writes: Sequence[Write]) -> Task | None:
        """Plan the task that handles a failure which is recorded; None if there is none, or no node for it."""
        name = failed.node.error_handler if failed.node is not None else None
        if not name or not any(channel == ERROR_SOURCE_NODE for channel, _ in writes):
            return None
        error, node = status.of(writes).error, self.state.program.nodes.get(name)
        if error is None or node is None:
            return None
        return self.handler(failed, node, NodeError(node=failed.name, error=error))

    def _task(
        self,
        task_id: str,
        name: str,
        node: Node | None,
        path: Path,
        triggers: tuple[str, ...],
        ns: str,
        parent: Task | None = None,
    ) -> Task:
        task = Task(task_id, name, node, path, triggers, f"{ns}{NS_END}{task_id}", self.step, self.stop)
        task.parent_ns = self.ns
        task.parent = parent or self.parent
        task.renamed = self.renames
        if self.pending:
            task.load_answers(self.pending, self.resume_map, self.null_resume_for)
        return task

    def follow_command(self, pending: Pending, tasks: Collection[Task]) -> None:
        """Let the tasks that a command sent have the answer that came with it, if they replaced the one that asked.

        Args:
            pending: Recorded writes of the open step, by task id, with those of the command.
            tasks: The step's tasks.
        """
        if not self.null_resume_for or all(channel != TASKS for channel, _ in pending[NULL_TASK_ID]):
            return
        if any(status.of(pending.get(task.id, ())).waiting for task in tasks):
            return
        self.null_resume_for = None
        for task in tasks:
            task.null_resume_for = None

    @staticmethod
    def _child_ns(ns: str, name: str) -> str:
        return f"{ns}{NS_SEP}{name}" if ns else name


def _triggered(triggers: Mapping[str, tuple[str, ...]], updated: Iterable[str]) -> Collection[str]:
    """Return the nodes that an update of these channels starts, sorted by name."""
    found: tuple[str, ...] = ()
    for channel in updated:
        names = triggers.get(channel)
        if names is not None:
            found = names if not found else found + names
    return found if len(found) < 2 else sorted(set(found))


def in_order(tasks: tuple[Task, ...]) -> Sequence[Task]:
    """Sort the tasks of a step by their paths, the order in which their writes are applied."""
    if len(tasks) == 1:
        return tasks
    if any(len(task.path) > _PLANNED for task in tasks):
        return sorted(tasks, key=lambda t: t.path_key)
    # Most steps have planned tasks only. Their paths need not be spelled to see that nodes
    # go first, by name, and then packets, in the order in which they were planned.
    nodes = sorted([task for task in tasks if task.path[0] == PULL], key=lambda t: t.name)
    return nodes if len(nodes) == len(tasks) else nodes + [t for t in tasks if t.path[0] != PULL]


def is_named(names: Literal["*"] | Sequence[str], task: Task) -> bool:
    """Return whether a run that pauses at these nodes does so at a task; "*": all but those that streams leave out."""
    if names == "*":
        return task.node is None or not task.node.hidden
    return task.name in names
