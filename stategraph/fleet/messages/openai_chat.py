"""Messages of OpenAI's Chat Completions, as its JSON has them; also those of many others who took them over."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from stategraph.fleet.messages.common import (
    CHAT_ROLES,
    Data,
    File,
    Losses,
    Message,
    Notes,
    Part,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
    are_calls_last,
    arguments_of,
    field_of,
    role_of,
    text_of,
)

LOSSES: Final[Losses] = {
    "id": "left out",
    "order": "calls come last",
    "reasoning": "left out",
    "data": "written as JSON in text",
    "file": "an address that is no image's is written in text; a media type of an address and the name of an image are "
    "left out",
    "is_error": "left out; the text of the result says it or nobody",
    "parts beside a result": "the result of a tool is a message of its own, after the others",
}


#: Fields of messages that are more than a text.
_MORE: Final = frozenset({"name", "refusal", "tool_calls"})


def read(messages: Sequence[Any]) -> list[Message]:
    """Read messages."""
    return [_plain(each) or _read(each, f"message {at}") for at, each in enumerate(messages)]


def write(messages: Sequence[Message], notes: Notes) -> list[Any]:
    """Write messages."""
    notes.lose("id", sum(bool(each.id) for each in messages))
    written: list[dict[str, Any]] = []
    for each in messages:
        role, parts = each.role, each.parts
        if len(parts) == 1 and type(text := parts[0]) is Text and role != "tool":  # as most are
            said = {"role": role, "content": text.text}
            written.append({**said, "name": each.name} if each.name else said)
        else:
            written += _write(each, notes)
    return written


def _plain(data: Any) -> Message | None:
    """Read a message of text, as most are; None: it is another one, or none at all."""
    if type(data) is not dict or not (len(data) == 2 or _MORE.isdisjoint(data)):
        return None
    role, content = data.get("role"), data.get("content")
    if type(content) is not str or type(role) is not str or role == "tool" or (known := CHAT_ROLES.get(role)) is None:
        return None
    return Message(known, (Text(content),) if content else ())


def _read(data: Any, where: str) -> Message:
    role = role_of(field_of(data, "role", str, where), CHAT_ROLES, where)
    content = field_of(data, "content", (str, list), where, "")
    name = field_of(data, "name", str, where, "")
    if role == "tool":
        text = content if isinstance(content, str) else "".join(text_of(_part(each, where)) for each in content)
        return Message(role, (ToolResult(field_of(data, "tool_call_id", str, where), text, name),))
    parts: list[Part] = []
    if isinstance(content, str):
        parts += [Text(content)] if content else []
    else:
        parts += [_part(each, f"{where}.content[{at}]") for at, each in enumerate(content)]
    if refusal := field_of(data, "refusal", str, where, ""):
        parts.append(Text(refusal))
    for at, call in enumerate(field_of(data, "tool_calls", list, where, [])):
        place = f"{where}.tool_calls[{at}]"
        function = field_of(call, "function", Mapping, place)
        arguments = arguments_of(function.get("arguments"), f"{place}.function.arguments")
        parts.append(ToolCall(field_of(call, "id", str, place, ""), field_of(function, "name", str, place), arguments))
    return Message(role, tuple(parts), name=name)


def _part(data: Any, where: str) -> Part:
    kind = field_of(data, "type", str, where)
    if kind == "text":
        return Text(field_of(data, "text", str, where))
    if kind == "refusal":
        return Text(field_of(data, "refusal", str, where))
    if kind == "image_url":
        return File.at(field_of(field_of(data, "image_url", Mapping, where), "url", str, where))
    if kind == "input_audio":
        audio = field_of(data, "input_audio", Mapping, where)
        return File(f"audio/{field_of(audio, 'format', str, where)}", data=field_of(audio, "data", str, where))
    if kind == "file":
        file = field_of(data, "file", Mapping, where)
        if given := field_of(file, "file_data", str, where, ""):
            return File.at(given, name=field_of(file, "filename", str, where, ""))
    return Data(dict(data))


def _write(message: Message, notes: Notes) -> list[dict[str, Any]]:
    if not are_calls_last(message.parts):
        notes.lose("order")
    results = [part for part in message.parts if isinstance(part, ToolResult)]
    others = [part for part in message.parts if not isinstance(part, ToolResult)]
    if results and others:
        notes.lose("parts beside a result")
    written = [_said(message, others, notes)] if others or not results else []
    return written + [_result(each, notes) for each in results]


def _said(message: Message, parts: Sequence[Part], notes: Notes) -> dict[str, Any]:
    calls = [_call(part) for part in parts if isinstance(part, ToolCall)]
    content = _content([part for part in parts if not isinstance(part, ToolCall)], notes)
    said: dict[str, Any] = {"role": "user" if message.role == "tool" else message.role}
    said["content"] = content or (None if calls else "")
    if message.name:
        said["name"] = message.name
    if calls:
        said["tool_calls"] = calls
    return said


def _call(call: ToolCall) -> dict[str, Any]:
    arguments = json.dumps(call.arguments, ensure_ascii=False)
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _result(result: ToolResult, notes: Notes) -> dict[str, Any]:
    if result.is_error:
        notes.lose("is_error")
    answer = {"role": "tool", "tool_call_id": result.call_id, "content": result.content}
    return {**answer, "name": result.name} if result.name else answer


def _content(parts: Sequence[Part], notes: Notes) -> str | list[dict[str, Any]]:
    blocks = [block for part in parts if (block := _block(part, notes)) is not None]
    if len(blocks) == 1 and blocks[0]["type"] == "text":
        return str(blocks[0]["text"])
    return blocks


def _block(part: Part, notes: Notes) -> dict[str, Any] | None:
    if isinstance(part, Reasoning):
        notes.lose("reasoning")
        return None
    if isinstance(part, File):
        return _file(part, notes)
    if isinstance(part, Data):
        notes.lose("data")
    return {"type": "text", "text": text_of(part)}


def _file(part: File, notes: Notes) -> dict[str, Any]:
    is_image = part.media_type.startswith("image/")
    if part.data and not is_image:
        if not part.name or not part.media_type:
            notes.lose("file")
        return {"type": "file", "file": {"file_data": part.address, "filename": part.name or "file"}}
    if is_image or not part.media_type:
        if part.name or (part.url and part.media_type):
            notes.lose("file")
        return {"type": "image_url", "image_url": {"url": part.address}}
    notes.lose("file")
    return {"type": "text", "text": part.url}
