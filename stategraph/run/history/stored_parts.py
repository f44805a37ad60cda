"""Content parts as hosts store them: reading them, and saying where the parts of a message come from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

from stategraph.agent.messages import truncation

Part: TypeAlias = Mapping[str, Any]
Indexed: TypeAlias = tuple[int, Part | None]
"""A part and its position in the stored message; a hole is None."""
Attribution: TypeAlias = Literal["model", "tool", "user", "synthetic"]
Source: TypeAlias = tuple[Attribution, int]
"""Who said something, and the position of the part that says so."""

FOR_READERS: Final = frozenset({"error", "agent_update", "summary", "activity_label", "output"})
"""Kinds of parts that models are not sent."""

REASONING: Final = frozenset(
    {"think", "thinking", "thinking_delta", "redacted_thinking", "reasoning", "reasoning-delta", "reasoning_content"}
)
"""Kinds of parts that hold thoughts."""


def text_of(part: Part) -> str:
    """Return the text of a part; empty if it has none."""
    text = part.get("text")
    return text if isinstance(text, str) else ""


def is_empty_text(part: Part) -> bool:
    """Return whether a part is a text of white space."""
    return part.get("type") == "text" and not text_of(part).strip()


def thought(part: Part) -> str:
    """Return what a part with a thought says; empty if it is hidden."""
    nested = part.get("reasoningText")
    found = nested.get("text") if isinstance(nested, Mapping) else None
    for key in ("think", "thinking", "reasoning"):
        found = part.get(key) if found is None else found
    return found if isinstance(found, str) else ""


def arguments(raw: object) -> dict[str, Any]:
    """Return the arguments of a stored call as an object; text that is not a JSON object is passed on whole."""
    if isinstance(raw, Mapping):
        return dict(raw)
    if raw is None or raw == "":
        return {}
    try:
        parsed = json.loads(raw) if isinstance(raw, str) else raw
    except (ValueError, RecursionError):
        parsed = raw
    return parsed if isinstance(parsed, dict) else {"input": raw}


def result(output: object) -> str | list[Any]:
    """Return the stored result of a call as the content of a message, cut to the longest that is sent."""
    if output is None:
        return ""
    if not isinstance(output, str | list):
        output = truncation.compact_json(output)
    return truncation.shorten_content(output, truncation.LONGEST_RESULT_CHARS)


def weight(content: str | Sequence[Any], calls: Iterable[Mapping[str, Any]] = ()) -> int:
    """Return the characters of a message by which tokens are shared out."""
    counted = len(content) if isinstance(content, str) else sum(map(_characters, content))
    return counted + sum(len(call["name"]) + len(truncation.compact_json(call["args"])) for call in calls)


def _characters(block: object) -> int:
    if isinstance(block, str):
        return len(block)
    said = (
        (block.get("text") if block.get("text") is not None else block.get("content"))
        if isinstance(block, Mapping)
        else None
    )
    return len(said) if isinstance(said, str) else 0


def message_id(stored: Mapping[str, Any]) -> str | None:
    """Return the id of a stored message; None if it has none."""
    found = (stored.get(key) for key in ("messageId", "id"))
    return next((each.strip() for each in found if isinstance(each, str) and each.strip()), None)


def provenance(
    source_id: str | None, sources: Sequence[Source], attribution: Attribution = "synthetic"
) -> dict[str, Any]:
    """Return the keyword arguments of a message that say where it comes from.

    Args:
        source_id: The stored message; None if it has no id.
        sources: The parts, in order; one that is named again counts once.
        attribution: Who said it, if no part did.
    """
    parts: list[dict[str, Any]] = []
    named = {} if source_id is None else {"sourceMessageId": source_id}
    for said_by, index in sources:
        if not parts or parts[-1]["attribution"] != said_by:
            parts.append({"attribution": said_by, **named, "sourceContentPartIndices": []})
        if index not in parts[-1]["sourceContentPartIndices"]:
            parts[-1]["sourceContentPartIndices"].append(index)
    told = {"version": 1, "parts": parts or [{"attribution": attribution, **named}]}
    return {"provenance": told} if source_id is None else {**named, "provenance": told, "sourceMessageIds": [source_id]}
