"""Payloads of the stream modes that show what the machine does, made from its facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Protocol

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import EXCLUDED_METADATA_KEYS

from stategraph.constants import CONF, CONFIG_KEY_CHECKPOINT_NS, ERROR, INTERRUPT, RETURN
from stategraph.core import output
from stategraph.core.effects import TaskSettled
from stategraph.core.machine import Machine
from stategraph.core.state import State
from stategraph.core.task import Draft, Task
from stategraph.engine.config.environment import Environment
from stategraph.engine.config.runnable_config import filter_to_user_tags, patch_checkpoint_map
from stategraph.types import PregelTask

NOTHING: Any = object()
"""Stands for a chunk that nobody gets to see."""

_NO_UPDATE: Final = frozenset((ERROR, INTERRUPT))

End = TaskSettled | Draft
"""The fact that a task ended."""


class ShownRun(Protocol):
    """The run whose facts are shown; see `stategraph.engine.runs.execution.Execution`."""

    @property
    def environment(self) -> Environment:
        """The run's surroundings: clock, ids, runner of tasks, sinks of facts."""

    @property
    def machine(self) -> Machine:
        """The run as the core knows it."""

    @property
    def ns(self) -> str:
        """The namespace of the run's graph within the thread."""

    @property
    def output_keys(self) -> str | Sequence[str]:
        """The channels that make up the output."""

    @property
    def stream_keys(self) -> str | Sequence[str]:
        """The channels shown as the state."""

    def configure(self, task: Task) -> RunnableConfig:
        """Return the config of a task."""

    def checkpoint_config(self, checkpoint_id: str) -> RunnableConfig:
        """Return the config that addresses a checkpoint of the run's thread."""

    def parent_config(self) -> RunnableConfig | None:
        """Return the config that addresses the checkpoint before the current one."""


@dataclass(slots=True)
class Subject:
    """The run that payloads are about.

    Attributes:
        run: The run.
        state: Its channels.
        output_keys: Those that make up its output.
        keys: The same, to look up.
    """

    run: ShownRun
    state: State
    output_keys: str | Sequence[str]
    keys: str | frozenset[str]


# -- values and updates --------------------------------------------------------


def output_values(subject: Subject) -> Any:
    """Read the output channels."""
    return subject.state.read(subject.output_keys)


def values_with_questions(subject: Subject, interrupts: tuple[Any, ...]) -> Any:
    """Read the output channels, and add what is asked."""
    values = output_values(subject)
    return {**values, INTERRUPT: interrupts} if isinstance(values, dict) else {INTERRUPT: interrupts}


def update(subject: Subject, end: End) -> Any:
    """Show what a task that ended well wrote to the output channels."""
    writes = end.writes
    if writes and writes[0][0] in _NO_UPDATE:
        return NOTHING
    if type(end) is TaskSettled and end.cached:
        return output.updates(end.task, writes, subject.keys, True)
    return {end.task.name: output.update_of(writes, subject.keys)}


def questions(_: Subject, interrupts: tuple[Any, ...]) -> Any:
    """Show what is asked; nothing is at a breakpoint."""
    return {INTERRUPT: interrupts}


# -- tasks ---------------------------------------------------------------------


def task_started(subject: Subject, task: Task) -> Any:
    """Describe a task that is about to run."""
    payload: dict[str, Any] = {"id": task.id, "name": task.name, "input": task.input, "triggers": task.triggers}
    config = subject.run.configure(task)
    shown = {key: value for key, value in (config.get("metadata") or {}).items() if key not in EXCLUDED_METADATA_KEYS}
    tags = filter_to_user_tags(config.get("tags"))
    if tags is not None:
        shown["tags"] = tags
    if shown:
        payload["metadata"] = shown
    return payload


def task_result(subject: Subject, end: End) -> Any:
    """Describe how a task ended; one that was cached has not run."""
    if end.cached:
        return NOTHING
    keys = subject.run.stream_keys
    shown = (keys,) if isinstance(keys, str) else keys
    return {
        "id": end.task.id,
        "name": end.task.name,
        "error": next((value for channel, value in end.writes if channel == ERROR), None),
        "result": output.fold(w for w in end.writes if w[0] in shown or w[0] == RETURN),
        "interrupts": [asdict(i) for i in output.interrupts_in(end.writes)],
    }


# -- checkpoints ---------------------------------------------------------------


def checkpoint(subject: Subject, tasks: Sequence[Task]) -> Any:
    """Describe a checkpoint, and the tasks that come after it, in the form of `get_state`."""
    run = subject.run
    machine = run.machine
    metadata = machine.metadata
    config = run.checkpoint_config(machine.checkpoint["id"])
    states = {
        task.id: {CONF: {"thread_id": config[CONF]["thread_id"], CONFIG_KEY_CHECKPOINT_NS: task.ns}}
        for task in tasks
        if task.node is not None and task.node.has_subgraphs
    }
    described = output.described_tasks(tasks, machine.pending, states, run.output_keys)
    return {
        "config": _public(patch_checkpoint_map(config, metadata)),
        "parent_config": _public(patch_checkpoint_map(run.parent_config(), metadata)),
        "values": machine.state.read(run.stream_keys),
        "metadata": metadata,
        "next": [task.name for task in tasks],
        "tasks": [_task_entry(task) for task in described],
    }


def _task_entry(task: PregelTask) -> dict[str, Any]:
    entry: dict[str, Any] = {"id": task.id, "name": task.name}
    if task.error:
        return {**entry, "error": task.error, "state": task.state}
    if task.result:
        entry["result"] = task.result
    entry["interrupts"] = tuple(asdict(i) for i in task.interrupts)
    entry["state"] = task.state
    return entry


def _public(config: RunnableConfig | None) -> dict[str, Any] | None:
    """Return a config without the engine's own keys."""
    if config is None:
        return None
    conf = config.get(CONF, {})
    return {CONF: {k: v for k, v in conf.items() if not k.startswith("__pregel_")}}


# -- with step and time --------------------------------------------------------


def started_at(subject: Subject, task: Task) -> Any:
    """Wrap the description of a task that is about to run."""
    return _wrapped(subject, "task", task_started(subject, task), task.step)


def result_at(subject: Subject, end: End) -> Any:
    """Wrap the description of how a task ended."""
    return _wrapped(subject, "task_result", task_result(subject, end), end.task.step)


def checkpoint_at(subject: Subject, tasks: Sequence[Task]) -> Any:
    """Wrap the description of a checkpoint."""
    return _wrapped(subject, "checkpoint", checkpoint(subject, tasks), subject.run.machine.step - 1)


def _wrapped(subject: Subject, kind: str, payload: Any, step: int) -> Any:
    if payload is NOTHING:
        return NOTHING
    return {"step": step, "timestamp": subject.run.environment.now(), "type": kind, "payload": payload}
