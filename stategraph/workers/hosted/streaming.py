"""The stream of a graph as what a run tells: the name of an event and its payload.

The name is the stream mode; behind it, for a graph inside of the graph, are its namespace's parts: `updates|node:id`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from stategraph.run.json_safe import to_json
from stategraph.workers.hosted.options import EVENTS_MODE


async def streamed(
    graph: Any, given: object, config: Mapping[str, Any], modes: Sequence[str], options: Mapping[str, Any]
) -> AsyncGenerator[tuple[str, Any], None]:
    """Execute a graph, and yield what it streams.

    Args:
        graph: The graph.
        given: Its input.
        config: Its config.
        modes: The stream modes; `events`, the events of `astream_events` as well.
        options: Further options of its `astream`; with `subgraphs`, graphs inside of it are told too.

    Yields:
        Name and payload of each event.
    """
    if EVENTS_MODE in modes:
        parts = _with_events(graph, given, config, [mode for mode in modes if mode != EVENTS_MODE], options)
    else:
        parts = graph.astream(given, config, stream_mode=list(modes), **options)
    deep = bool(options.get("subgraphs"))
    async with aclosing(parts) as opened:
        async for part in opened:
            yield _named(part, deep)


def _named(part: Any, deep: bool) -> tuple[str, Any]:
    if len(part) == 2 and part[0] == EVENTS_MODE:
        return EVENTS_MODE, part[1]
    if not deep:
        mode, chunk = part
        return mode, chunk
    namespace, mode, chunk = part
    return "|".join((mode, *namespace)), chunk


async def _with_events(
    graph: Any, given: object, config: Mapping[str, Any], modes: Sequence[str], options: Mapping[str, Any]
) -> AsyncGenerator[Any, None]:
    """Yield the parts of the graph's own stream, taken from its events, and all other events."""
    root: str | None = None
    events = graph.astream_events(given, config, version="v2", stream_mode=list(modes), **options)
    async with aclosing(events) as opened:
        async for event in opened:
            root = root or event["run_id"]
            if event["event"] == "on_chain_stream" and event["run_id"] == root:
                yield event["data"]["chunk"]
            else:
                yield EVENTS_MODE, event


def told(name: str, chunk: Any) -> Any:
    """Return a payload as it is stored: the errors of tasks as kind and message."""
    payload = chunk.get("payload") if name.startswith("debug") else chunk if name.startswith("tasks") else None
    if not isinstance(payload, Mapping) or not isinstance(error := payload.get("error"), BaseException):
        return chunk
    payload = {**payload, "error": {"error": type(error).__name__, "message": str(error)}}
    return payload if name.startswith("tasks") else {**chunk, "payload": payload}


def storable(value: Any, dump: Callable[[object], object]) -> Any:
    """Return a payload without what cannot be stored: in its place is what JSON has nearest.

    Args:
        value: The payload.
        dump: Stores a value, or raises a `TypeError`.
    """
    try:
        dump(value)
    except TypeError:
        if isinstance(value, Mapping):
            return {str(name): storable(each, dump) for name, each in value.items()}
        if isinstance(value, list | tuple):
            return [storable(each, dump) for each in value]
        return json.loads(to_json(value))
    return value
