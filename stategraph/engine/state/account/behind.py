"""The tasks behind a checkpoint, with what is recorded of each.

Rules
-----
* With a graph they are planned as a run would plan them, and matched with what is recorded by their ids.
* Without one, or for a graph that cannot plan them, they are what the checkpoint tells: channels with news by their
  names, packets, and the nodes that have seen more in the checkpoint that came of it. Ids are made by the same rule as
  planned ones, of the names that are known, so a record that matches one belongs to it for certain.
* Functions that a task called are stored under ids alone. Their names are looked for among those that the code of the
  task mentions; one that matches no id is not named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from uuid import UUID, uuid5

from stategraph.constants import (
    CONF,
    CONFIG_KEY_CHECKPOINT_NS,
    INPUT,
    INTERRUPT,
    NS_END,
    NS_SEP,
    NULL_TASK_ID,
    PULL,
    PUSH,
    RESUME,
    TASKS,
)
from stategraph.core import checkpoint as checkpoints
from stategraph.core import deltas, status
from stategraph.core.channels.delta import snapshot_value
from stategraph.core.dataflow import recorded
from stategraph.core.dataflow.window import PAUSED_BEFORE, Window
from stategraph.core.plan import Planner
from stategraph.core.state import State
from stategraph.core.task import IdMaker, Task, Write, path_key
from stategraph.engine.checkpoints.saver_interfaces import Saver
from stategraph.engine.compile.compiled_graph import CompiledGraph
from stategraph.engine.state.account.outline import BRANCH, Outline, is_of_state
from stategraph.engine.state.account.reading import Stored
from stategraph.engine.state.account.task_names import named_by

Kind = Literal["node", "packet", "handler", "call", "update", "unknown"]

_MOST_CALLS: Final = 256
_MOST_UPDATES: Final = 16


@dataclass(eq=False, slots=True)
class Planned:
    """A task behind a checkpoint.

    Attributes:
        id: Its id; empty if that is not known.
        node: Its node, or the function that was called; empty if that is not known.
        kind: How it came about.
        writes: What is recorded of it, as it was written.
        path: Its path, which sorts the tasks of a step.
        namespace: That of a graph inside of it.
        triggers: The channels that started it.
        index: Of a packet, its number.
        causes: Tasks of the same window that started it.
        wave: The number of its superstep in the window.
        is_due: Whether something before the window started it.
        has_run: Whether it is known to have run, though nothing is recorded of it.
        calls: The functions that it called.
        failed: Of a handler, the task that had failed.
    """

    id: str
    node: str
    kind: Kind
    writes: list[Write] = field(default_factory=list)
    path: tuple[Any, ...] = ()
    namespace: str = ""
    triggers: tuple[str, ...] = ()
    index: int = 0
    causes: tuple[Planned, ...] = ()
    wave: int = 1
    is_due: bool = True
    has_run: bool = False
    calls: list[Planned] = field(default_factory=list)
    failed: Planned | None = None

    @property
    def status(self) -> status.Status:
        """The status that its records tell."""
        return status.of(write for write in self.writes if write[0] != PAUSED_BEFORE)

    @property
    def has_ended(self) -> bool:
        """True if it has output."""
        return self.has_run or bool(self.status.output)


@dataclass(slots=True)
class Behind:
    """The tasks that come after a checkpoint.

    Attributes:
        stored: The checkpoint.
        tasks: The tasks, in the order in which their writes are applied.
        values: The values of the state at the checkpoint.
        commanded: What a command that was given as input has written.
        loose: What is recorded under ids that belong to no task that is known.
        waiting: In a window, the nodes that were triggered and have not begun, with the tasks that did it.
        state: The channels before the tasks; None without a graph.
        problem: Why they could not be planned; else empty.
    """

    stored: Stored
    tasks: list[Planned]
    values: Mapping[str, Any]
    commanded: list[Write]
    loose: dict[str, list[Write]]
    waiting: dict[str, tuple[Planned, ...]] = field(default_factory=dict)
    state: State | None = None
    problem: str = ""


def of(graph: CompiledGraph | None, saver: Saver, outline: Outline, stored: Stored, after: Stored | None) -> Behind:
    """Return what comes after a checkpoint.

    Args:
        graph: The graph; None if it is not known.
        saver: The saver.
        outline: What is known of the graph.
        stored: The checkpoint.
        after: The one that was made of it; None: none, or it is not looked at.
    """
    pending = status.group(stored.saved.pending_writes)
    commanded = [write for write in pending.get(NULL_TASK_ID, ()) if write[0] != RESUME]
    if graph is None or stored.problem:
        behind = _told(outline, stored, commanded)
    else:
        behind = _planned(graph, saver, stored, commanded, pending)
    known = {task.id for task in behind.tasks}
    behind.loose = {key: writes for key, writes in pending.items() if key not in known and key != NULL_TASK_ID}
    for task in behind.tasks:
        if not task.writes:
            task.writes = list(pending.get(task.id, ()))
    if graph is None or graph.program.flow is None:
        behind.tasks.sort(key=lambda task: path_key(task.path))  # as writes are applied
    _find_calls(graph, behind)
    _find_updates(behind)
    if after is not None:
        _note_runs(behind, after)
    return behind


# -- with a graph ---------------------------------------------------------------


def _planned(
    graph: CompiledGraph, saver: Saver, stored: Stored, commanded: list[Write], pending: status.Pending
) -> Behind:
    saved = stored.saved
    program = graph.program
    state = State(program, checkpoints.detached(saved.checkpoint), saver.get_next_version, stored.history)
    names = [name for name in program.specs if is_of_state(name)]
    behind = Behind(stored, [], dict(state.read(names)), commanded, {}, state=state)
    try:
        if commanded:
            state.apply((), commanded)
        ids = IdMaker(saved.checkpoint["id"], saved.checkpoint["v"])
        step = (stored.number if stored.number is not None else -1) + 1
        ns = str(saved.config[CONF].get(CONFIG_KEY_CHECKPOINT_NS) or "")
        planner = Planner(state, ids, ns, None, {}, None, step, step + 2, before=stored.brought.tasks)
        tasks = planner.next_tasks(None)
    except Exception as error:  # of a reducer, a schema or a mapper: a run would be refused in the same way
        behind.problem = f"The tasks behind the checkpoint cannot be planned: {type(error).__name__}: {error}"
        return behind
    if program.flow is None:
        _take_superstep(behind, planner, tasks, pending)
    else:
        _take_window(behind, recorded.opened(state, planner, tasks, pending))
    return behind


def _take_superstep(behind: Behind, planner: Planner, tasks: Sequence[Task], pending: status.Pending) -> None:
    for task in tasks:
        planned = _of_task(task, pending)
        behind.tasks.append(planned)
        handler = planner.recorded_handler(task, planned.writes)
        if handler is not None:
            found = _of_task(handler, pending)
            found.failed, found.causes, found.is_due = planned, (planned,), False
            behind.tasks.append(found)


def _of_task(task: Task, pending: status.Pending) -> Planned:
    return Planned(
        task.id,
        task.name,
        "packet" if task.was_sent else "handler" if task.error is not None else "node",
        list(pending.get(task.id, ())),
        task.path,
        task.ns,
        () if task.path[0] == PUSH else tuple(task.triggers),
        task.path[1] if task.was_sent and isinstance(task.path[1], int) else 0,
    )


def _take_window(behind: Behind, window: Window) -> None:
    pending = status.group(behind.stored.saved.pending_writes)
    found: dict[str, Planned] = {}
    for firing in window.firings.values():
        task = firing.task
        planned = found[task.id] = _of_task(task, pending)
        planned.causes = tuple(found[cause.task.id] for cause in firing.causes if cause.task.id in found)
        planned.wave, planned.is_due = firing.wave, firing.is_due or not firing.causes
        planned.index = firing.index
        if planned.kind == "handler":
            failed = next((each for each in found.values() if task.ns.startswith(f"{each.namespace}{NS_SEP}")), None)
            planned.failed = failed
            planned.causes, planned.is_due = (failed,) if failed is not None else (), False
    order = {each.task.id: at for at, each in enumerate(_applied(window))}
    behind.tasks = sorted(found.values(), key=lambda each: order.get(each.id, len(order)))
    behind.waiting = {
        name: tuple(found[cause.task.id] for cause in causes if cause is not None and cause.task.id in found)
        for name, causes in window.pending.items()
    }


def _applied(window: Window) -> Iterable[Any]:
    for wave in window.waves():
        for part in wave:
            yield from part


# -- without one ----------------------------------------------------------------


def _told(outline: Outline, stored: Stored, commanded: list[Write]) -> Behind:
    saved = stored.saved
    checkpoint: Mapping[str, Any] = saved.checkpoint
    values, have = checkpoint["channel_values"], checkpoint["channel_versions"]
    shown = {name: snapshot_value(value) for name, value in values.items() if is_of_state(name)}
    ids = IdMaker(checkpoint["id"], checkpoint["v"])
    step = (stored.number if stored.number is not None else -1) + 1
    ns = str(saved.config[CONF].get(CONFIG_KEY_CHECKPOINT_NS) or "")
    tasks = _told_packets(values.get(TASKS), ids, ns, step)
    seen_by = deltas.seen_without_bumps(checkpoint["versions_seen"])
    written = {channel for channel, _ in commanded}
    null = next((type(version)() for version in have.values()), None)
    for node in sorted(outline.triggers):
        channels = outline.triggers[node]
        seen: Mapping[str, Any] = seen_by.get(node, {})
        if not any(_has_news(outline, name, values, have, seen, null) or name in written for name in channels):
            continue
        inner = f"{ns}{NS_SEP}{node}" if ns else node
        task_id = ids.make(f"{inner}{step}{''.join((node, PULL, *channels))}")
        tasks.append(Planned(task_id, node, "node", [], (PULL, node), f"{inner}{NS_END}{task_id}", channels))
    return Behind(stored, tasks, shown, commanded, {})


def _told_packets(packets: object, ids: IdMaker, ns: str, step: int) -> list[Planned]:
    tasks = []
    for index, packet in enumerate(packets if isinstance(packets, list | tuple) else ()):
        node = getattr(packet, "node", None)
        if isinstance(node, str):
            inner = f"{ns}{NS_SEP}{node}" if ns else node
            task_id = ids.make(f"{inner}{step}{node}{PUSH}{index}")
            path = (PUSH, index, False)
            tasks.append(Planned(task_id, node, "packet", [], path, f"{inner}{NS_END}{task_id}", index=index))
    return tasks


def _has_news(
    outline: Outline,
    channel: str,
    values: Mapping[str, Any],
    versions: Mapping[str, Any],
    seen: Mapping[str, Any],
    null: Any,
) -> bool:
    if channel not in values or channel not in versions:
        return False
    names = outline.joins.get(channel)
    if names is not None and not has_all(values[channel], names):
        return False
    try:
        return bool(versions[channel] > seen.get(channel, null))
    except TypeError:
        return channel not in seen


def has_all(value: Any, names: frozenset[str]) -> bool:
    """Return whether everybody has arrived at a join, by its stored value."""
    arrived, is_open = value if isinstance(value, tuple) and len(value) == 2 else (value, True)
    return bool(is_open) and isinstance(arrived, set | list | frozenset | tuple) and set(arrived) == names


# -- what is recorded beside the tasks -------------------------------------------


def _find_calls(graph: CompiledGraph | None, behind: Behind) -> None:
    """Find the functions that tasks have called among what is recorded."""
    if not behind.loose:
        return
    checkpoint: Mapping[str, Any] = behind.stored.saved.checkpoint
    ids = IdMaker(checkpoint["id"], checkpoint["v"])
    step = (behind.stored.number if behind.stored.number is not None else -1) + 1
    for task in list(behind.tasks):
        names = named_by(graph.nodes[task.node]) if graph is not None and task.node in graph.nodes else ()
        if names:
            _find_calls_of(task, task, names, ids, step, behind.loose)


def _find_calls_of(
    caller: Planned,
    namer: Planned,
    names: Sequence[str],
    ids: IdMaker,
    step: int,
    loose: dict[str, list[Write]],
) -> None:
    path = caller.path
    for index in range(min(_MOST_CALLS, len(loose) * 4 + 32)):
        for name in names:
            ns = f"{caller.namespace}{NS_SEP}{name}"
            task_id = ids.make(f"{ns}{step}{name}{PUSH}{path_key(path)}{index}")
            if task_id not in loose:
                continue
            called_path = (PUSH, path, index, True)
            called = Planned(
                task_id, name, "call", loose.pop(task_id), called_path, f"{ns}{NS_END}{task_id}", index=index
            )
            called.causes, called.is_due = (caller,), False
            caller.calls.append(called)
            if loose:
                _find_calls_of(called, namer, names, ids, step, loose)
            break


def _find_updates(behind: Behind) -> None:
    """Find what an update from outside has written, or the next run's input, among what is recorded."""
    if not behind.loose:
        return
    try:
        base = UUID(behind.stored.id)
    except ValueError:
        return
    for index in range(_MOST_UPDATES):
        task_id = str(uuid5(base, INTERRUPT if index == 0 else f"{INTERRUPT}:{index}"))
        if task_id in behind.loose:
            found = Planned(task_id, "", "update", behind.loose.pop(task_id), (INTERRUPT, index), has_run=True)
            behind.tasks.append(found)
    behind.loose.pop(str(uuid5(base, INPUT)), None)


def _note_runs(behind: Behind, after: Stored) -> None:
    """Note which tasks have run that nothing is recorded of, by what nodes have seen in the next checkpoint."""
    if after.source not in ("loop", "fork"):
        return
    before_seen = deltas.seen_without_bumps(behind.stored.saved.checkpoint["versions_seen"])
    after_seen = deltas.seen_without_bumps(after.saved.checkpoint["versions_seen"])
    saw_more = {
        name
        for name, seen in after_seen.items()
        if (name == "__start__" or not name.startswith("__")) and seen != before_seen.get(name)
    }
    for task in behind.tasks:
        if task.node in saw_more and task.kind in ("node", "packet") and not task.has_ended:
            task.has_run = not (task.status.error or task.status.interrupts)
        saw_more.discard(task.node)
    for name in sorted(saw_more):
        behind.tasks.append(Planned("", name, "unknown", has_run=True))


def is_trigger(channel: str) -> bool:
    """Return whether a channel of a state graph does nothing but start nodes."""
    return channel == TASKS or channel.startswith((BRANCH, "join:"))
