"""States of threads as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stategraph.types import Interrupt, PregelTask, StateSnapshot


def record(state: StateSnapshot) -> dict[str, Any]:
    """Return a state as JSON."""
    here, before = place(state.config), place(state.parent_config)
    metadata: Mapping[str, Any] | None = state.metadata
    if metadata is not None and here is not None:
        metadata = {**metadata, "thread_id": here["thread_id"]}
    return {
        "values": state.values,
        "next": list(state.next),
        "tasks": [_task(each) for each in state.tasks],
        "metadata": metadata,
        "created_at": state.created_at,
        "checkpoint": here,
        "parent_checkpoint": before,
        "interrupts": [interrupt(each) for each in state.interrupts],
        "checkpoint_id": None if here is None else here.get("checkpoint_id"),
        "parent_checkpoint_id": None if before is None else before.get("checkpoint_id"),
    }


def place(config: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return what names a checkpoint; None if there is none."""
    found = (config or {}).get("configurable") or {}
    if not found.get("checkpoint_id"):
        return None
    names = ("thread_id", "checkpoint_ns", "checkpoint_id", "checkpoint_map")
    return {name: found[name] for name in names if name in found}


def _task(task: PregelTask) -> dict[str, Any]:
    inside = task.state if isinstance(task.state, StateSnapshot) else None
    named = None if inside is not None or task.state is None else dict(task.state.get("configurable") or {})  # type: ignore[union-attr]
    return {
        "id": task.id,
        "name": task.name,
        "path": list(task.path),
        "error": None if task.error is None else repr(task.error) if isinstance(task.error, Exception) else task.error,
        "interrupts": [interrupt(each) for each in task.interrupts],
        "checkpoint": named,
        "state": None if inside is None else record(inside),
        "result": task.result,
    }


def interrupt(asked: Interrupt) -> dict[str, Any]:
    """Return an interrupt as JSON."""
    return {"value": asked.value, "id": asked.id}


def selected(state: dict[str, Any], select: Sequence[str] | None) -> dict[str, Any]:
    """Return the fields of a state that are asked for, `values.name` for one of the values."""
    if not select:
        return state
    found = {name: value for name, value in state.items() if name in select}
    names = [each.removeprefix("values.") for each in select if each.startswith("values.")]
    if names and "values" not in found and isinstance(state["values"], Mapping):
        found["values"] = {name: value for name, value in state["values"].items() if name in names}
    return found
