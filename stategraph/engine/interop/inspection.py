"""Tasks and checkpoints looked at from outside: for servers and adapters written against LangGraph's debug helpers.

The engine itself has no use for these functions. They take the shapes that such code holds (public tasks, lists of
pending writes, channel objects) and give what the engine's own projections would.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final, NamedTuple, Protocol

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import EXCLUDED_METADATA_KEYS, CheckpointMetadata

from stategraph.constants import (
    CONF,
    CONFIG_KEY_CHECKPOINT_NS,
    CONFIG_KEY_THREAD_ID,
    ERROR,
    MISSING,
    NS_END,
    NS_SEP,
    NULL_TASK_ID,
    RESUME,
    RETURN,
    TAG_HIDDEN,
)
from stategraph.core import output, status
from stategraph.core.channels.base import BaseChannel
from stategraph.engine.compile.managed import ManagedValueSpec
from stategraph.engine.compile.node import PregelNode
from stategraph.engine.config.runnable_config import filter_to_user_tags, patch_checkpoint_map
from stategraph.engine.config.scratchpad import PregelScratchpad, new_counter
from stategraph.types import PregelExecutableTask, PregelTask, interrupt_id

Channels = Mapping[str, BaseChannel[Any, Any, Any]]
PendingWrites = Sequence[tuple[str, str, Any]]

_COLOURS: Final = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")

COLOR_CODES: Final = {"gray": "1;30", **{name: f"0;3{number}" for number, name in enumerate(_COLOURS)}}
"""The codes of a terminal's colours."""


class Described(Protocol):
    """The attributes of a task that a description needs."""

    @property
    def id(self) -> str:
        """Unique in its thread."""

    @property
    def name(self) -> str:
        """The node."""

    @property
    def path(self) -> tuple[Any, ...]:
        """The task's origin."""


class PregelTaskWrites(NamedTuple):
    """Writes that no task made, such as an input or an update of the state, in the form of a task's."""

    path: tuple[object, ...]
    name: str
    writes: Sequence[tuple[str, Any]]
    triggers: Sequence[str]


# --- payloads of the debug stream ---


def map_debug_tasks(tasks: Iterable[PregelExecutableTask]) -> Iterator[dict[str, Any]]:
    """Describe tasks that are about to run; hidden ones are left out."""
    for task in tasks:
        config = task.config or {}
        if TAG_HIDDEN in (config.get("tags") or ()):
            continue
        metadata = config.get("metadata") or {}
        shown = {key: metadata[key] for key in metadata if key not in EXCLUDED_METADATA_KEYS}
        if (tags := filter_to_user_tags(config.get("tags"))) is not None:
            shown["tags"] = tags
        payload = {"id": task.id, "name": task.name, "input": task.input, "triggers": task.triggers}
        yield {**payload, "metadata": shown} if shown else payload


def map_debug_task_results(
    task_tup: tuple[PregelExecutableTask, Sequence[tuple[str, object]]], stream_keys: str | Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Describe what a task ended with.

    Args:
        task_tup: The task, and its writes.
        stream_keys: The channels that are shown.
    """
    task, writes = task_tup
    shown = {RETURN, *((stream_keys,) if isinstance(stream_keys, str) else stream_keys)}
    yield {
        "id": task.id,
        "name": task.name,
        "error": next((value for channel, value in writes if channel == ERROR), None),
        "result": output.fold(write for write in writes if write[0] in shown),
        "interrupts": [asdict(interrupt) for interrupt in output.interrupts_in(writes)],
    }


def map_debug_checkpoint(
    config: RunnableConfig,
    channels: Channels,
    stream_channels: str | Sequence[str],
    metadata: CheckpointMetadata,
    tasks: Iterable[PregelExecutableTask],
    pending_writes: PendingWrites,
    parent_config: RunnableConfig | None,
    output_keys: str | Sequence[str],
) -> Iterator[dict[str, Any]]:
    """Describe a checkpoint and the tasks that come next.

    Args:
        config: Names the checkpoint.
        channels: The live channels.
        stream_channels: Those that are shown as its values.
        metadata: The metadata stored with it.
        tasks: The tasks of the next step.
        pending_writes: The writes recorded for them.
        parent_config: Names the checkpoint before it.
        output_keys: The channels that a task's result is made of.
    """
    tasks = list(tasks)
    outer = config[CONF].get(CONFIG_KEY_CHECKPOINT_NS, "")
    prefix = f"{outer}{NS_SEP}" if outer else ""
    nested = {
        task.id: {
            CONF: {
                CONFIG_KEY_THREAD_ID: config[CONF][CONFIG_KEY_THREAD_ID],
                CONFIG_KEY_CHECKPOINT_NS: f"{prefix}{task.name}{NS_END}{task.id}",
            }
        }
        for task in tasks
        if task.subgraphs
    }
    described = tasks_w_writes(tasks, pending_writes, nested, output_keys)
    places = {"config": config, "parent_config": parent_config}
    yield {
        **{name: rm_pregel_keys(patch_checkpoint_map(place, metadata)) for name, place in places.items()},
        "values": read_channels(channels, stream_channels),
        "metadata": metadata,
        "next": [task.name for task in tasks],
        "tasks": [_entry(task) for task in described],
    }


def tasks_w_writes(
    tasks: Iterable[Described],
    pending_writes: PendingWrites | None,
    states: Mapping[str, object] | None,
    output_keys: str | Sequence[str],
    *,
    live: bool = False,
) -> tuple[PregelTask, ...]:
    """Describe the tasks of a step with the writes recorded for each.

    Args:
        tasks: The tasks.
        pending_writes: The recorded writes.
        states: For tasks that run a graph: its state, or a config to look it up with.
        output_keys: The channels that a result is made of.
        live: Show only the interrupts that still wait, not all that were raised.
    """
    recorded = {task: writes for task, writes in status.group(pending_writes).items() if task != NULL_TASK_ID}
    return output.described_tasks(tasks, recorded, states or {}, output_keys, live=live)  # type: ignore[arg-type]


def rm_pregel_keys(config: RunnableConfig | None) -> RunnableConfig | None:
    """Return a config reduced to what callers may see of its `configurable`."""
    if config is None:
        return None
    return {CONF: {key: value for key, value in config.get(CONF, {}).items() if not key.startswith("__pregel_")}}


def is_multiple_channel_write(value: object) -> bool:
    """Return whether a described result stands for several writes to one channel."""
    return isinstance(value, dict) and isinstance(value.get("$writes"), list)


def get_colored_text(text: str, color: str) -> str:
    """Format text for a terminal, in colour.

    Raises:
        KeyError: If there is no such colour.
    """
    return f"\033[1;3{COLOR_CODES[color]}m{text}\033[0m"


def get_bolded_text(text: str) -> str:
    """Format text for a terminal, in bold."""
    return f"\033[1m{text}\033[0m"


def _entry(task: PregelTask) -> dict[str, object]:
    entry: dict[str, object] = {"id": task.id, "name": task.name, "state": task.state}
    if task.error:
        return {**entry, "error": task.error}
    entry["interrupts"] = tuple(asdict(interrupt) for interrupt in task.interrupts)
    return {**entry, "result": task.result} if task.result else entry


# --- reading state as a task does ---


def read_channels(channels: Channels, select: str | Sequence[str]) -> Any:
    """Return the value of one channel, None if it has none; or the values of several, without those that have none."""
    if isinstance(select, str):
        return channels[select].get() if channels[select].is_available() else None
    return {name: channels[name].get() for name in select if channels[name].is_available()}


def local_read(
    scratchpad: PregelScratchpad,
    channels: Channels,
    managed: Mapping[str, ManagedValueSpec],
    task: PregelTaskWrites,
    select: list[str] | str,
    fresh: bool = False,
) -> Any:
    """Return the state as one task sees it.

    Args:
        scratchpad: The task's, for managed values.
        channels: The live channels; they are not changed.
        managed: Managed values by name.
        task: The task, with its writes so far.
        select: What to read.
        fresh: Whether to see the task's own writes applied.
    """
    names = (select,) if isinstance(select, str) else tuple(name for name in select if name not in managed)
    seen: dict[str, BaseChannel[Any, Any, Any]] = {name: channels[name] for name in names}
    if fresh:
        for name in names:
            seen[name] = seen[name].copy()
            seen[name].update([value for channel, value in task.writes if channel == name])
    if isinstance(select, str):
        return read_channels(seen, select)
    provided = {name: managed[name].get(scratchpad) for name in select if name in managed}
    return {**read_channels(seen, names), **provided}


def proc_input(
    proc: PregelNode,
    managed: Mapping[str, ManagedValueSpec],
    channels: Channels,
    *,
    for_execution: bool,
    scratchpad: PregelScratchpad,
    input_cache: dict[Any, Any] | None,
) -> Any:
    """Return the input of a node that is started by a channel.

    Args:
        proc: The node.
        managed: Managed values by name.
        channels: The live channels.
        for_execution: Whether the node's mapper is applied.
        scratchpad: For managed values.
        input_cache: Inputs of this step so far, shared by nodes that read the same channels. None: there is none.

    Returns:
        The input; `MISSING` if the node reads one channel and that has no value.
    """
    names = proc.channels if isinstance(proc.channels, str) else tuple(proc.channels)
    key = (proc.mapper, names)
    if input_cache is not None and key in input_cache:
        return copy.copy(input_cache[key])
    value: object
    if isinstance(names, str):
        if names not in channels or not channels[names].is_available():
            return MISSING
        value = channels[names].get()
    else:
        value = {
            name: channels[name].get() if name in channels else managed[name].get(scratchpad)
            for name in names
            if name not in channels or channels[name].is_available()
        }
    if for_execution and proc.mapper is not None:
        value = proc.mapper(value)
    if input_cache is not None:
        input_cache[key] = value
    return value


def scratchpad_of(
    parent_scratchpad: PregelScratchpad | None,
    pending_writes: list[tuple[str, str, Any]],
    task_id: str,
    task_checkpoint_ns: str,
    resume_map: Mapping[str, object] | None,
    step: int,
    stop: int,
) -> PregelScratchpad:
    """Return the bookkeeping of a task that starts, with the answers it has been given.

    Args:
        parent_scratchpad: Of the task that runs this graph, if any.
        pending_writes: The writes recorded in the step. The answer to no interrupt in particular is removed when taken.
        task_id: The task.
        task_checkpoint_ns: Its namespace.
        resume_map: Answers by interrupt id.
        step: The step it belongs to.
        stop: The first step that the run may not take.
    """
    given: object = next((w[2] for w in pending_writes if w[0] == task_id and w[1] == RESUME), [])
    answers = list(given) if isinstance(given, list) else [given]
    if resume_map and pending_writes:
        # The first interrupt's id is what older versions gave to every interrupt of a task.
        ids = (interrupt_id(task_checkpoint_ns, len(answers)), interrupt_id(task_checkpoint_ns, 0))
        answers += [resume_map[id_] for id_ in ids if id_ in resume_map][:1]
    general = next((w for w in pending_writes if w[0] == NULL_TASK_ID and w[1] == RESUME), None)

    def general_answer(consume: bool = False) -> Any:
        if general is None:
            return None if parent_scratchpad is None else parent_scratchpad.get_null_resume(consume)
        if consume:
            if general not in pending_writes:
                return None
            pending_writes.remove(general)
        return general[2]

    return PregelScratchpad(
        step=step,
        stop=stop,
        call_counter=new_counter(),
        interrupt_counter=new_counter(),
        get_null_resume=general_answer,
        resume=answers,
        subgraph_counter=new_counter(),
    )
