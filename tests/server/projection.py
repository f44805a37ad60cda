"""What the server answered, less what differs between any two runs: ids, times, versions.

Ids are numbered in the order in which a scenario shows them, so that two answers that name the same thing still do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\b[0-9a-f]{32}\b")
TIME = re.compile(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}[.\d]*(?:Z|[+-]\d{2}:?\d{2})?")
CLOCK = re.compile(r"\b1[0-9]{9,12}(?:\.\d+|-\d+)?\b")
ADDRESS = re.compile(r"0x[0-9a-f]+|127\.0\.0\.1:\d+")
DROPPED = frozenset(
    {
        "__request_start_time_ms__",
        "langgraph_version",
        "langgraph_api_version",
        "lc_versions",
        "langgraph_request_id",
        "langgraph_plan",
        "langgraph_host",
        "langgraph_api_url",
        "__pregel_node_finished",
        "trace_id",
    }
)
"""Keys whose values say which version or installation answered, or to which request, or are its internals."""
COPIES = frozenset(
    {
        "thread_id",
        "checkpoint_id",
        "checkpoint_map",
        "checkpoint_ns",
        "langgraph_checkpoint_ns",
        "langgraph_node",
        "langgraph_path",
        "langgraph_step",
        "langgraph_triggers",
    }
)
"""Keys of a config that the saver of LangGraph's development server copies into the metadata of checkpoints."""
HELP = "For troubleshooting, visit:"


class Projection:
    """Projects the answers of one scenario."""

    def __init__(self) -> None:
        self._ids: dict[str, str] = {}

    def __call__(self, value: Any) -> Any:
        """Return a value without what differs between any two runs."""
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, Mapping):
            kept = {str(key): item for key, item in sorted(value.items(), key=lambda item: str(item[0]))}
            return {self._text(key): self(item) for key, item in kept.items() if key not in DROPPED}
        if isinstance(value, (list, tuple)):
            return [self(item) for item in value]
        return value

    def _text(self, text: str) -> str:
        text = ID.sub(lambda found: self._ids.setdefault(found.group(), f"<id {len(self._ids) + 1}>"), text)
        for pattern, word in ((TIME, "<time>"), (CLOCK, "<clock>"), (ADDRESS, "<address>")):
            text = pattern.sub(word, text)
        return text


def without_copies(value: Any) -> Any:
    """Return a projected answer whose metadata of checkpoints has nothing of their configs."""
    if isinstance(value, dict):
        dropped = COPIES if {"source", "step"} <= value.keys() else ()
        return {key: without_copies(item) for key, item in value.items() if key not in dropped}
    return [without_copies(item) for item in value] if isinstance(value, list) else value


def differences(theirs: Any, ours: Any, path: str = "") -> Iterator[str]:
    """Say where two projected answers differ, one line each."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in theirs | ours:
            if key not in ours or key not in theirs:
                where, value = ("LangGraph", theirs[key]) if key in theirs else ("stategraph", ours[key])
                yield f"{path}.{key}: only on {where}: {shortened(value)}"
            else:
                yield from differences(theirs[key], ours[key], f"{path}.{key}")
    elif isinstance(theirs, list) and isinstance(ours, list):
        if len(theirs) != len(ours):
            yield f"{path}: {len(theirs)} on LangGraph, {len(ours)} on stategraph"
        for index, (one, other) in enumerate(zip(theirs, ours, strict=False)):
            yield from differences(one, other, f"{path}[{index}]")
    elif isinstance(theirs, str) and isinstance(ours, str) and says_more(theirs, ours):
        return
    elif theirs != ours or type(theirs) is not type(ours):
        yield f"{path}: LangGraph {shortened(theirs)}\n{' ' * len(path)}  stategraph {shortened(ours)}"


def says_more(theirs: str, ours: str) -> bool:
    """Whether a message is LangGraph's with words of this engine behind it, as its messages of errors are."""
    head, _, page = theirs.partition(HELP)
    own, _, own_page = ours.partition(HELP)
    quotes = str.maketrans("", "", "'\"\\")
    first, said = head.translate(quotes).rstrip("n \n)"), own.translate(quotes)
    return len(first) > 8 and said.startswith(first) and page.translate(quotes) == own_page.translate(quotes)


def shortened(value: Any, limit: int = 400) -> str:
    """Return a value's repr, cut where it is long."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"
