"""The configs of a run's tasks, which tell authors, libraries and subgraphs where they run.

Rules
-----
* A task's config is made of three layers: what all of the run's tasks share, what those of a step share, and the
  task's own. Each is a dict that the next one copies and fills in.
* It is complete before the task's code runs: any code that the task calls can read it, also in C.
* Several threads may ask at once.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from langchain_core.runnables import RunnableConfig

from stategraph.constants import (
    CONF,
    CONFIG_KEY_CALL,
    CONFIG_KEY_CHECKPOINT_ID,
    CONFIG_KEY_CHECKPOINT_MAP,
    CONFIG_KEY_CHECKPOINT_NS,
    CONFIG_KEY_CHECKPOINTER,
    CONFIG_KEY_DURABILITY,
    CONFIG_KEY_LINEAGE,
    CONFIG_KEY_NODE_ERROR,
    CONFIG_KEY_READ,
    CONFIG_KEY_READ_STATE,
    CONFIG_KEY_REPLAY_STATE,
    CONFIG_KEY_RESUME_MAP,
    CONFIG_KEY_RESUMING,
    CONFIG_KEY_RUNTIME,
    CONFIG_KEY_SCRATCHPAD,
    CONFIG_KEY_SEND,
    CONFIG_KEY_STREAM,
    CONFIG_KEY_TASK_ID,
    CONFIG_KEY_THREAD_ID,
    PUSH,
)
from stategraph.core.machine import Machine
from stategraph.core.task import Task
from stategraph.engine.config.quiet_manager import Quiet
from stategraph.engine.config.run_config import UNASKED
from stategraph.engine.config.runnable_config import DefaultRecursionLimit
from stategraph.engine.config.runtime import RunFacts, attempt_runtime
from stategraph.engine.runs import replay
from stategraph.engine.runs.lineage import Lineage
from stategraph.engine.runs.outlet import Outlet
from stategraph.engine.runs.run_plan import RunPlan
from stategraph.engine.tasks.attempt import AttemptContext
from stategraph.engine.tasks.scope import TaskScope
from stategraph.engine.tracing.children import late_child_manager

# Places for what each task fills in: a dict that is copied with them does not grow, which would cost as much as
# the copy.
_OF_EACH_TASK = dict.fromkeys(
    ("langgraph_step", "langgraph_node", "langgraph_triggers", "langgraph_path", "langgraph_checkpoint_ns")
)
_OF_EACH_ATTEMPT = dict.fromkeys(
    (
        CONFIG_KEY_TASK_ID,
        CONFIG_KEY_CHECKPOINT_NS,
        CONFIG_KEY_SCRATCHPAD,
        CONFIG_KEY_SEND,
        CONFIG_KEY_READ,
        CONFIG_KEY_READ_STATE,
        CONFIG_KEY_CALL,
        CONFIG_KEY_RUNTIME,
    )
)


class RunView(Protocol):
    """A run, as far as the configs of its tasks tell of it."""

    plan: RunPlan
    outlet: Outlet
    machine: Machine
    callbacks: Any
    lineage: Lineage | None


class TaskConfigs:
    """Makes the configs of one run's tasks; see the module."""

    __slots__ = (
        "_base",
        "_callbacks",
        "_checkpoints",
        "_conf",
        "_facts",
        "_machine",
        "_map",
        "_metadata",
        "_ns",
        "_of_step",
        "_quiet",
        "_run_id",
        "_state",
        "_tags",
        "_writer",
    )

    def __init__(self, run: RunView, quiet: type[Quiet]) -> None:
        """Make the part that all tasks share.

        Args:
            run: The run, started.
            quiet: The class of the managers that tasks have if nobody listens.
        """
        plan, machine, outlet, callbacks = run.plan, run.machine, run.outlet, run.callbacks
        self._callbacks = callbacks
        self._machine = machine
        self._checkpoints = machine.checkpoints
        state = self._state = machine.state
        self._ns = plan.ns
        self._quiet = quiet
        self._writer = outlet.writer if "custom" in outlet.modes else None
        config = plan.config
        self._base, self._metadata, self._tags = _UNASKED if config is UNASKED else _shared(config, callbacks)
        conf = self._conf = _shared_conf(run)
        run_id = self._run_id = config.get("run_id")
        self._facts = RunFacts(
            plan.runtime,
            conf.get(CONFIG_KEY_THREAD_ID),
            str(run_id) if run_id else None,
            state.previous(),
        )
        self._map = conf.get(CONFIG_KEY_CHECKPOINT_MAP) or {}
        conf.update(_OF_EACH_ATTEMPT)
        # What all tasks of a step share, after what it was made for: the step's checkpoint, and what is said about
        # resuming.
        self._of_step: tuple[Any, bool | None, dict[str, Any]] = (None, None, {})

    def _conf_of_step(self, checkpoint: Any, resuming: bool | None) -> dict[str, Any]:
        conf = self._conf.copy()
        conf[CONFIG_KEY_CHECKPOINT_MAP] = {**self._map, self._ns: checkpoint["id"]}
        if resuming is None:
            conf.pop(CONFIG_KEY_RESUMING, None)
        else:
            conf[CONFIG_KEY_RESUMING] = resuming
        self._of_step = (checkpoint, resuming, conf)
        return conf

    def kept(self, task: Task) -> RunnableConfig:
        """Return the config of a task, which is made once and kept with it."""
        config: RunnableConfig | None = task.config
        if config is None:
            config = task.config = self.of(task)  # type: ignore[assignment]
        return config  # type: ignore[return-value]

    def of(self, task: Task) -> dict[str, Any]:
        """Make the config of a task."""
        body, machine = task.body, self._machine
        checkpoint, resuming = self._checkpoints.checkpoint, machine.child_resuming
        config = self._base.copy()
        metadata = config["metadata"] = self._metadata.copy()
        metadata["langgraph_step"] = task.step
        metadata["langgraph_node"] = task.name
        metadata["langgraph_triggers"] = task.triggers
        metadata["langgraph_path"] = task.path
        metadata["langgraph_checkpoint_ns"] = task.ns
        if body.metadata:
            metadata.update(body.metadata)
        tags = self._tags
        if body.tags:
            tags = config["tags"] = [*tags, *(t for t in body.tags if t not in tags)]
        made_for, made_resuming, made = self._of_step
        if made_for is not checkpoint or made_resuming is not resuming:
            made = self._conf_of_step(checkpoint, resuming)
        conf = config[CONF] = made.copy()
        conf[CONFIG_KEY_TASK_ID] = task.id
        conf[CONFIG_KEY_CHECKPOINT_NS] = task.ns
        conf[CONFIG_KEY_SCRATCHPAD] = task
        if task.parent_ns != self._ns:
            # Another task started it: it called it, or failed and is handled by it.
            around = dict.fromkeys(_namespaces_around(task, self._ns), checkpoint["id"])
            conf[CONFIG_KEY_CHECKPOINT_MAP] = {**conf[CONFIG_KEY_CHECKPOINT_MAP], **around}
            if task.error is not None:
                conf[CONFIG_KEY_NODE_ERROR] = task.error
        if self._callbacks is not None:
            config.pop("run_id", None)
            config["run_name"] = task.name
            called_with = task.call.callbacks if task.call is not None else None
            config["callbacks"] = called_with or late_child_manager(self._callbacks, f"graph:step:{task.step}")
        else:
            quiet = self._quiet  # the call of an attribute would look it up in the class first
            config["callbacks"] = quiet(self._run_id, tags, metadata, "seq:step:1")
        return config

    def scope(self, run: AttemptContext, task: Task, number: int, started_at: float) -> TaskScope:
        """Open an attempt: a config and a place for its writes.

        Args:
            run: The run.
            task: The task.
            number: The attempt's, from 1.
            started_at: When the first attempt started, in seconds since the epoch.
        """
        scope = TaskScope(task, self._state, run)
        made = task.config
        if made is None:
            config = self.of(task)
            conf = config[CONF]
        else:
            config = made.copy()
            config["metadata"] = made["metadata"].copy()
            conf = config[CONF] = made[CONF].copy()
        conf[CONFIG_KEY_SEND] = scope.writes.extend
        conf[CONFIG_KEY_READ] = scope
        if task.path[0] == PUSH and task.was_sent:
            conf[CONFIG_KEY_READ_STATE] = scope.read_input
        conf[CONFIG_KEY_CALL] = scope.call
        writer = None if self._writer is None else self._writer(task)
        conf[CONFIG_KEY_RUNTIME] = attempt_runtime(
            self._facts, task, number, self._checkpoints.checkpoint["id"], started_at, writer
        )
        if number > 1:
            conf[CONFIG_KEY_RESUMING] = True
        scope.config = config  # type: ignore[assignment]
        return scope


class FlowConfigs(TaskConfigs):
    """Configs of tasks that do not all see the same state."""

    __slots__ = ()

    def scope(self, run: AttemptContext, task: Task, number: int, started_at: float) -> TaskScope:
        """Open an attempt, with the state that its task sees; see `TaskConfigs.scope`."""
        scope = super().scope(run, task, number, started_at)
        if task.state is not None:
            scope.sees(task.state)
        return scope


def _shared(config: RunnableConfig, callbacks: Any) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """Return what all configs of tasks start from: a config, its metadata and its tags; nobody changes them.

    Args:
        config: The run's.
        callbacks: The run manager of a traced run, or None.
    """
    base: dict[str, Any] = dict(config)
    base.pop("run_name", None)
    # A node sees only what somebody asked for.
    if not (tags := base.get("tags")):
        base.pop("tags", None)
    if isinstance(base.get("recursion_limit"), DefaultRecursionLimit):
        del base["recursion_limit"]
    if callbacks is None:
        base.pop("run_id", None)
    return base, {**(base.get("metadata") or {}), **_OF_EACH_TASK}, list(tags or ())


_UNASKED: Final = _shared(UNASKED, None)


def _shared_conf(run: RunView) -> dict[str, Any]:
    plan, machine = run.plan, run.machine
    conf = dict(plan.config[CONF])
    if plan.saver is not None or CONFIG_KEY_CHECKPOINTER not in conf:
        conf[CONFIG_KEY_CHECKPOINTER] = plan.saver
    conf[CONFIG_KEY_CHECKPOINT_ID] = None
    if run.lineage is not None or CONFIG_KEY_LINEAGE in conf:
        conf[CONFIG_KEY_LINEAGE] = run.lineage
    if plan.given.durability is not None:
        conf[CONFIG_KEY_DURABILITY] = plan.durability
    if run.outlet.stream is not None:
        conf[CONFIG_KEY_STREAM] = run.outlet.stream
    if machine.resume_map is not None:
        conf[CONFIG_KEY_RESUME_MAP] = machine.resume_map
    if not plan.nested:
        state = machine.replay_id
        conf[CONFIG_KEY_REPLAY_STATE] = replay.ReplayState(state) if state else None
    return conf


def _namespaces_around(task: Task, ns: str) -> list[str]:
    """List the namespaces of the tasks that started each other, down to a task.

    Args:
        task: The last of them.
        ns: The namespace of their run.
    """
    found: list[str] = []
    while task.parent_ns != ns:
        found.append(task.parent_ns)
        task = task.parent
    return found[::-1]
