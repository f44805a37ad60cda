"""Stored content parts as messages for a model again.

- Thoughts, errors, marks of agents and holes are for readers: a model is not sent them.
- A text that announces tool calls (`tool_call_ids`) is the message that makes them; calls without one get a message
  without text. Every call is followed by its result, an empty one if none was stored: providers insist on it.
- Other texts of an answer go together into the message at its end.
- Calls of tools that the agent does not have are left out with their results, if its tools are given.
- A summary stands for everything before it.
- Token counts follow: those of a stored message are shared out among what became of it by length of text.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolMessage

from stategraph.agent.context import handoff
from stategraph.agent.messages import truncation

#: Kinds of parts that models are not sent.
_FOR_READERS = frozenset({"think", "error", "agent_update", "summary"})

#: The tool that brings up others, as hosts call it.
_SEARCH = "tool_search"


class HistorySummary(NamedTuple):
    """The summary of the messages before those that are returned.

    Attributes:
        text: The summary.
        token_count: Its tokens; 0 if they were not stored.
    """

    text: str
    token_count: int


class FormattedHistory(NamedTuple):
    """A history as messages.

    Attributes:
        messages: Without those that the summary stands for.
        index_token_count_map: Tokens of the messages by position; None if no counts were given.
        summary: None if there is none.
    """

    messages: list[AnyMessage]
    index_token_count_map: dict[int, int] | None
    summary: HistorySummary | None


@dataclass(slots=True)
class _Made:
    """A message in the making: what it says, from which parts, and how much text it weighs."""

    content: str | list[str | dict[Any, Any]]
    sources: list[int]
    weight: int
    calls: list[dict[str, Any]] = field(default_factory=list)
    result_of: Mapping[str, Any] | None = None

    def message(self) -> AnyMessage:
        if self.result_of is not None:
            return ToolMessage(
                content=self.content,
                tool_call_id=self.result_of.get("id") or "",
                name=self.result_of.get("name"),
                additional_kwargs=_provenance("tool", self.sources),
            )
        kwargs = _provenance("model", self.sources)
        return AIMessage(content=self.content, tool_calls=self.calls, additional_kwargs=kwargs)


def format_agent_messages(
    payload: Sequence[Mapping[str, Any]],
    index_token_count_map: Mapping[int, int] | None = None,
    tools: Collection[str] | None = None,
) -> FormattedHistory:
    """Turn stored messages into those that a model is sent.

    Args:
        payload: Stored messages: a `role` ("user", "assistant" or "system") and `content`, a text or a list of parts.
        index_token_count_map: Tokens of the stored messages by position, as far as they are known. None: not counted.
        tools: Names of the agent's tools, and of those that a stored search has found: calls of others are left out.
            Transfers stay in any case. None: all calls stay.

    Returns:
        The messages, their token counts and the summary, if there is one.

    Raises:
        ValueError: A message has another role.
    """
    summary, first, skip = _last_summary(payload)
    messages: list[AnyMessage] = []
    counts: dict[int, int] = {}
    known_tools = None if tools is None else set(tools)
    for position in range(first, len(payload)):
        stored = payload[position]
        made, weights = _format_one(stored, position, skip if position == first else 0, known_tools)
        known = None if index_token_count_map is None else index_token_count_map.get(position)
        if known is not None:
            counts.update(enumerate(_share_out(known, weights), start=len(messages)))
        messages += made
    return FormattedHistory(messages, None if index_token_count_map is None else counts, summary)


def _format_one(
    stored: Mapping[str, Any], position: int, skip: int, tools: set[str] | None
) -> tuple[list[AnyMessage], list[int]]:
    """Convert one stored message to messages, and return their weights."""
    role, content = stored.get("role"), stored.get("content")
    parts = content if isinstance(content, list) else [{"type": "text", "text": content or ""}]
    match role:
        case "assistant":
            own = list(enumerate(parts))[skip:]
            made = _assistant(own if tools is None else list(_with_known_calls(own, tools)))
            return [each.message() for each in made], [each.weight for each in made]
        case "user":
            kept = [(index, part) for index, part in enumerate(parts) if part is not None]
            kwargs = _provenance("user", [index for index, _ in kept])
            return [HumanMessage(content=[part for _, part in kept], additional_kwargs=kwargs)], [1]
        case "system":
            return [SystemMessage(content=content or "")], [1]
        case _:
            raise ValueError(
                f"Stored message {position} has the role {role!r}, expected 'user', 'assistant' or 'system'"
            )


def _last_summary(payload: Sequence[Mapping[str, Any]]) -> tuple[HistorySummary | None, int, int]:
    """Return the newest summary, the stored message that contains it, and how many of its parts it covers."""
    for position in reversed(range(len(payload))):
        content = payload[position].get("content")
        for index, part in reversed(list(enumerate(content if isinstance(content, list) else ()))):
            if part is not None and part.get("type") == "summary":
                text = part.get("text") or truncation.text_of(part.get("content") or "")
                if text:
                    return HistorySummary(text, part.get("tokenCount") or 0), position, index + 1
    return None, 0, 0


def _with_known_calls(
    parts: Sequence[tuple[int, Mapping[str, Any] | None]], tools: set[str]
) -> Iterator[tuple[int, Mapping[str, Any] | None]]:
    """Yield parts without calls of unknown tools; tools found by a search call are known from then on."""
    kept: list[tuple[int, Mapping[str, Any] | None]] = []
    gone: set[str] = set()
    for index, part in parts:
        call = (part.get("tool_call") or {}) if part is not None and part.get("type") == "tool_call" else None
        if call is None or _is_known(call, tools):
            kept.append((index, part))
        else:
            gone.add(call.get("id") or "")
    for index, part in kept:
        ids = part.get("tool_call_ids") if part is not None else None
        yield (
            index,
            part
            if not ids or not gone.intersection(ids)
            else {
                **(part or {}),
                "tool_call_ids": [each for each in ids if each not in gone],
            },
        )


def _is_known(call: Mapping[str, Any], tools: set[str]) -> bool:
    name = call.get("name") or ""
    if name == _SEARCH and name in tools:
        tools.update(_found(call.get("output")))
    return name in tools or name == handoff.CONDITIONAL or name.startswith(handoff.TRANSFER)


def _found(output: object) -> Iterator[str]:
    """Yield the names of tools that a search found: its output is JSON, perhaps after other text."""
    text = output if isinstance(output, str) else ""
    try:
        found = json.loads(text[text.find("{") : text.rfind("}") + 1])
    except (ValueError, RecursionError):
        return
    for each in found.get("tools") or () if isinstance(found, dict) else ():
        if isinstance(each, dict) and isinstance(each.get("name"), str):
            yield each["name"]


def _assistant(parts: Sequence[tuple[int, Mapping[str, Any] | None]]) -> list[_Made]:
    made: list[_Made] = []
    waiting: list[tuple[int, Mapping[str, Any]]] = []
    caller: _Made | None = None
    thought = any(part is not None and part.get("type") == "think" for _, part in parts)
    for index, part in parts:
        if part is None or part.get("type") in _FOR_READERS:
            continue
        if part.get("type") == "tool_call":
            call = part.get("tool_call") or {}
            if caller is None:
                caller = _Made(content="", sources=[], weight=0)
                made.append(caller)
            made.append(_called(caller, call, index))
        elif part.get("type") == "text" and part.get("tool_call_ids"):
            caller = _said([*waiting, (index, part)], as_text=True)
            made.append(caller)
            waiting = []
        else:
            waiting.append((index, part))
    if waiting:
        made.append(_said(waiting, as_text=thought))
    return made


def _said(parts: Sequence[tuple[int, Mapping[str, Any]]], *, as_text: bool) -> _Made:
    """Join parts into one message; with `as_text`, its content is a string if all parts are text."""
    texts = [part.get("text") or "" for _, part in parts if part.get("type") == "text"]
    content: str | list[str | dict[Any, Any]] = [dict(part) for _, part in parts]
    if as_text and len(texts) == len(parts):
        content = "\n".join(texts)
    return _Made(content=content, sources=[index for index, _ in parts], weight=sum(map(len, texts)))


def _called(caller: _Made, call: Mapping[str, Any], index: int) -> _Made:
    """Let a message make a call, and return the call's result."""
    name, arguments = call.get("name") or "", _arguments(call.get("args"))
    caller.calls.append({"id": call.get("id"), "name": name, "args": arguments})
    caller.sources.append(index)
    caller.weight += len(name) + len(truncation.compact_json(arguments))
    output = call.get("output")
    result = output if isinstance(output, str) else "" if output is None else truncation.compact_json(output)
    return _Made(content=result, sources=[index], weight=len(result), result_of=call)


def _arguments(raw: object) -> dict[str, Any]:
    """Return arguments as an object; text that is not a JSON object is passed on whole."""
    if isinstance(raw, Mapping):
        return dict(raw)
    if not raw:
        return {}
    try:
        parsed = json.loads(raw) if isinstance(raw, str) else raw
    except (ValueError, RecursionError):
        parsed = raw
    return parsed if isinstance(parsed, dict) else {"input": raw}


def _provenance(attribution: str, sources: Iterable[int]) -> dict[str, Any]:
    part = {"attribution": attribution, "sourceContentPartIndices": list(sources)}
    return {"provenance": {"version": 1, "parts": [part]}}


def _share_out(tokens: int, weights: Sequence[int]) -> list[int]:
    """Shares in whole tokens; what rounding leaves over goes to the last one, so that the sum stays."""
    if not weights:
        return []
    total = sum(weights)
    shares = [tokens * weight // total if total else tokens // len(weights) for weight in weights]
    shares[-1] += tokens - sum(shares)
    return shares
