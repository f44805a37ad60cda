"""Items of OpenAI's Responses, as its JSON has them; the OpenAI Agents SDK keeps conversations in them.

An item is a message, a call, the output of one, or thoughts. Items that follow one another are one message where they
belong to one: thoughts, text and calls of an assistant.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from stategraph.fleet.messages.common import (
    Data,
    File,
    Losses,
    Message,
    MessageError,
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
    only_text,
    role_of,
    text_of,
)

LOSSES: Final[Losses] = {
    "id": "left out",
    "name": "left out",
    "data": "written as JSON in text",
    "file": "a media type of an address and the name of an image are left out, files of an assistant written in text",
    "is_error": "left out; the text of the result says it or nobody",
    "name of a tool": "left out of results",
    "order": "thoughts come first, calls last; others are read as messages of their own",
    "where a message ends": "calls belong to what the assistant said before, and what it said to its thoughts before",
}

_ROLES: Final[Mapping[str, Role]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}


def read(messages: Sequence[Any]) -> list[Message]:
    """Read items."""
    found: list[Message] = []
    for at, each in enumerate(messages):
        message = _plain(each) or _read(each, f"item {at}")
        if found and _belongs(found[-1], message):
            found[-1] = Message("assistant", found[-1].parts + message.parts)
        else:
            found.append(message)
    return found


def write(messages: Sequence[Message], notes: Notes) -> list[Any]:
    """Write items."""
    for before, after in pairwise(messages):
        if _belongs(before, after):
            notes.lose("where a message ends")
    return [item for each in messages for item in _write(each, notes)]


def _plain(data: Any) -> Message | None:
    """Read a message of one text, as most are; None: it is another one, or none at all."""
    if type(data) is not dict or data.get("type", "message") != "message":
        return None
    role, content = data.get("role"), data.get("content")
    if type(role) is not str or (known := _ROLES.get(role)) is None or type(content) is not list or len(content) != 1:
        return None
    part = content[0]
    if type(part) is not dict or part.get("type") not in ("input_text", "output_text"):
        return None
    text = part.get("text")
    return Message(known, (Text(text),)) if type(text) is str else None


def _belongs(before: Message, after: Message) -> bool:
    """Return whether messages are read as one: thoughts before anything, and calls behind it."""
    if not before.role == after.role == "assistant":
        return False
    is_thought = bool(before.parts) and all(isinstance(part, Reasoning) for part in before.parts)
    return is_thought or (bool(after.parts) and isinstance(after.parts[0], ToolCall))


def _read(data: Any, where: str) -> Message:
    kind = field_of(data, "type", str, where, "message")
    if kind == "message":
        role = role_of(field_of(data, "role", str, where), _ROLES, where)
        content = field_of(data, "content", (str, list), where)
        if isinstance(content, str):
            return Message(role, (Text(content),) if content else ())
        return Message(role, tuple(_part(each, f"{where}.content[{at}]") for at, each in enumerate(content)))
    if kind == "function_call":
        arguments = arguments_of(data.get("arguments"), f"{where}.arguments")
        call = ToolCall(field_of(data, "call_id", str, where), field_of(data, "name", str, where), arguments)
        return Message("assistant", (call,))
    if kind == "function_call_output":
        return Message("tool", (ToolResult(field_of(data, "call_id", str, where), _output(data.get("output"))),))
    if kind == "reasoning":
        texts = [each.get("text", "") for each in field_of(data, "summary", list, where, [])]
        return Message("assistant", (Reasoning("\n".join(texts)),))
    return Message("assistant", (Data(dict(data)),))


def _output(value: object) -> str:
    if isinstance(value, list) and all(isinstance(each, Mapping) and "text" in each for each in value):
        return "".join(str(each["text"]) for each in value)
    return as_text(value)


def _part(data: Any, where: str) -> Part:
    kind = field_of(data, "type", str, where)
    if kind in ("input_text", "output_text", "text"):
        return Text(field_of(data, "text", str, where))
    if kind == "refusal":
        return Text(field_of(data, "refusal", str, where))
    if kind == "input_image" and (url := field_of(data, "image_url", str, where, "")):
        return File.at(url)
    if kind == "input_file":
        name = field_of(data, "filename", str, where, "")
        if given := field_of(data, "file_data", str, where, "") or field_of(data, "file_url", str, where, ""):
            return File.at(given, name=name)
    if not isinstance(data, Mapping):
        raise MessageError(f"{where} is {data!r}; expected an object")
    return Data(dict(data))


def _write(message: Message, notes: Notes) -> list[dict[str, Any]]:
    if message.id:
        notes.lose("id")
    if message.name:
        notes.lose("name")
    if (text := only_text(message.parts)) is not None:
        kind = "output_text" if message.role == "assistant" else "input_text"
        role = "user" if message.role == "tool" else message.role
        return [{"type": "message", "role": role, "content": [{"type": kind, "text": text}]}]
    if [_rank(part) for part in message.parts] != sorted(map(_rank, message.parts)):
        notes.lose("order")
    role = "user" if message.role == "tool" else message.role
    items: list[dict[str, Any]] = []
    content: list[dict[str, Any]] = []

    def end_content() -> None:
        if content:
            items.append({"type": "message", "role": role, "content": list(content)})
            content.clear()

    for part in message.parts:
        if isinstance(part, (ToolCall, ToolResult, Reasoning)):
            end_content()
            items.append(_item(part, notes))
        else:
            content.append(_content(part, message.role, notes))
    end_content()
    return items or [{"type": "message", "role": role, "content": []}]


def _rank(part: Part) -> int:
    return 0 if isinstance(part, Reasoning) else 2 if isinstance(part, ToolCall) else 1


def _item(part: ToolCall | ToolResult | Reasoning, notes: Notes) -> dict[str, Any]:
    if isinstance(part, ToolCall):
        arguments = json.dumps(part.arguments, ensure_ascii=False)
        return {"type": "function_call", "call_id": part.id, "name": part.name, "arguments": arguments}
    if isinstance(part, ToolResult):
        if part.is_error:
            notes.lose("is_error")
        if part.name:
            notes.lose("name of a tool")
        return {"type": "function_call_output", "call_id": part.call_id, "output": part.content}
    return {"type": "reasoning", "summary": [{"type": "summary_text", "text": part.text}]}


def _content(part: Part, role: Role, notes: Notes) -> dict[str, Any]:
    is_assistant = role == "assistant"
    if isinstance(part, File) and not is_assistant:
        if part.media_type.startswith("image/") or (part.url and not part.media_type):
            if part.name or (part.url and part.media_type):
                notes.lose("file")
            return {"type": "input_image", "image_url": part.address, "detail": "auto"}
        if bool(part.url) == bool(part.media_type):
            notes.lose("file")
        given = {"file_url": part.url} if part.url else {"file_data": part.address}
        return {"type": "input_file", **given, **({"filename": part.name} if part.name else {})}
    if isinstance(part, File):
        notes.lose("file")
    elif isinstance(part, Data):
        notes.lose("data")
    return {"type": "output_text" if is_assistant else "input_text", "text": text_of(part)}
