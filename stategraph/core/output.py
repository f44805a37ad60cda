"""From writes and channels to what a caller is shown.

Rules
-----
* ``values`` is the state after a step; ``updates`` is what each task wrote,
  keyed by node name.
* A node that ran several times in a step shows a list; one that wrote nothing
  shows None.
* A function that ran as a task shows what it returned.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from stategraph.constants import INTERRUPT, MISSING, RESUME, RETURN, START, TASKS
from stategraph.core import status
from stategraph.core.checkpoint import Values
from stategraph.core.task import Task, Write
from stategraph.errors import InvalidUpdateError
from stategraph.types import Command, Interrupt, PregelTask, Send


def command_writes(command: Command[Any]) -> Iterator[Write]:
    """Yield what a command given as a run's input writes.

    Raises:
        InvalidUpdateError: If the command addresses a parent graph.
        TypeError: If ``goto`` holds anything but node names and ``Send``.
    """
    if command.graph == Command.PARENT:
        raise InvalidUpdateError("There is no parent graph")
    for target in command._targets():
        if isinstance(target, Send):
            yield TASKS, target
        else:
            yield f"branch:to:{target}", START
    if command.resume is not None:
        yield RESUME, command.resume
    if command.update:
        yield from command._update_as_tuples()


def input_writes(channels: str | Sequence[str], value: object, unknown: list[str]) -> list[Write]:
    """Return what the input of a run writes.

    Args:
        channels: The input channel, or the list of them.
        value: The input; None writes nothing.
        unknown: Collects keys that are no input channel; they are left out.

    Raises:
        TypeError: If the graph takes several channels and the input is no dict.
    """
    if value is None:
        return []
    if isinstance(channels, str):
        return [(channels, value)]
    if not isinstance(value, dict):
        raise TypeError(f"Expected chunk to be a dict, got {type(value).__name__}")
    writes = []
    for key, item in value.items():
        if key in channels:
            writes.append((key, item))
        else:
            unknown.append(key)
    return writes


def update_of(writes: Sequence[Write], keys: str | frozenset[str]) -> Any:
    """Show one task's writes as the ``updates`` stream does: None if there is nothing to show, a list if several."""
    if isinstance(keys, str):
        return _value_of(writes, keys)
    shown: Values = {}
    repeated = False
    for channel, value in writes:
        if channel in keys:
            repeated = repeated or channel in shown
            shown[channel] = value
        elif channel == RETURN:
            return value
    return [{c: v} for c, v in writes if c in keys] if repeated else shown or None


def _value_of(writes: Sequence[Write], key: str) -> Any:
    returned = [value for channel, value in writes if channel == RETURN]
    if returned:
        return returned[0]
    values = [value for channel, value in writes if channel == key]
    return values if len(values) > 1 else values[0] if values else None


def updates(task: Task, writes: Sequence[Write], keys: str | frozenset[str], cached: bool) -> Values:
    """Make the ``updates`` chunk of a task that ended well."""
    chunk = {task.name: update_of(writes, keys)}
    if cached:
        chunk["__metadata__"] = {"cached": cached}
    return chunk


def fold(writes: Iterable[Write]) -> Values:
    """Turn writes into a dict; several to one channel become ``{"$writes": [...]}``."""
    folded: Values = {}
    for channel, value in writes:
        before = folded.get(channel)
        if before is None:
            folded[channel] = value
        elif isinstance(before, dict) and isinstance(before.get("$writes"), list):
            before["$writes"].append(value)
        else:
            folded[channel] = {"$writes": [before, value]}
    return folded


def interrupts_in(writes: Iterable[Write]) -> tuple[Interrupt, ...]:
    """Return the interrupts among a task's writes."""
    found: list[Interrupt] = []
    for channel, value in writes:
        if channel == INTERRUPT:
            found.extend(value if isinstance(value, (list, tuple)) else (value,))
    return tuple(found)


def described_tasks(
    tasks: Iterable[Task],
    pending: Mapping[str, list[Write]],
    states: Mapping[str, Any],
    output_keys: str | Sequence[str],
    *,
    live: bool = False,
) -> tuple[PregelTask, ...]:
    """Describe the tasks of a step, with what is recorded about each.

    Args:
        tasks: The step's tasks.
        pending: Recorded writes by task id.
        states: For tasks that run a graph of their own: its state, or the
            config to look it up with.
        output_keys: The channels a result is made of.
        live: Show only interrupts that still wait, not all that were raised.
    """
    described = []
    for task in tasks:
        known = status.of(pending.get(task.id, ()))
        described.append(
            PregelTask(
                task.id,
                task.name,
                task.path,
                known.error,
                known.waiting if live else known.interrupts,
                states.get(task.id),
                _result(known.output, output_keys) if known.output else None,
            )
        )
    return tuple(described)


def _result(output: Sequence[Write], keys: str | Sequence[str]) -> Any:
    returned = next((value for channel, value in output if channel == RETURN), MISSING)
    if returned is not MISSING:
        return returned
    if isinstance(keys, str):
        return fold(w for w in output if w[0] == keys).get(keys)
    return fold(w for w in output if w[0] in keys)
