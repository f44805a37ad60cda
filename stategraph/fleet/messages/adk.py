"""Contents of Google's Agent Development Kit (`google.genai.types.Content`), as its JSON has them.

Names are read in either case, `functionCall` or `function_call`, and written in the first.
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
    role_of,
    text_of,
)

LOSSES: Final[Losses] = {
    "id": "left out",
    "name": "left out",
    "system": "written as a user's: instructions are beside contents",
    "data": "written as JSON in text",
}

_ROLES: Final[Mapping[str, Role]] = {"user": "user", "model": "assistant", "function": "tool", "tool": "tool"}
_CASES: Final = (
    ("inlineData", "inline_data"),
    ("fileData", "file_data"),
    ("functionCall", "function_call"),
    ("functionResponse", "function_response"),
)


def read(messages: Sequence[Any]) -> list[Message]:
    """Read contents."""
    return [_plain(each) or _read(each, f"content {at}") for at, each in enumerate(messages)]


def write(messages: Sequence[Message], notes: Notes) -> list[Any]:
    """Write contents."""
    return [_write(each, notes) for each in messages]


def _plain(data: Any) -> Message | None:
    """Read a message of one text, as most are; None: it is another one, or none at all."""
    if type(data) is not dict:
        return None
    role, parts = data.get("role"), data.get("parts")
    if type(role) is not str or type(parts) is not list or len(parts) != 1:
        return None
    part, known = parts[0], _ROLES.get(role)
    if known is None or type(part) is not dict or len(part) != 1 or type(text := part.get("text")) is not str:
        return None
    return Message(known, (Text(text),))


def _read(data: Any, where: str) -> Message:
    role = role_of(field_of(data, "role", str, where, "user"), _ROLES, where)
    given = field_of(data, "parts", list, where, [])
    parts = tuple(_part(each, f"{where}.parts[{at}]") for at, each in enumerate(given))
    if parts and all(isinstance(part, ToolResult) for part in parts):
        role = "tool"  # the kit writes them as a user's
    return Message(role, parts)


def _part(data: Any, where: str) -> Part:
    if (text := field_of(data, "text", str, where, None)) is not None:
        return Reasoning(text) if data.get("thought") else Text(text)
    found: dict[str, Any] = {snake: field_of(data, camel, Mapping, where, data.get(snake)) for camel, snake in _CASES}
    if inline := found["inline_data"]:
        media_type = _either(inline, "mimeType", "mime_type", where)
        name = _either(inline, "displayName", "display_name", where)
        return File(media_type, data=field_of(inline, "data", str, where), name=name)
    if file := found["file_data"]:
        name = _either(file, "displayName", "display_name", where)
        return File(
            _either(file, "mimeType", "mime_type", where), _either(file, "fileUri", "file_uri", where), name=name
        )
    if call := found["function_call"]:
        arguments = arguments_of(call.get("args"), f"{where}.functionCall.args")
        return ToolCall(field_of(call, "id", str, where, ""), field_of(call, "name", str, where), arguments)
    if answer := found["function_response"]:
        response = field_of(answer, "response", Mapping, where, {})
        failed = set(response) == {"error"}
        content = response["error"] if failed else response["result"] if set(response) == {"result"} else dict(response)
        name = field_of(answer, "name", str, where, "")
        return ToolResult(field_of(answer, "id", str, where, ""), as_text(content), name, failed)
    return Data({key: value for key, value in data.items() if value is not None})


def _either(data: Mapping[str, Any], camel: str, snake: str, where: str) -> str:
    value: str = field_of(data, camel, str, where, data.get(snake) or "")
    return value


def _write(message: Message, notes: Notes) -> dict[str, Any]:
    if message.id:
        notes.lose("id")
    if message.name:
        notes.lose("name")
    if message.role == "system":
        notes.lose("system")
    role = "model" if message.role == "assistant" else "user"
    return {"role": role, "parts": [_written(part, notes) for part in message.parts]}


def _written(part: Part, notes: Notes) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"text": part.text}
    if isinstance(part, Reasoning):
        return {"text": part.text, "thought": True}
    if isinstance(part, File):
        named = {"mimeType": part.media_type, "displayName": part.name}
        named = {key: value for key, value in named.items() if value}
        return (
            {"fileData": {"fileUri": part.url, **named}} if part.url else {"inlineData": {"data": part.data, **named}}
        )
    if isinstance(part, ToolCall):
        return {"functionCall": {"id": part.id, "name": part.name, "args": dict(part.arguments)}}
    if isinstance(part, ToolResult):
        response = {"error" if part.is_error else "result": part.content}
        return {"functionResponse": {"id": part.call_id, "name": part.name, "response": response}}
    if isinstance(part, Data):
        notes.lose("data")
    return {"text": text_of(part)}
