"""Messages of Mastra and of Vercel's AI SDK 5 (`UIMessage`), as their JSON has them.

A call and its result are one part of an assistant's message there. So a result is written into the part of its call,
and read as a message of a tool behind it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from stategraph.fleet.messages.common import (
    Data,
    File,
    Losses,
    Message,
    Notes,
    Part,
    Reasoning,
    Role,
    Text,
    ToolCall,
    ToolResult,
    arguments_of,
    as_text,
    field_of,
    new_id,
    role_of,
    text_of,
)

LOSSES: Final[Losses] = {
    "id": "a message without an id is given one, as the SDK wants one; those of tools are left out",
    "name": "left out",
    "media type": "a file without one is said to be `application/octet-stream`",
    "a result without its call": "written as text",
    "data of a user": "written as a part `data-value`, which models do not get",
}

_ROLES: Final[Mapping[str, Role]] = {"system": "system", "user": "user", "assistant": "assistant"}


def read(messages: Sequence[Any]) -> list[Message]:
    """Read messages."""
    found: list[Message] = []
    for at, each in enumerate(messages):
        if (plain := _plain(each)) is not None:
            found.append(plain)
        else:
            found += _read(each, f"message {at}")
    return found


def write(messages: Sequence[Message], notes: Notes) -> list[Any]:
    """Write messages."""
    written: list[dict[str, Any]] = []
    calls: dict[str, dict[str, Any]] = {}
    for message in messages:
        parts = []
        for part in message.parts:
            if isinstance(part, ToolResult) and part.call_id in calls:
                kind, value = ("output-error", "errorText") if part.is_error else ("output-available", "output")
                calls.pop(part.call_id).update({"state": kind, value: part.content})
                continue
            one = _written(part, notes)
            if isinstance(part, ToolCall):
                calls[part.id] = one
            parts.append(one)
        if message.name:
            notes.lose("name")
        if parts or message.role != "tool":
            if not message.id:
                notes.lose("id")
            role = "assistant" if message.role == "tool" else message.role
            written.append({"id": message.id or new_id(), "role": role, "parts": parts})
        elif message.id:
            notes.lose("id")
    return written


def _plain(data: Any) -> Message | None:
    """Read a message of one text, as most are; None: it is another one, or none at all."""
    if type(data) is not dict:
        return None
    role, parts, message_id = data.get("role"), data.get("parts"), data.get("id", "")
    if type(role) is not str or type(parts) is not list or len(parts) != 1 or type(message_id) is not str:
        return None
    part, known = parts[0], _ROLES.get(role)
    if known is None or type(part) is not dict or part.get("type") != "text":
        return None
    text = part.get("text")
    return Message(known, (Text(text),), message_id) if type(text) is str else None


def _read(data: Any, where: str) -> list[Message]:
    role = role_of(field_of(data, "role", str, where), _ROLES, where)
    parts: list[Part] = []
    results: list[ToolResult] = []
    for at, each in enumerate(field_of(data, "parts", list, where)):
        part, result = _part(each, f"{where}.parts[{at}]")
        parts += [part] if part is not None else []
        results += [result] if result is not None else []
    message = Message(role, tuple(parts), field_of(data, "id", str, where, ""))
    return [message, *(Message("tool", (each,)) for each in results)]


def _part(data: Any, where: str) -> tuple[Part | None, ToolResult | None]:
    kind: str = field_of(data, "type", str, where)
    if kind == "text":
        return Text(field_of(data, "text", str, where)), None
    if kind == "reasoning":
        return Reasoning(field_of(data, "text", str, where)), None
    if kind == "file":
        media_type, name = field_of(data, "mediaType", str, where, ""), field_of(data, "filename", str, where, "")
        return File.at(field_of(data, "url", str, where), media_type, name), None
    if kind.startswith("tool-") or kind == "dynamic-tool":
        name = field_of(data, "toolName", str, where) if kind == "dynamic-tool" else kind.removeprefix("tool-")
        call = ToolCall(
            field_of(data, "toolCallId", str, where), name, arguments_of(data.get("input"), f"{where}.input")
        )
        state = field_of(data, "state", str, where, "")
        if state == "output-available":
            return call, ToolResult(call.id, as_text(data.get("output")), name)
        if state == "output-error":
            return call, ToolResult(call.id, field_of(data, "errorText", str, where, ""), name, True)
        return call, None
    if kind.startswith("data-"):
        return Data(data.get("data")), None
    return (None, None) if kind == "step-start" else (Data(dict(data)), None)


def _written(part: Part, notes: Notes) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    if isinstance(part, ToolCall):
        call = {"toolCallId": part.id, "state": "input-available", "input": dict(part.arguments)}
        return {"type": f"tool-{part.name}", **call}
    if isinstance(part, Reasoning):
        return {"type": "reasoning", "text": part.text}
    if isinstance(part, File):
        if not part.media_type:
            notes.lose("media type")
        file = {"type": "file", "url": part.address, "mediaType": part.media_type or "application/octet-stream"}
        return {**file, "filename": part.name} if part.name else file
    if isinstance(part, Data):
        notes.lose("data of a user")
        return {"type": "data-value", "data": part.value}
    if isinstance(part, ToolResult):
        notes.lose("a result without its call")
    return {"type": "text", "text": text_of(part)}
