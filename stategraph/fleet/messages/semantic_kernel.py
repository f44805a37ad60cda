"""Messages of Semantic Kernel 1.x (`ChatMessageContent`), as `model_dump(mode="json")` writes them."""

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
    arguments_of,
    as_text,
    field_of,
    role_of,
    text_of,
)

LOSSES: Final[Losses] = {
    "id": "kept in the metadata, which services do not send",
    "data": "written as JSON in text",
    "is_error": "kept in the metadata of the result",
    "file": "its name is left out; data without a media type are said to be `application/octet-stream`",
}


def read(messages: Sequence[Any]) -> list[Message]:
    """Read messages."""
    return [_plain(each) or _read(each, f"message {at}") for at, each in enumerate(messages)]


def write(messages: Sequence[Message], notes: Notes) -> list[Any]:
    """Write messages."""
    return [_write(each, notes) for each in messages]


def _plain(data: Any) -> Message | None:
    """Read a message of one text, as most are; None: it is another one, or none at all."""
    if type(data) is not dict or "metadata" in data or "name" in data:
        return None
    role, items = data.get("role"), data.get("items")
    if type(role) is not str or type(items) is not list or len(items) != 1:
        return None
    item, known = items[0], CHAT_ROLES.get(role)
    if known is None or type(item) is not dict or item.get("content_type") != "text":
        return None
    text = item.get("text")
    return Message(known, (Text(text),)) if type(text) is str else None


def _read(data: Any, where: str) -> Message:
    role = role_of(field_of(data, "role", str, where), CHAT_ROLES, where)
    items = field_of(data, "items", list, where, [])
    metadata = field_of(data, "metadata", Mapping, where, {})
    parts = tuple(_part(each, f"{where}.items[{at}]") for at, each in enumerate(items))
    if not items and (content := field_of(data, "content", str, where, "")):
        parts = (Text(content),)
    return Message(role, parts, str(metadata.get("id", "")), field_of(data, "name", str, where, ""))


def _part(data: Any, where: str) -> Part:
    kind = field_of(data, "content_type", str, where)
    if kind == "text":
        return Text(field_of(data, "text", str, where, ""))
    if kind == "reasoning":
        return Reasoning(field_of(data, "text", str, where, ""))
    if kind == "function_call":
        arguments = arguments_of(data.get("arguments"), f"{where}.arguments")
        return ToolCall(field_of(data, "id", str, where, ""), _name(data, where), arguments)
    if kind == "function_result":
        metadata = field_of(data, "metadata", Mapping, where, {})
        failed = bool(metadata.get("is_error"))
        return ToolResult(field_of(data, "id", str, where, ""), as_text(data.get("result")), _name(data, where), failed)
    if kind in ("image", "audio", "binary", "file_reference"):
        media_type = field_of(data, "mime_type", str, where, "")
        if given := field_of(data, "data_uri", str, where, "") or field_of(data, "uri", str, where, ""):
            return File.at(given, media_type)
    return Data({key: value for key, value in data.items() if value is not None})


def _name(data: Any, where: str) -> str:
    name = field_of(data, "name", str, where, "")
    if name:
        return str(name)
    plugin = field_of(data, "plugin_name", str, where, "")
    function = field_of(data, "function_name", str, where, "")
    return f"{plugin}-{function}" if plugin else str(function)


def _write(message: Message, notes: Notes) -> dict[str, Any]:
    written: dict[str, Any] = {
        "content_type": "message",
        "role": message.role,
        "items": [_item(part, notes) for part in message.parts],
    }
    if message.name:
        written["name"] = message.name
    if message.id:
        notes.lose("id")
        written["metadata"] = {"id": message.id}
    return written


def _item(part: Part, notes: Notes) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"content_type": "text", "text": part.text}
    if isinstance(part, Reasoning):
        return {"content_type": "reasoning", "text": part.text}
    if isinstance(part, File):
        if part.name or (part.data and not part.media_type):
            notes.lose("file")
        kind = part.media_type.partition("/")[0]
        item = {"content_type": kind if kind in ("image", "audio") else "binary", "mime_type": part.media_type or None}
        return {**item, **({"uri": part.url} if part.url else {"data_uri": part.address})}
    if isinstance(part, ToolCall):
        arguments = json.dumps(part.arguments, ensure_ascii=False)
        return {"content_type": "function_call", "id": part.id, **_named(part.name), "arguments": arguments}
    if isinstance(part, ToolResult):
        named = {"id": part.call_id, **_named(part.name)}
        answer: dict[str, Any] = {"content_type": "function_result", **named, "result": part.content}
        if part.is_error:
            notes.lose("is_error")
            answer["metadata"] = {"is_error": True}
        return answer
    if isinstance(part, Data):
        notes.lose("data")
    return {"content_type": "text", "text": text_of(part)}


def _named(name: str) -> dict[str, Any]:
    plugin, dash, function = name.partition("-")
    return {"name": name, "plugin_name": plugin if dash else "", "function_name": function if dash else name}
