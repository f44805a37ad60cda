"""A planned task, executed where there is no run around it: by a worker that was only sent the task.

Rules
-----
* Everything the task needs is in it: its config, its policies, what executes it.
* Its writes appear in it when it has ended; an attempt before the last one leaves none behind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from langchain_core.runnables import RunnableConfig

from stategraph.constants import (
    CONF,
    CONFIG_KEY_CHECKPOINT_ID,
    CONFIG_KEY_CHECKPOINT_NS,
    CONFIG_KEY_RESUMING,
    CONFIG_KEY_RUNTIME,
    CONFIG_KEY_SCRATCHPAD,
    CONFIG_KEY_SEND,
    CONFIG_KEY_TASK_ID,
    CONFIG_KEY_THREAD_ID,
)
from stategraph.core.moves import Outcome
from stategraph.core.task import Draft, Task
from stategraph.engine.compile.compiled_node import CompiledNode
from stategraph.engine.config import environment
from stategraph.engine.config.runnable_config import patch_configurable
from stategraph.engine.config.runtime import ExecutionInfo, Runtime
from stategraph.engine.config.scratchpad import PregelScratchpad, new_counter
from stategraph.engine.ports import Clock
from stategraph.engine.tasks import attempt
from stategraph.engine.tasks.scope import TaskScope
from stategraph.types import PregelExecutableTask, RetryPolicy


def run(
    task: PregelExecutableTask,
    retry_policy: Sequence[RetryPolicy] | None,
    configurable: Mapping[str, Any] | None = None,
) -> Any:
    """Run a task to its end.

    Args:
        task: The task; its writes end up in it.
        retry_policy: For tasks without a policy.
        configurable: Replaces values of the task's config.

    Returns:
        What its work returned.

    Raises:
        GraphBubbleUp: If it waits for an answer, or addresses another graph.
        ValueError: If it has a time limit, which needs `arun`.
        BaseException: What it failed with.
    """
    host, own = _prepare(task, retry_policy, configurable, streams=False)
    return _hand_back(task, attempt.run(host, own))


async def arun(
    task: PregelExecutableTask,
    retry_policy: Sequence[RetryPolicy] | None,
    stream: bool = False,
    configurable: Mapping[str, object] | None = None,
) -> Any:
    """Like `run`, for async tasks; time limits apply.

    Args:
        task: The task; its writes end up in it.
        retry_policy: For tasks without a policy.
        stream: Whether to take its work's output piece by piece. What is returned is then the value that a called
            function has written as its result.
        configurable: Replaces values of the task's config.
    """
    host, own = _prepare(task, retry_policy, configurable, streams=stream)
    return _hand_back(task, await attempt.arun(host, own))


def execution_info(config: RunnableConfig, task_id: str) -> ExecutionInfo:
    """Return the execution info of a task, as far as its config has it.

    Args:
        config: The task's config.
        task_id: The task, if the config does not name it.
    """
    conf = config.get(CONF, {})
    run_id = config.get("run_id")
    return ExecutionInfo(
        checkpoint_id=conf.get(CONFIG_KEY_CHECKPOINT_ID) or "",
        checkpoint_ns=conf.get(CONFIG_KEY_CHECKPOINT_NS) or "",
        task_id=conf.get(CONFIG_KEY_TASK_ID) or task_id,
        thread_id=conf.get(CONFIG_KEY_THREAD_ID),
        run_id=str(run_id) if run_id else None,
    )


def _prepare(
    task: PregelExecutableTask,
    retry_policy: Sequence[RetryPolicy] | None,
    configurable: Mapping[str, object] | None,
    *,
    streams: bool,
) -> tuple[_Host, Task]:
    config = patch_configurable(task.config, dict(configurable or {}))
    ns = config[CONF].get(CONFIG_KEY_CHECKPOINT_NS) or ""
    own = Task(task.id, task.name, None, task.path, task.triggers, ns, 0, 0)
    own.input = task.input
    own.body = CompiledNode(
        source=task.proc,
        work=None,
        plan=None,
        writers=None,
        command_writers=task.writers,
        retry_policy=tuple(task.retry_policy or ()),
        timeout=task.timeout,
    )
    return _Host(config, tuple(retry_policy or ()), streams), own


def _hand_back(task: PregelExecutableTask, outcome: Outcome) -> object:
    """Put an outcome's writes into the task; returns what its work returned, or raises what it raised."""
    task.writes.clear()
    task.writes.extend(outcome.writes)
    if isinstance(outcome, Draft):
        return outcome.value
    raise outcome.error


@dataclass(frozen=True, slots=True)
class _Host:
    """Stands in for the run: everything comes from the task's own config."""

    config: RunnableConfig
    retry_policy: Sequence[RetryPolicy]
    streams_nodes: bool
    traced: bool = True
    whole: bool = True
    takes_turns: bool = True
    clock: Clock = field(default_factory=lambda: environment.current().clock)

    @property
    def configs(self) -> attempt.Scopes:
        return self

    def scope(self, run: Any, task: Task, number: int, started_at: float, /) -> TaskScope:
        conf = self.config[CONF]
        scope = _Scope(task)
        patch: dict[str, object] = {CONFIG_KEY_SEND: scope.writes.extend}
        runtime = conf.get(CONFIG_KEY_RUNTIME)
        if not isinstance(runtime, Runtime):
            runtime = Runtime()
        info = runtime.execution_info or execution_info(self.config, task.id)
        patch[CONFIG_KEY_RUNTIME] = runtime.override(
            execution_info=info.patch(node_attempt=number, node_first_attempt_time=started_at)
        )
        if number > 1:
            patch[CONFIG_KEY_RESUMING] = True
            pad = conf.get(CONFIG_KEY_SCRATCHPAD)
            if isinstance(pad, PregelScratchpad):
                patch[CONFIG_KEY_SCRATCHPAD] = replace(pad, interrupt_counter=new_counter())
        scope.config = patch_configurable(self.config, patch)
        return scope


class _Scope(TaskScope):
    """The hands of a task that reads the state, if at all, through what its config came with."""

    __slots__ = ()

    def __init__(self, task: Task) -> None:
        self.task = task
        self.writes = []
        self.fresh = self.value = None
        self.config = {}
        self.progress = None
