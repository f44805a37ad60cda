"""Chunks of stream modes, made from facts of a run: the one projection of the one event source.

Rules
-----
* A chunk is ``(namespace, mode, payload)``. It is built only if it is read
  that mode: the run's own caller, or the caller of an enclosing run that
  streams subgraphs.
* ``debug`` is ``checkpoints`` and ``tasks`` with a wrapper.
* Chunks leave in the order of the facts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from typing import Any, Literal, NamedTuple, Protocol

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import EXCLUDED_METADATA_KEYS

from stategraph.constants import CONF, CONFIG_KEY_CHECKPOINT_NS, ERROR, INTERRUPT, NS_SEP, RETURN, START
from stategraph.core import output
from stategraph.core.effects import (
    CheckpointReached,
    Effect,
    PausedBare,
    TaskSettled,
    TasksPlanned,
    ValuesChanged,
)
from stategraph.core.machine import Machine
from stategraph.core.settings import Watch
from stategraph.core.task import Draft, Task
from stategraph.engine.config.environment import Environment
from stategraph.engine.config.runnable_config import filter_to_user_tags, patch_checkpoint_map

Chunk = tuple[tuple[str, ...], str, Any]


class ShownRun(Protocol):
    """The run whose facts are shown; see `stategraph.engine.runs.execution.Execution`."""

    environment: Environment
    machine: Machine
    ns: str

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


@cache
def watch_for(modes: frozenset[str]) -> Watch:
    """Return the facts that the machine has to report so that these modes can be served."""
    debug = "debug" in modes
    return Watch(
        values="values" in modes,
        updates=not modes.isdisjoint(("values", "updates")),
        settled=debug or "tasks" in modes,
        planned=debug or "tasks" in modes,
        checkpoints=debug or "checkpoints" in modes,
    )


class Projector:
    """Builds a run's chunks and hands them to its stream."""

    __slots__ = ("_bare", "_emit", "_execution", "_keys", "_results", "_updates", "modes", "ns")

    def __init__(self, execution: ShownRun, modes: frozenset[str], emit: Callable[[Any], None], *, bare: bool) -> None:
        """Args: modes: Those with readers; emit: Takes each chunk; bare: Whether it takes the payloads alone."""
        self._execution = execution
        self._emit = emit
        self._bare = bare
        self.modes = modes
        self.ns = tuple(execution.ns.split(NS_SEP)) if execution.ns else ()
        keys = execution.output_keys
        self._keys = keys if isinstance(keys, str) else frozenset(keys)
        self._updates = "updates" in modes
        self._results = "tasks" in modes or "debug" in modes

    def project(self, effect: Effect) -> None:
        """Build the chunks of one fact."""
        if isinstance(effect, (TaskSettled, Draft)):
            self.settled(effect)
        elif type(effect) is ValuesChanged:
            if "values" in self.modes:
                state = self._execution.machine.state
                self._send("values", state.read(self._execution.output_keys))
        elif type(effect) is TasksPlanned:
            for task in effect.tasks:
                if not self._hidden(task):
                    self._send_debuggable("tasks", "task", self._described_task(task), task.step)
        elif type(effect) is CheckpointReached:
            step = self._execution.machine.step - 1
            self._send_debuggable("checkpoints", "checkpoint", self._described_checkpoint(effect.tasks), step)
        elif type(effect) is PausedBare:
            self._send("updates", {INTERRUPT: ()})

    def _hidden(self, task: Task) -> bool:
        return task.node is not None and task.node.hidden

    def _send(self, mode: str, payload: Any) -> None:
        if mode in self.modes:
            self._emit(payload if self._bare else (self.ns, mode, payload))

    def _send_debuggable(self, mode: str, kind: str, payload: Any, step: int) -> None:
        self._send(mode, payload)
        if "debug" in self.modes:
            wrapped = {
                "step": step,
                "timestamp": self._execution.environment.now(),
                "type": kind,
                "payload": payload,
            }
            self._send("debug", wrapped)

    def settled(self, fact: TaskSettled | Draft) -> None:
        """Build the chunks of a task's end."""
        task, writes, cached = fact.task, fact.writes, fact.cached
        if task.node is not None and task.node.hidden:
            return
        first = writes[0][0] if writes else None
        if first == INTERRUPT:
            self._asked(output.interrupts_in(writes))
        elif self._updates and first != ERROR:
            self._send("updates", output.updates(task, writes, self._keys, cached))
        if self._results and not cached:
            self._send_debuggable("tasks", "task_result", self._described_result(fact), task.step)

    def _asked(self, interrupts: tuple[Any, ...]) -> None:
        self._send("updates", {INTERRUPT: interrupts})
        if "values" in self.modes:
            values = self._execution.machine.state.read(self._execution.output_keys)
            if isinstance(values, dict):
                self._send("values", {**values, INTERRUPT: interrupts})
            else:
                self._send("values", {INTERRUPT: interrupts})

    def _described_task(self, task: Task) -> dict[str, Any]:
        payload: dict[str, Any] = {
            "id": task.id,
            "name": task.name,
            "input": task.input,
            "triggers": task.triggers,
        }
        config = self._execution.configure(task)
        shown = {
            key: value for key, value in (config.get("metadata") or {}).items() if key not in EXCLUDED_METADATA_KEYS
        }
        tags = filter_to_user_tags(config.get("tags"))
        if tags is not None:
            shown["tags"] = tags
        if shown:
            payload["metadata"] = shown
        return payload

    def _described_result(self, fact: TaskSettled | Draft) -> dict[str, Any]:
        keys = self._execution.stream_keys
        shown = (keys,) if isinstance(keys, str) else keys
        return {
            "id": fact.task.id,
            "name": fact.task.name,
            "error": next((value for channel, value in fact.writes if channel == ERROR), None),
            "result": output.fold(w for w in fact.writes if w[0] in shown or w[0] == RETURN),
            "interrupts": [asdict(i) for i in output.interrupts_in(fact.writes)],
        }

    def _described_checkpoint(self, tasks: Sequence[Task]) -> dict[str, Any]:
        execution = self._execution
        machine = execution.machine
        metadata = machine.metadata
        config = execution.checkpoint_config(machine.checkpoint["id"])
        states = {
            task.id: {
                CONF: {
                    "thread_id": config[CONF]["thread_id"],
                    CONFIG_KEY_CHECKPOINT_NS: task.ns,
                }
            }
            for task in tasks
            if task.node is not None and task.node.has_subgraphs
        }
        described = output.described_tasks(tasks, machine.pending, states, execution.output_keys)
        return {
            "config": _public(patch_checkpoint_map(config, metadata)),
            "parent_config": _public(patch_checkpoint_map(execution.parent_config(), metadata)),
            "values": machine.state.read(execution.stream_keys),
            "metadata": metadata,
            "next": [task.name for task in tasks],
            "tasks": [_task_entry(task) for task in described],
        }


def _task_entry(task: Any) -> dict[str, Any]:
    entry: dict[str, Any] = {"id": task.id, "name": task.name}
    if task.error:
        return {**entry, "error": task.error, "state": task.state}
    if task.result:
        entry["result"] = task.result
    entry["interrupts"] = tuple(asdict(i) for i in task.interrupts)
    entry["state"] = task.state
    return entry


def _public(config: Any) -> dict[str, Any] | None:
    """Return a config without the engine's own keys."""
    if config is None:
        return None
    conf = config.get(CONF, {})
    return {CONF: {k: v for k, v in conf.items() if not k.startswith("__pregel_")}}


# -- what the caller gets ---------------------------------------------------

_NO_MODES = frozenset[str]()

NOTHING: Any = object()
"""Stands for a chunk that the caller does not get to see."""


class Format(NamedTuple):
    """The format of chunks for the caller.

    Attributes:
        modes: Asked-for modes; a plain string when a single one was asked for
            as such, which leaves the mode out of the yielded items.
        printed: Modes that are printed as well.
        subgraphs: Whether the namespace is part of the yielded items.
        version: ``v1`` yields payloads or tuples, ``v2`` typed dicts.
        output_mapper: Coerces ``values`` payloads in v2, or None.
        state_mapper: Coerces states inside checkpoints in v2, or None.
    """

    modes: str | Sequence[str]
    printed: str | Sequence[str]
    subgraphs: bool
    version: Literal["v1", "v2"]
    output_mapper: Callable[[Any], Any] | None = None
    state_mapper: Callable[[Any], Any] | None = None

    def wanted(self) -> frozenset[str]:
        """Return all modes that have to be produced."""
        if not self.modes and not self.printed:
            return _NO_MODES
        modes = (self.modes,) if isinstance(self.modes, str) else self.modes
        printed = (self.printed,) if isinstance(self.printed, str) else self.printed
        return frozenset((*modes, *printed))

    @property
    def bare(self) -> bool:
        """True if the caller gets the payloads of one mode, and nothing around them."""
        return isinstance(self.modes, str) and not (self.printed or self.subgraphs or self.version == "v2")

    def viewer(self) -> Callable[[Chunk], Any]:
        """Return a function that formats a chunk for the caller, or returns ``NOTHING`` to skip it."""
        if self.bare:
            mode = self.modes
            return lambda chunk: chunk[2] if chunk[1] == mode else NOTHING
        return self.show

    def show(self, chunk: Chunk) -> Any:
        """Print a chunk if asked to; returns what the caller is to see of it, or ``NOTHING``."""
        ns, mode, payload = chunk
        if mode in self.printed:
            where = f"{_paint(f'[graph={ns}]', '1;33')} " if self.subgraphs and ns else ""
            print(f"\033[1m[{mode}]\033[0m {where}{payload!r}")
        if mode not in self.modes:
            return NOTHING
        if self.version == "v2":
            return self._part(ns, mode, payload)
        if self.subgraphs and isinstance(self.modes, list):
            return (ns, mode, payload)
        if isinstance(self.modes, list):
            return (mode, payload)
        return (ns, payload) if self.subgraphs else payload

    def _part(self, ns: tuple[str, ...], mode: str, payload: Any) -> dict[str, Any]:
        if mode == "values":
            interrupts: Sequence[Any] = ()
            if isinstance(payload, dict):
                interrupts = payload.pop(INTERRUPT, ())
                if self.output_mapper is not None:
                    payload = self.output_mapper(payload)
            return {"type": mode, "ns": ns, "data": payload, "interrupts": interrupts}
        if mode in ("checkpoints", "debug") and self.state_mapper is not None:
            payload = _with_mapped_values(payload, self.state_mapper)
        return {"type": mode, "ns": ns, "data": payload}


def _with_mapped_values(payload: Any, mapper: Callable[[Any], Any]) -> Any:
    """Coerce the state in a checkpoint, except before the input was applied: it is not whole then."""
    if not isinstance(payload, Mapping):
        return payload
    inner = payload.get("payload")
    if payload.get("type") == "checkpoint" and isinstance(inner, dict):
        return {**payload, "payload": _with_mapped_values(inner, mapper)}
    if isinstance(payload.get("values"), dict) and START not in payload.get("next", ()):
        return {**payload, "values": mapper(payload["values"])}
    return payload


def _paint(text: str, colour: str) -> str:
    return f"\033[1;3{colour}m{text}\033[0m"
