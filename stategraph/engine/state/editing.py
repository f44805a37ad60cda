"""Writing to a thread's state from outside, as if nodes had.

Rules
-----
* An update is what a node would have returned; the node's writers turn it into
  channel writes and next steps. Without a node named, it is the one that wrote
  last, if that is clear.
* Without a barrier, one in the middle of branches keeps what the others have done, and they go on behind it; see
  `core.dataflow.amended`.
* The updates of a superstep make one checkpoint. They are recorded on the
  checkpoint they build on under the ids of the tasks they stand for, so the
  history shows them as results; unless the thread has moved past it.
* ``as_node`` END with no values drops the next tasks; ``__input__`` acts as a
  run's input; ``__copy__`` forks the checkpoint, and may update the fork.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any
from uuid import UUID, uuid5

from langchain_core.runnables import RunnableConfig, RunnableSequence
from langgraph.checkpoint.base import CheckpointTuple

from stategraph.constants import (
    CONF,
    CONFIG_KEY_CHECKPOINT_ID,
    CONFIG_KEY_CHECKPOINT_NS,
    CONFIG_KEY_CHECKPOINTER,
    CONFIG_KEY_READ,
    CONFIG_KEY_RUNTIME,
    CONFIG_KEY_SEND,
    CONFIG_KEY_TASK_ID,
    CONFIG_KEY_THREAD_ID,
    END,
    INPUT,
    INTERRUPT,
    NULL_TASK_ID,
    PUSH,
    RESUME,
)
from stategraph.core import checkpoint as checkpoints
from stategraph.core import delta_journal, deltas, output, status
from stategraph.core.dataflow import recorded
from stategraph.core.dataflow.amended import Amended
from stategraph.core.plan import Planner
from stategraph.core.state import State
from stategraph.core.task import IdMaker, Task, Write
from stategraph.engine.checkpoints import damage, histories, pump, round_trip
from stategraph.engine.checkpoints.pump import Ask, Procedure
from stategraph.engine.checkpoints.saver_interfaces import Saver
from stategraph.engine.compile import versions
from stategraph.engine.compile.compiled_graph import CompiledGraph
from stategraph.engine.compile.protocol import AnyRunnable
from stategraph.engine.config import environment, runtime
from stategraph.engine.config.runnable_config import (
    ensure_config,
    patch_checkpoint_map,
    patch_config,
    patch_configurable,
    recast_checkpoint_ns,
)
from stategraph.engine.runs import strictness
from stategraph.engine.state import snapshots
from stategraph.engine.tasks.scope import TaskScope
from stategraph.errors import InvalidUpdateError
from stategraph.types import StateUpdate

COPY = "__copy__"


def bulk_update_state(
    engine: CompiledGraph, config: RunnableConfig, supersteps: Sequence[Sequence[StateUpdate]]
) -> RunnableConfig:
    """Write several supersteps of updates; returns the config of the last checkpoint."""
    return pump.run(_bulk(engine, config, supersteps))


async def abulk_update_state(
    engine: CompiledGraph, config: RunnableConfig, supersteps: Sequence[Sequence[StateUpdate]]
) -> RunnableConfig:
    """Like :func:`bulk_update_state`."""
    return await pump.arun(_bulk(engine, config, supersteps))


def _bulk(
    engine: CompiledGraph, config: RunnableConfig, supersteps: Sequence[Sequence[StateUpdate]]
) -> Procedure[RunnableConfig]:
    saver = snapshots.saver_of(engine, config)
    if not supersteps:
        raise ValueError("No supersteps provided")
    if not all(supersteps):
        raise ValueError("No updates provided")
    below = snapshots.addressed_subgraph(engine, config, saver)
    if below is not None:
        graph, config_below = below
        updated: RunnableConfig = yield Ask(graph, "bulk_update_state", (config_below, supersteps))
        return updated
    ns = config[CONF].get(CONFIG_KEY_CHECKPOINT_NS, "")
    if ns and CONFIG_KEY_CHECKPOINTER not in config[CONF]:
        # This graph's nodes and channels would write the wrong state into it.
        raise ValueError(f"Subgraph {recast_checkpoint_ns(ns)} not found")
    thread_id = str(config[CONF][CONFIG_KEY_THREAD_ID])
    config = patch_configurable(config, {CONFIG_KEY_THREAD_ID: thread_id})
    for index, updates in enumerate(supersteps):
        base = yield from _load(engine, saver, config)
        if base.saved is not None:
            base.full |= deltas.pending(engine.program.deltas, base.saved.pending_writes)
        with damage.using(base.saved, engine.program):
            config = yield from _superstep(base, updates, first=index == 0)
    return config


@dataclass(slots=True)
class _Base:
    """The checkpoint an update builds on.

    Attributes:
        engine: The graph.
        saver: Where it is stored.
        config: The caller's complete config.
        saved: What the saver returned, or None for a new thread.
        checkpoint: A copy to build the next one from.
        state: Its channels.
        before: The channel versions it was stored with.
        step: Its step.
        address: The config that names it, as the parent of the next one.
        full: Delta channels that the next checkpoint stores in full in any case.
        tasks: Ids and namespaces that its tasks had under an earlier version of the graph; None if it is of this one.
    """

    engine: CompiledGraph
    saver: Saver
    config: RunnableConfig
    saved: CheckpointTuple | None
    checkpoint: checkpoints.Checkpoint
    state: State
    before: dict[str, Any]
    step: int
    address: RunnableConfig
    full: set[str]
    tasks: Mapping[str, tuple[str, str]] | None = None

    def pending(self) -> status.Pending:
        """Return the writes recorded on it."""
        return status.group(self.saved.pending_writes if self.saved else None)

    def next_tasks(self) -> list[Task]:
        """Return the tasks that come after it."""
        if self.saved is None:
            return []
        return self.planner().next_tasks(None)

    def planner(self) -> Planner:
        """Return what plans them; there is a checkpoint."""
        assert self.saved is not None
        return _planner(self.state, self.checkpoint, self.saved.config, self.step + 1, self.tasks)

    def marked(self, writes: list[Write]) -> list[Write]:
        """Return writes that are recorded on it with the graph's version, if it is of an earlier one."""
        versions = self.engine._versions
        return writes if versions is None or self.tasks is None else [*status.marked(writes, versions.current)]

    def metadata(self, source: str, step: int) -> dict[str, Any]:
        """Return the metadata of the next checkpoint."""
        parents = self.saved.metadata.get("parents", {}) if self.saved else {}
        metadata = {"source": source, "step": step, "parents": parents}
        if self.engine._versions is not None:
            metadata.update(self.engine._versions.marks)
        return metadata


def _planner(
    state: State,
    checkpoint: checkpoints.Checkpoint,
    config: RunnableConfig,
    step: int,
    before: Mapping[str, tuple[str, str]] | None = None,
) -> Planner:
    ids = IdMaker(checkpoint["id"], checkpoint["v"])
    ns = config[CONF].get(CONFIG_KEY_CHECKPOINT_NS, "")
    return Planner(state, ids, ns, None, {}, None, step, step + 2, before=before)


def _load(engine: CompiledGraph, saver: Saver, config: RunnableConfig) -> Procedure[_Base]:
    config = engine.own_checkpoint_config(ensure_config(engine.config, config))
    saved: CheckpointTuple | None = yield Ask(saver, "get_tuple", (config,))
    history: histories.Histories | None = None
    brought: versions.BroughtUp | None = None
    if engine.strict:
        strictness.check_found(config, saved)
    if saved is None:
        around = environment.current()
        checkpoint = checkpoints.empty(around.ids.checkpoint_id(-2), around.now())
        ns = config[CONF].get(CONFIG_KEY_CHECKPOINT_NS, "")
        address = patch_configurable(config, {CONFIG_KEY_CHECKPOINT_NS: ns})
    else:
        with damage.using(saved, engine.program):
            engine.migrate_checkpoint(saved.checkpoint)
            brought = versions.brought_up(engine._versions, saved, engine.program, saver.get_next_version)
            saved = brought.saved
            checkpoint = checkpoints.detached(saved.checkpoint)
        address = patch_configurable(config, dict(saved.config[CONF]))
        history = yield from histories.fetch(engine.program, saver, saved)
    with damage.using(saved, engine.program):
        state = State(engine.program, checkpoint, saver.get_next_version, history)
    if engine.strict:
        state.ignored = strictness.Refusals()
    return _Base(
        engine=engine,
        saver=saver,
        config=config,
        saved=saved,
        checkpoint=checkpoint,
        state=state,
        before=dict(checkpoint["channel_versions"])
        if brought is None
        else brought.without_unstored(checkpoint["channel_versions"]),
        step=saved.metadata.get("step", -1) if saved else -1,
        address=address,
        full=set(),
        tasks=None if brought is None else brought.tasks,
    )


def _superstep(base: _Base, updates: Sequence[StateUpdate], *, first: bool) -> Procedure[RunnableConfig]:
    values, as_node = updates[0][:2]
    if values is None and as_node == END:
        _only_one(updates, "Cannot apply multiple updates when clearing state")
        return (yield from _clear(base))
    if as_node == INPUT:
        _only_one(updates, "Cannot apply multiple updates when updating as input")
        return (yield from _as_input(base, values, first=first))
    if as_node == COPY:
        _only_one(updates, "Cannot copy checkpoint with multiple updates")
        return (yield from _copy(base, values))
    return (yield from _as_nodes(base, updates, first=first))


def _only_one(updates: Sequence[StateUpdate], message: str) -> None:
    if len(updates) > 1:
        raise InvalidUpdateError(message)


def _store(base: _Base, metadata: dict[str, object], clock: int, updated: set[str]) -> Procedure[RunnableConfig]:
    """Store the base's channels as its child, as the update changed them; returns the child's config."""
    values = base.state.freeze()
    codec = histories.codec(base.engine.program)
    if codec is not None:
        values |= _of_deltas(base, codec, metadata, updated)
    checkpoint = {
        "v": checkpoints.FORMAT_VERSION,
        "ts": environment.current().now(),
        "id": environment.current().ids.checkpoint_id(clock),
        "channel_values": values,
        "channel_versions": base.state.versions,
        "versions_seen": base.state.seen,
        "updated_channels": None,
    }
    new = checkpoints.newer_versions(base.before, base.state.versions)
    stored: RunnableConfig = yield Ask(base.saver, "put", (base.address, checkpoint, metadata, new))
    return stored


def _of_deltas(
    base: _Base, codec: delta_journal.DeltaCodec, metadata: dict[str, object], updated: set[str]
) -> dict[str, object]:
    """Return the delta channels' content of the next checkpoint, updating versions and metadata."""
    names, state = base.engine.program.deltas, base.state
    if base.saved is None:
        # There is no checkpoint before it that could hold the writes.
        full = {name for name in names if name in state.versions}
    else:
        before = base.saved.metadata.get(deltas.COUNTERS_KEY) or {}
        counters = metadata[deltas.COUNTERS_KEY] = deltas.counted(before, names, updated)
        full = base.full | deltas.due(state.channels, counters, state.versions, codec.max_supersteps)
    return delta_journal.store_in_full(full, state, metadata, base.before, codec)


def _with_map(base: _Base, config: RunnableConfig) -> RunnableConfig:
    return patch_checkpoint_map(config, base.saved.metadata if base.saved else None)


# -- dropping the next tasks ----------------------------------------------------


def _clear(base: _Base) -> Procedure[RunnableConfig]:
    tasks = base.next_tasks()
    pending = base.pending()
    null_writes = [w for w in pending.get(NULL_TASK_ID, ()) if w[0] != RESUME]
    updated: set[str] = set()
    if null_writes:
        updated |= base.state.apply((), null_writes)
    if base.engine.program.flow is not None and base.saved is not None:
        updated |= set(recorded.apply(base.state, recorded.opened(base.state, base.planner(), tasks, pending)))
        tasks = []
    for task in tasks:
        task.writes.extend(status.of(pending.get(task.id, ())).output)
    if base.saved is not None:
        updated |= base.state.apply(sorted(tasks, key=lambda task: task.path_key))
    metadata = base.metadata("update", base.step + 1)
    stored = yield from _store(base, metadata, base.step, updated)
    return _with_map(base, stored)


# -- acting as a run's input ----------------------------------------------------


def _as_input(base: _Base, values: object, *, first: bool) -> Procedure[RunnableConfig]:
    channels = base.engine.input_channels
    writes = output.input_writes(channels, values, [])
    if not writes:
        raise InvalidUpdateError(f"Received no input writes for {channels}")
    task_id = histories.input_task_id(base.checkpoint["id"])
    yield from _record(base, [(task_id, writes, "")], first=first)
    updated = base.state.apply((), writes)
    known = base.saved is not None and base.saved.metadata.get("step") is not None
    step = base.step + 1 if known else -1
    stored = yield from _store(base, base.metadata("input", step), step, updated)
    return _with_map(base, stored)


def _record(base: _Base, writes: Sequence[tuple[str, list[Write], str]], *, first: bool) -> Procedure[None]:
    """Record writes, after preparing them, on the checkpoint they build on, if nothing else was built on it."""
    _prepare(base, writes)
    if base.saved is None:
        return
    if first and not (yield from _is_newest(base)):
        names = base.engine.program.deltas
        base.full.update(k for _, task_writes, _ in writes for k, _ in task_writes if k in names)
        return
    takes_path = "task_path" in signature(base.saver.put_writes).parameters
    for task_id, task_writes, path_key in writes:
        recorded = base.marked([w for w in task_writes if w[0] != PUSH])
        if recorded:
            kwargs = {"task_path": path_key} if takes_path and path_key else {}
            args = (base.address, recorded, task_id)
            yield Ask(base.saver, "put_writes", args, kwargs)


def _prepare(base: _Base, writes: Sequence[tuple[str, list[Write], str]]) -> None:
    """Give messages in writes to delta channels their ids, in place, and check that the values can be stored.

    Raises:
        UnstorableValueError: A value would come back as something else, and the graph is strict.
    """
    codec = histories.codec(base.engine.program)
    if codec is not None:
        for _, task_writes, _ in writes:
            codec.identify(task_writes)
            base.full |= deltas.overwritten(base.engine.program.deltas, task_writes)
    checker, strict = round_trip.checker_for(getattr(base.saver, "serde", None)), base.engine.strict
    channels = base.engine.program.specs
    for _, task_writes, _ in writes:
        checker.check(task_writes, lambda: "An update", strict=strict, channels=channels)


# -- forking ----------------------------------------------------------------------


def _copy(base: _Base, updates: Any) -> Procedure[RunnableConfig]:
    saved = base.saved
    if saved is None:
        raise InvalidUpdateError("Cannot copy a non-existent checkpoint")
    copied = {
        **checkpoints.detached(base.checkpoint),
        "v": checkpoints.FORMAT_VERSION,
        "id": environment.current().ids.checkpoint_id(base.step),
        "ts": environment.current().now(),
        "updated_channels": None,
    }
    parent = saved.parent_config or patch_configurable(saved.config, {CONFIG_KEY_CHECKPOINT_ID: None})
    metadata = base.metadata("fork", base.step + 1)
    if deltas.COUNTERS_KEY in saved.metadata:
        # The copy has the same values and the same history.
        metadata[deltas.COUNTERS_KEY] = saved.metadata[deltas.COUNTERS_KEY]
    new = checkpoints.newer_versions(base.before, copied["channel_versions"])
    stored: RunnableConfig = yield Ask(base.saver, "put", (parent, copied, metadata, new))
    config = patch_checkpoint_map(stored, saved.metadata)
    if not (isinstance(updates, list) and updates):
        return config
    # The updates take the ids of the fork's own next tasks.
    free: dict[str, deque[str]] = defaultdict(deque)
    for task in _planner(base.state, copied, config, base.step + 2).next_tasks(None):
        free[task.name].append(task.id)
    grouped: dict[str, list[StateUpdate]] = {}
    for item in updates:
        if not isinstance(item, Sequence):
            raise InvalidUpdateError(f"Invalid update item: {item} when copying checkpoint")
        values, as_node = item[:2]
        task_id = free[as_node].popleft() if free[as_node] else None
        grouped.setdefault(as_node, []).append(StateUpdate(values, as_node, task_id))
    fork = yield from _load(base.engine, base.saver, config)
    return (yield from _superstep(fork, [u for group in grouped.values() for u in group], first=False))


# -- acting as nodes ----------------------------------------------------------------


def _as_nodes(base: _Base, updates: Sequence[StateUpdate], *, first: bool) -> Procedure[RunnableConfig]:
    branches = yield from _branches(base, first=first)
    named = _named(base, updates, branches)
    updated: set[str] = set()
    restarts: list[Write] = []
    standing: Sequence[Task | None] = [None] * len(named)
    if branches is not None:
        standing = branches.stand([(node, task_id) for _, node, task_id in named], _latest_writers(base))
        updated, restarts = branches.commit()
        base.step += branches.waves
    tasks = _tasks_of(base, named, standing, planned=branches is None)
    for task, (values, _, _) in zip(tasks, named, strict=True):
        task.writes = yield from _run_writers(base, task, values)
    yield from _record(base, [(t.id, t.writes, t.path_key) for t in tasks], first=first)
    base.state.apply(tasks, restarts)
    metadata = base.metadata("update", base.step + 1)
    updated |= {name for task in tasks for name, _ in task.writes if name != PUSH}
    config = yield from _store(base, metadata, base.step + 1, updated)
    for task in tasks:
        pushed = [w for w in task.writes if w[0] == PUSH]
        if pushed:
            yield Ask(base.saver, "put_writes", (config, pushed, task.id))
    return _with_map(base, config)


def _tasks_of(
    base: _Base, named: Sequence[tuple[Any, str, str | None]], standing: Sequence[Task | None], *, planned: bool
) -> list[Task]:
    """Make the tasks that updates are, under the ids of those that they stand for.

    Args:
        base: What they build on.
        named: Values, node and id of each.
        standing: The task behind the checkpoint that each stands for, if that is known.
        planned: Whether the next tasks of the checkpoint are those that they stand for.
    """
    free: dict[str, deque[str]] = defaultdict(deque)
    if planned and base.saved is not None and base.saved.pending_writes is not None:
        for task in base.next_tasks():
            free[task.name].append(task.id)
    tasks = []
    for index, ((_, as_node, task_id), meant) in enumerate(zip(named, standing, strict=True)):
        triggers: tuple[str, ...] = (INTERRUPT,)
        if meant is not None:
            task_id, triggers = meant.id, (INTERRUPT, *meant.triggers)
        elif not task_id:
            given = free[as_node]
            task_id = given.popleft() if given else _update_id(base.checkpoint["id"], index)
        tasks.append(Task(task_id, as_node, None, (INTERRUPT, index), triggers, "", base.step, base.step + 2))
    return tasks


def _branches(base: _Base, *, first: bool) -> Procedure[Amended | None]:
    """Find what runs beside each other behind a thread's newest checkpoint; None with a barrier, or behind another."""
    if base.engine.program.flow is None or base.saved is None:
        return None
    if first and not (yield from _is_newest(base)):
        return None
    pending = base.pending()
    if commanded := [write for write in pending.get(NULL_TASK_ID, ()) if write[0] != RESUME]:
        base.state.apply((), commanded)
    return Amended(base.state, base.planner(), pending)


def _is_newest(base: _Base) -> Procedure[bool]:
    """Return whether no checkpoint of the thread is newer than the one that an update builds on."""
    if base.saved is None or not base.config[CONF].get(CONFIG_KEY_CHECKPOINT_ID):
        return True
    head = patch_configurable(base.config, {CONFIG_KEY_CHECKPOINT_ID: None})
    latest = yield Ask(base.saver, "get_tuple", (head,))
    return latest is None or bool(latest.checkpoint["id"] == base.saved.checkpoint["id"])


def _named(base: _Base, updates: Sequence[StateUpdate], branches: Amended | None) -> list[tuple[Any, str, str | None]]:
    """Return the updates with the node each stands for.

    Raises:
        InvalidUpdateError: If a node is missing, unclear or unknown.
    """
    named = []
    for values, as_node, task_id in updates:
        if as_node is None and len(updates) > 1:
            raise InvalidUpdateError("as_node is required when applying multiple updates")
        node = as_node if as_node is not None else _last_writer(base, branches)
        if node is None:
            raise InvalidUpdateError("Ambiguous update, specify as_node")
        if node not in base.engine.nodes:
            raise InvalidUpdateError(f"Node {node} does not exist")
        named.append((values, node, task_id))
    return named


def _last_writer(base: _Base, branches: Amended | None) -> str | None:
    """Return the node that wrote last; None if several did, or none has."""
    nodes = base.engine.nodes
    if len(nodes) == 1:
        return next(iter(nodes))
    if branches is not None and (last := branches.last_nodes):
        return next(iter(last)) if len(last) == 1 else None
    if not any(version for versions in _seen(base).values() for version in versions.values()):
        channels = base.engine.input_channels
        return channels if isinstance(channels, str) and channels in nodes else None
    latest = _latest_writers(base)
    return latest[0] if len(latest) == 1 else None


def _seen(base: _Base) -> Mapping[str, Mapping[str, Any]]:
    return deltas.seen_without_bumps(base.state.seen)


def _latest_writers(base: _Base) -> list[str]:
    """Return the nodes of the last step that nodes ran in, each as often as it has seen its newest version."""
    nodes = base.engine.nodes
    seen = sorted(
        (version, name) for name, versions in _seen(base).items() if name in nodes for version in versions.values()
    )
    return [name for version, name in seen if version == seen[-1][0]]


def _run_writers(base: _Base, task: Task, values: object) -> Procedure[list[Write]]:
    """Have a node's writers write what an update stands for; returns the writes."""
    writers = base.engine.nodes[task.name].flat_writers
    if not writers:
        raise InvalidUpdateError(f"Node {task.name} has no writers")
    scope = TaskScope(task, base.state)
    config = patch_config(
        base.config,
        run_name=base.engine.name + "UpdateState",
        configurable={
            CONFIG_KEY_SEND: scope.writes.extend,
            CONFIG_KEY_TASK_ID: task.id,
            CONFIG_KEY_READ: scope.read,
            CONFIG_KEY_RUNTIME: _runtime(base, task),
        },
    )
    chain: AnyRunnable = writers[0] if len(writers) == 1 else RunnableSequence(*writers)
    yield Ask(chain, "invoke", (values, config))
    return scope.writes


def _runtime(base: _Base, task: Task) -> runtime.Runtime[Any]:
    """Make the runtime of routers: the surrounding one, completed by the graph's store and default context."""
    conf, engine = base.config[CONF], base.engine
    outer = runtime.adopt_runtime(conf.get(CONFIG_KEY_RUNTIME))
    own = runtime.run_runtime(
        outer,
        context=runtime.default_context(engine.context_schema) if outer.context is None else outer.context,
        store=outer.store or engine.store,
        stream_writer=outer.stream_writer,
        server_info=runtime.server_info_from(base.config),
        control=None,
    )
    facts = runtime.RunFacts(own, conf.get(CONFIG_KEY_THREAD_ID), None, None)
    return runtime.attempt_runtime(facts, task, 1, base.checkpoint["id"], environment.current().clock.time(), None)


def _update_id(checkpoint_id: str, index: int) -> str:
    """Return the id of an update that stands for no planned task."""
    return str(uuid5(UUID(checkpoint_id), INTERRUPT if index == 0 else f"{INTERRUPT}:{index}"))
