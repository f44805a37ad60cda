"""Conversion of values to and from their form on the wire. Nothing here talks to a server.

* A config is cut down to what JSON can say. What names a place in *this* process's checkpoints stays here: on the
  server it would name a place that does not exist there.
* A server's checkpoint has the four keys that a config has, so each can be made from the other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast
from uuid import UUID

import langsmith
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.graph import Edge, Graph, Node
from langgraph_sdk.schema import Checkpoint, ThreadState
from langgraph_sdk.schema import Command as WireCommand

from stategraph.constants import (
    CHECKPOINT_COORDINATE_KEYS,
    CONF,
    CONFIG_KEY_CHECKPOINT_ID,
    CONFIG_KEY_CHECKPOINT_MAP,
    CONFIG_KEY_CHECKPOINT_NS,
    CONFIG_KEY_STRICT_RESUME,
    CONFIG_KEY_TASK_ID,
    CONFIG_KEY_THREAD_ID,
)
from stategraph.types import Command, Interrupt, PregelTask, StateSnapshot

_STAYS_HERE: Final = frozenset(
    {
        CONFIG_KEY_CHECKPOINT_MAP,
        CONFIG_KEY_CHECKPOINT_ID,
        CONFIG_KEY_CHECKPOINT_NS,
        CONFIG_KEY_TASK_ID,
        CONFIG_KEY_STRICT_RESUME,
    }
)


# --- configs ---


def sendable(value: object) -> Any:
    """Keep of a value what can be sent.

    Args:
        value: Anything.

    Returns:
        Plain values as they are, mappings and sequences cut down, and None for everything else.
    """
    match value:
        case str() | int() | float() | UUID():
            return value
        case dict():
            return _sendable_items(value.items())
        case list() | tuple():
            return [kept for item in value if (kept := sendable(item)) is not None]
        case _:
            return None


def _sendable_items(items: Iterable[tuple[object, object]], without: frozenset[str] = frozenset()) -> dict[str, object]:
    named = ((key, sendable(value)) for key, value in items if isinstance(key, str) and key not in without)
    return {key: value for key, value in named if value is not None}


def sendable_config(config: RunnableConfig) -> RunnableConfig:
    """Cut a config down to what a server can be told.

    Args:
        config: A config of this process.

    Returns:
        A new config with those of `recursion_limit`, `tags`, `metadata` and `configurable` that were given.
    """
    sent: dict[str, Any] = {}
    for key, value in config.items():
        match key:
            case "recursion_limit":
                sent[key] = value
            case "tags":
                sent[key] = [tag for tag in cast(Iterable[Any], value) if isinstance(tag, str)]
            case "metadata":
                sent[key] = _sendable_items(cast(Mapping[Any, Any], value).items())
            case "configurable":
                sent[key] = _sendable_items(cast(Mapping[Any, Any], value).items(), _STAYS_HERE)
    return cast(RunnableConfig, sent)


def thread_of(config: RunnableConfig) -> str:
    """Return the thread that a config names.

    Raises:
        KeyError: It names none.
    """
    try:
        return cast(str, config[CONF][CONFIG_KEY_THREAD_ID])
    except KeyError:
        raise KeyError(
            "the config names no thread; state on a server belongs to one: {'configurable': {'thread_id': ...}}"
        ) from None


def checkpoint_of(config: RunnableConfig | None) -> Checkpoint | None:
    """Say on the wire which checkpoint a config names.

    Args:
        config: A config; None names nothing.

    Returns:
        The keys that the config has, or None if it has none of them.
    """
    conf = (config or {}).get(CONF) or {}
    named = {key: conf[key] for key in CHECKPOINT_COORDINATE_KEYS if key in conf}
    return cast(Checkpoint, named) if named else None


def config_of(checkpoint: Checkpoint) -> RunnableConfig:
    """Return the config that names a server's checkpoint."""
    place: dict[str, Any] = {key: checkpoint[key] for key in ("thread_id", "checkpoint_ns", "checkpoint_id")}
    return {CONF: {**place, CONFIG_KEY_CHECKPOINT_MAP: checkpoint.get("checkpoint_map", {})}}


# --- state ---


def updated_config(answer: Any) -> RunnableConfig:
    """Return the config that names the checkpoint which an update of the state has made."""
    return config_of(answer["checkpoint"])


def snapshot_of(state: ThreadState) -> StateSnapshot:
    """Make a snapshot of what a server says about a thread."""
    tasks = tuple(_task_of(cast(Mapping[str, Any], task)) for task in state["tasks"])
    parent = state["parent_checkpoint"]
    return StateSnapshot(
        values=state["values"],
        next=tuple(state["next"] or ()),
        config=config_of(state["checkpoint"]),
        metadata=cast(Any, dict(state["metadata"] or {})),
        created_at=state["created_at"],
        parent_config=config_of(parent) if parent else None,
        tasks=tasks,
        interrupts=tuple(interrupt for task in tasks for interrupt in task.interrupts),
    )


def _task_of(task: Mapping[str, Any]) -> PregelTask:
    nested: RunnableConfig | StateSnapshot | None = None
    if task["state"]:
        nested = snapshot_of(task["state"])
    elif task["checkpoint"]:
        nested = {CONF: task["checkpoint"]}
    return PregelTask(
        id=task["id"],
        name=task["name"],
        path=(),  # a task's origin is the server's business
        error=Exception(task["error"]) if task["error"] else None,
        interrupts=interrupts_of(task["interrupts"]),
        state=nested,
        result=task.get("result"),
    )


def interrupts_of(items: Iterable[Any]) -> tuple[Interrupt, ...]:
    """Make interrupts of their JSON form; interrupts stay as they are."""
    return tuple(Interrupt(**item) if isinstance(item, Mapping) else item for item in items)


# --- drawings ---


def drawing_of(graph: Mapping[str, Any]) -> Graph:
    """Make a drawing of a server's description of a graph."""
    nodes = [_node_of(node) for node in graph["nodes"]]
    return Graph(nodes={node.id: node for node in nodes}, edges=[Edge(**edge) for edge in graph["edges"]])


def _node_of(node: Mapping[str, Any]) -> Node:
    id, data = str(node["id"]), node.get("data", {})
    name = node.get("name")
    if name is None:
        name = data.get("name", id) if isinstance(data, dict) else id
    return Node(id=id, name=name, data=data, metadata=node.get("metadata"))


# --- input ---


def split_input(input: object) -> tuple[Any, WireCommand | None]:
    """Tell a run's input from a command, which servers take in a separate field."""
    if isinstance(input, Command):
        return None, cast(WireCommand, dataclasses.asdict(input))
    return input, None


def event_run_input(input: object) -> Any:
    """Say the input of a run whose events are streamed.

    There the server itself knows from the thread whether it starts or resumes, and takes the answer as plain input.

    Args:
        input: Input for the graph, or `Command(resume=...)`.

    Returns:
        What to send.

    Raises:
        NotImplementedError: The command does more than to resume; there is no place for that in such a request.
    """
    if not isinstance(input, Command):
        return input
    for name in ("goto", "update"):
        if getattr(input, name):
            raise NotImplementedError(
                f"Command({name}=...) cannot start a remote run with version='v3'; only Command(resume=...) can. "
                f"Call update_state() first, or use stream(), which takes goto and update."
            )
    return input.resume


def merge_tracing_headers(headers: dict[str, str] | None) -> dict[str, str] | None:
    """Add the headers that let the server's trace hang below the current one.

    Args:
        headers: The caller's. They are not changed; their `baggage` is kept in front.

    Returns:
        New headers, or the given ones if nothing is traced.
    """
    run = langsmith.get_current_run_tree()
    if run is None:
        return headers
    tracing = run.to_headers()
    merged = {**(headers or {}), **tracing}
    if headers and "baggage" in headers and "baggage" in tracing:
        merged["baggage"] = f"{headers['baggage']},{tracing['baggage']}"
    return merged
