"""A thread's state, as its checkpoints tell it.

Rules
-----
* Without a checkpoint id a snapshot is live: values include the output of tasks
  that already finished, ``next`` and ``interrupts`` are those still open.
  Addressed by id, or from the history, it is a record of the step: values as of
  its start, all its tasks, all interrupts they raised.
* A live snapshot of a thread that was cut between a step and its checkpoint has
  that step's tasks in ``tasks``, with their results, and in ``next`` what a run
  that goes on would run first.
* A config with a namespace addresses a subgraph. One that the graph does not
  know of (a tool may have run it) is read with the graph's own channels.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple

from stategraph.constants import (
    CONF,
    CONFIG_KEY_CHECKPOINT_ID,
    CONFIG_KEY_CHECKPOINT_NS,
    CONFIG_KEY_CHECKPOINTER,
    CONFIG_KEY_THREAD_ID,
    NULL_TASK_ID,
    RESUME,
)
from stategraph.core import checkpoint as checkpoints
from stategraph.core import output, status
from stategraph.core.dataflow import recorded
from stategraph.core.dataflow.window import Window
from stategraph.core.plan import Planner
from stategraph.core.state import State
from stategraph.core.task import IdMaker, Task
from stategraph.engine.checkpoints import damage, histories, pump
from stategraph.engine.checkpoints.pump import Ask, Procedure
from stategraph.engine.checkpoints.saver_interfaces import Saver
from stategraph.engine.compile import versions
from stategraph.engine.compile.compiled_graph import CompiledGraph
from stategraph.engine.compile.protocol import AnyGraph
from stategraph.engine.config.runnable_config import (
    ensure_config,
    merge_configs,
    patch_checkpoint_map,
    patch_configurable,
    recast_checkpoint_ns,
)
from stategraph.engine.runs import strictness
from stategraph.errors import DamagedCheckpointError
from stategraph.types import StateSnapshot


def saver_of(engine: CompiledGraph, config: RunnableConfig) -> Saver:
    """Return the saver that state is read from and written to.

    Raises:
        ValueError: If there is none.
    """
    saver = engine.resolve_checkpointer(ensure_config(config))
    if not isinstance(saver, BaseCheckpointSaver):
        raise ValueError("No checkpointer set")
    return saver


_Below = tuple[AnyGraph, RunnableConfig]
"""A subgraph, and the config to ask it with."""


def addressed_subgraph(engine: CompiledGraph, config: RunnableConfig, saver: Saver) -> _Below | None:
    """Return the subgraph that a config's namespace addresses, and the config to ask it with."""
    ns = config[CONF].get(CONFIG_KEY_CHECKPOINT_NS, "")
    if not ns or CONFIG_KEY_CHECKPOINTER in config[CONF]:
        return None
    for _, graph in engine.get_subgraphs(namespace=recast_checkpoint_ns(ns), recurse=True):
        return graph, patch_configurable(config, {CONFIG_KEY_CHECKPOINTER: saver})
    return None


# -- one state ----------------------------------------------------------------


def get_state(engine: CompiledGraph, config: RunnableConfig, *, subgraphs: bool) -> StateSnapshot:
    """Return the state at a config's checkpoint, or the latest."""
    return pump.run(_state(engine, config, subgraphs))


async def aget_state(engine: CompiledGraph, config: RunnableConfig, *, subgraphs: bool) -> StateSnapshot:
    """Like :func:`get_state`."""
    return await pump.arun(_state(engine, config, subgraphs))


def _state(engine: CompiledGraph, config: RunnableConfig, recurse: bool) -> Procedure[StateSnapshot]:
    saver = saver_of(engine, config)
    below = addressed_subgraph(engine, config, saver)
    if below is not None:
        graph, config_below = below
        state_below: StateSnapshot = yield Ask(graph, "get_state", (config_below,), {"subgraphs": recurse})
        return state_below
    config = _own_config(engine, config)
    saved: CheckpointTuple | None = yield Ask(saver, "get_tuple", (config,))
    if engine.strict:
        strictness.check_found(config, saved)
    if saved is None:
        return StateSnapshot({}, (), config, None, None, None, (), ())
    live = CONFIG_KEY_CHECKPOINT_ID not in config[CONF]
    return (yield from _snapshot(engine, saved, saver, recurse=recurse, live=live))


def _own_config(engine: CompiledGraph, config: RunnableConfig) -> RunnableConfig:
    config = merge_configs(engine.config, config) if engine.config else config
    config = engine.own_checkpoint_config(config)
    thread_id = config[CONF][CONFIG_KEY_THREAD_ID]
    return config if isinstance(thread_id, str) else patch_configurable(config, {CONFIG_KEY_THREAD_ID: str(thread_id)})


def _snapshot(
    engine: CompiledGraph,
    saved: CheckpointTuple,
    saver: Saver,
    *,
    recurse: bool = False,
    live: bool = False,
    of_history: bool = False,
) -> Procedure[StateSnapshot]:
    """Describe a checkpoint; one of a history that no migration fits is shown as it was stored."""
    with damage.using(saved, engine.program):
        engine.migrate_checkpoint(saved.checkpoint)
        try:
            brought = versions.brought_up(engine._versions, saved, engine.program, saver.get_next_version)
        except versions.GraphVersionError:
            if not of_history:
                raise
            brought = versions.BroughtUp(saved)
        return (yield from _described(engine, brought, saver, recurse=recurse, live=live))


def _described(
    engine: CompiledGraph, brought: versions.BroughtUp, saver: Saver, *, recurse: bool, live: bool
) -> Procedure[StateSnapshot]:
    saved = brought.saved
    history = yield from histories.fetch(engine.program, saver, saved)
    # Reading a step marks in the checkpoint what its tasks have seen.
    untouched = checkpoints.detached(saved.checkpoint) if live and saved.pending_writes else None
    state, tasks = read_step(engine, brought, history)
    window: Window | None = None
    if engine.program.flow is not None:
        window = recorded.opened(state, _planner(state, brought), tasks, status.group(saved.pending_writes))
        tasks = recorded.tasks_of(window)
    states = yield from _states_below(engine, tasks, saved, saver, recurse)
    pending = status.group(saved.pending_writes)
    commanded = _apply_command(state, pending)
    if window is not None:
        if live:
            recorded.show_now(state, window)
        upcoming = _names_of_open(tasks) if live else recorded.first_names(window)
    else:
        if live:
            _apply_finished(state, tasks, pending)
        upcoming = _names_of_open(tasks)
    if untouched is not None and (commanded or (tasks and not upcoming)):
        planned = _upcoming(State(engine.program, untouched, saver.get_next_version, history), brought)
        upcoming = upcoming if planned is None else planned
    described = output.described_tasks(tasks, pending, states, engine.stream_channels_asis, live=live)
    return StateSnapshot(
        state.read(engine.stream_channels_asis),
        upcoming,
        patch_checkpoint_map(saved.config, saved.metadata),
        saved.metadata,
        saved.checkpoint["ts"],
        patch_checkpoint_map(saved.parent_config, saved.metadata),
        described,
        tuple(i for task in described for i in task.interrupts),
    )


def read_step(
    engine: CompiledGraph, brought: versions.BroughtUp, history: histories.Histories | None
) -> tuple[State, list[Task]]:
    """Return the state of a checkpoint and the tasks that come after it."""
    state = State(engine.program, brought.saved.checkpoint, None, history)
    return state, _planner(state, brought).next_tasks(None)


def _planner(state: State, brought: versions.BroughtUp) -> Planner:
    saved = brought.saved
    ids = IdMaker(saved.checkpoint["id"], saved.checkpoint["v"])
    step = saved.metadata.get("step", -1) + 1
    ns = saved.config[CONF].get(CONFIG_KEY_CHECKPOINT_NS, "")
    return Planner(state, ids, ns, None, {}, None, step, step + 2, before=brought.tasks)


def _states_below(
    engine: CompiledGraph, tasks: list[Task], saved: CheckpointTuple, saver: Saver, recurse: bool
) -> Procedure[dict[str, StateSnapshot | RunnableConfig]]:
    """Return the states of the graphs that tasks run, by task id, or the configs to look them up with."""
    states: dict[str, StateSnapshot | RunnableConfig] = {}
    graphs = dict(engine.get_subgraphs())
    for task in tasks:
        if task.name in graphs:
            states[task.id] = yield from _state_below(graphs[task.name], task, saved, saver, recurse)
    return states


def _apply_command(state: State, pending: status.Pending) -> bool:
    """Apply the writes of a command recorded behind a checkpoint; returns whether there are any."""
    writes = [write for write in pending.get(NULL_TASK_ID, ()) if write[0] != RESUME]
    if writes:
        state.apply((), writes)
    return bool(writes)


def _names_of_open(tasks: list[Task]) -> tuple[str, ...]:
    return tuple(task.name for task in tasks if not task.writes)


def apply_recorded(state: State, tasks: list[Task], pending: status.Pending) -> None:
    """Apply what is recorded of a step: a command's writes, and those of tasks that have finished."""
    _apply_command(state, pending)
    _apply_finished(state, tasks, pending)


def _apply_finished(state: State, tasks: list[Task], pending: status.Pending) -> None:
    for task in tasks:
        task.writes.extend(status.of(pending.get(task.id, ())).output)
    done = sorted((task for task in tasks if task.writes), key=lambda task: task.path_key)
    if done:
        state.apply(done)


def _upcoming(state: State, brought: versions.BroughtUp) -> tuple[str, ...] | None:
    """Find out what a run that goes on would run first; None if its command leaves a node an input that is refused.

    For a thread that was cut between a step and its checkpoint, or that a command was recorded for: its checkpoint
    alone does not tell.

    Args:
        state: The channels as of the checkpoint; changed.
        brought: The checkpoint, with the writes recorded behind it.
    """
    planner = _planner(state, brought)
    pending = status.group(brought.saved.pending_writes)
    try:
        if state.program.flow is not None:
            _apply_command(state, pending)
            return recorded.upcoming(state, planner, planner.next_tasks(None), pending)
        tasks = _open_tasks(state, planner, pending)
    except Exception:
        return None
    if tasks and all(task.writes for task in tasks):
        try:
            updated = state.apply(sorted(tasks, key=lambda task: task.path_key))
            planner.step += 1
            tasks = planner.next_tasks(updated, fresh=True)
        except Exception:
            return ()  # the step's updates are refused, and a run that goes on says why
    return _names_of_open(tasks)


def _open_tasks(state: State, planner: Planner, pending: status.Pending) -> list[Task]:
    """Find the tasks of the step behind a checkpoint, with what they have written; a recorded command counts."""
    _apply_command(state, pending)
    tasks = planner.next_tasks(None)
    for task in tasks:
        task.writes.extend(status.of(pending.get(task.id, ())).output)
    return tasks


def _state_below(
    graph: AnyGraph,
    task: Task,
    saved: CheckpointTuple,
    saver: Saver,
    recurse: bool,
) -> Procedure[StateSnapshot | RunnableConfig]:
    """Return the state of the graph a task runs, or the config to look it up with."""
    conf: dict[str, object] = {
        CONFIG_KEY_THREAD_ID: saved.config[CONF][CONFIG_KEY_THREAD_ID],
        CONFIG_KEY_CHECKPOINT_NS: task.ns,
    }
    if not recurse:
        return {CONF: conf}
    config: RunnableConfig = {CONF: {CONFIG_KEY_CHECKPOINTER: saver, **conf}}
    state: StateSnapshot = yield Ask(graph, "get_state", (config,), {"subgraphs": True})
    return state


def has_work_left(engine: CompiledGraph, config: RunnableConfig) -> bool:
    """Return whether the step behind a thread's latest checkpoint is not over yet."""
    return pump.run(_work_left(engine, _latest(config)))


async def ahas_work_left(engine: CompiledGraph, config: RunnableConfig) -> bool:
    """Like :func:`has_work_left`."""
    return await pump.arun(_work_left(engine, _latest(config)))


def _latest(config: RunnableConfig) -> RunnableConfig:
    conf = {key: value for key, value in config[CONF].items() if key != CONFIG_KEY_CHECKPOINT_ID}
    return {**config, CONF: conf}


def _work_left(engine: CompiledGraph, config: RunnableConfig) -> Procedure[bool]:
    saver = saver_of(engine, config)
    below = addressed_subgraph(engine, config, saver)
    if below is not None:
        graph, config_below = below
        state_below: StateSnapshot = yield Ask(graph, "get_state", (config_below,))
        return bool(state_below.tasks)
    saved: CheckpointTuple | None = yield Ask(saver, "get_tuple", (_own_config(engine, config),))
    if saved is None:
        return False
    with damage.using(saved, engine.program):
        engine.migrate_checkpoint(saved.checkpoint)
        brought = versions.brought_up(engine._versions, saved, engine.program, saver.get_next_version)
        saved = brought.saved
        history = yield from histories.fetch(engine.program, saver, saved)
        state = State(engine.program, saved.checkpoint, saver.get_next_version, history)
        try:
            with damage.using(saved, engine.program):
                return bool(_open_tasks(state, _planner(state, brought), status.group(saved.pending_writes)))
        except DamagedCheckpointError:
            raise
        except Exception:
            return True  # a node's input is refused, and a run that goes on says why


# -- history ------------------------------------------------------------------


def get_state_history(engine: CompiledGraph, config: RunnableConfig, **bounds: Any) -> Iterator[StateSnapshot]:
    """Yield the states of a thread, newest first.

    Args:
        engine: The graph.
        config: Names the thread.
        **bounds: ``filter``, ``before`` and ``limit``.
    """
    config, saver, below = _place(engine, config)
    if below is not None:
        yield from below[0].get_state_history(below[1], **bounds)
        return
    for saved in pump.run(_list(engine, config, saver, bounds)):
        yield pump.run(_snapshot(engine, saved, saver, of_history=True))


async def aget_state_history(
    engine: CompiledGraph, config: RunnableConfig, **bounds: Any
) -> AsyncIterator[StateSnapshot]:
    """Like :func:`get_state_history`."""
    config, saver, below = _place(engine, config)
    if below is not None:
        async for snapshot in below[0].aget_state_history(below[1], **bounds):
            yield snapshot
        return
    for saved in await pump.arun(_list(engine, config, saver, bounds)):
        yield await pump.arun(_snapshot(engine, saved, saver, of_history=True))


def _place(engine: CompiledGraph, config: RunnableConfig) -> tuple[RunnableConfig, Saver, _Below | None]:
    config = ensure_config(config)
    saver = saver_of(engine, config)
    return config, saver, addressed_subgraph(engine, config, saver)


def _list(
    engine: CompiledGraph, config: RunnableConfig, saver: Saver, bounds: dict[str, Any]
) -> Procedure[list[CheckpointTuple]]:
    place = {
        CONFIG_KEY_CHECKPOINT_NS: config[CONF].get(CONFIG_KEY_CHECKPOINT_NS, ""),
        CONFIG_KEY_THREAD_ID: str(config[CONF][CONFIG_KEY_THREAD_ID]),
    }
    config = engine.own_checkpoint_config(merge_configs(engine.config, config, {CONF: place}))
    # All at once: a saver's cursor should not stay open while the caller thinks.
    listed: list[CheckpointTuple] = yield Ask(saver, "list", (config,), bounds)
    return listed
