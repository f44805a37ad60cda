"""Messages of A2A 1.0, as its JSON has them.

A2A has messages of users and agents, with parts of text, files and data. Calls of tools, their results and thoughts are
parts of data with the metadata `stategraph.dev/part`, which others may read as data; system messages are those of users
with the metadata `stategraph.dev/role`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    field_of,
    new_id,
    role_of,
    several,
)

LOSSES: Final[Losses] = {"id": "a message without an id is given one, as A2A wants one"}

_KIND: Final = "stategraph.dev/part"
_ROLE: Final = "stategraph.dev/role"
_NAME: Final = "stategraph.dev/name"
_ROLES: Final[Mapping[str, Role]] = {
    "ROLE_USER": "user",
    "ROLE_AGENT": "assistant",
    "user": "user",
    "agent": "assistant",
}


def read(messages: Sequence[Any]) -> list[Message]:
    """Read messages."""
    return [_plain(each) or _read(each, f"message {at}") for at, each in enumerate(messages)]


def write(messages: Sequence[Message], notes: Notes) -> list[Any]:
    """Write messages."""
    notes.lose("id", sum(not each.id for each in messages))
    return [_write(each) for each in messages]


def _plain(data: Any) -> Message | None:
    """Read a message of one text, as most are; None: it is another one, or none at all."""
    if type(data) is not dict or "metadata" in data:
        return None
    role, parts, message_id = data.get("role"), data.get("parts"), data.get("messageId", "")
    if type(role) is not str or type(parts) is not list or len(parts) != 1 or type(message_id) is not str:
        return None
    part, known = parts[0], _ROLES.get(role)
    if known is None or type(part) is not dict or len(part) != 1 or type(text := part.get("text")) is not str:
        return None
    return Message(known, (Text(text),), message_id)


def _read(data: Any, where: str) -> Message:
    metadata = field_of(data, "metadata", Mapping, where, {})
    role = role_of(field_of(data, "role", str, where), _ROLES, where)
    if (given := metadata.get(_ROLE)) in ("system", "tool"):
        role = given
    parts = several(field_of(data, "parts", list, where), f"{where}.parts")
    return Message(
        role,
        tuple(_part(each, f"{where}.parts[{at}]") for at, each in enumerate(parts)),
        field_of(data, "messageId", str, where, ""),
        str(metadata.get(_NAME, "")),
    )


def _part(data: Any, where: str) -> Part:
    metadata = field_of(data, "metadata", Mapping, where, {})
    if "text" in data:
        return Text(field_of(data, "text", str, where))
    named = {
        "name": field_of(data, "filename", str, where, ""),
        "media_type": field_of(data, "mediaType", str, where, ""),
    }
    if "url" in data:
        return File(url=field_of(data, "url", str, where), **named)
    if "raw" in data:
        return File(data=field_of(data, "raw", str, where), **named)
    if "data" not in data:
        raise MessageError(f"{where} has {sorted(data)}; expected one of text, url, raw and data")
    return _of_data(data["data"], metadata.get(_KIND), where)


def _of_data(value: Any, kind: object, where: str) -> Part:
    if kind == "tool-call":
        arguments = arguments_of(value.get("arguments"), f"{where}.data.arguments")
        return ToolCall(field_of(value, "id", str, where, ""), field_of(value, "name", str, where), arguments)
    if kind == "tool-result":
        content, failed = field_of(value, "content", str, where), field_of(value, "isError", bool, where, False)
        return ToolResult(
            field_of(value, "callId", str, where, ""), content, field_of(value, "name", str, where, ""), failed
        )
    if kind == "reasoning":
        return Reasoning(field_of(value, "text", str, where))
    return Data(value)


def _write(message: Message) -> dict[str, Any]:
    role, name = message.role, message.name
    written: dict[str, Any] = {
        "messageId": message.id or new_id(),
        "role": "ROLE_AGENT" if role == "assistant" else "ROLE_USER",
        "parts": [_WRITERS[type(part)](part) for part in message.parts],
    }
    if name or role == "system" or role == "tool":
        told = {_ROLE: role} if role in ("system", "tool") else {}
        written["metadata"] = {**told, _NAME: name} if name else told
    return written


def _text(part: Text) -> dict[str, Any]:
    return {"text": part.text}


def _file(part: File) -> dict[str, Any]:
    content = {"url": part.url} if part.url else {"raw": part.data}
    named = {"mediaType": part.media_type, "filename": part.name}
    return {**content, **{key: value for key, value in named.items() if value}}


def _data(part: Data) -> dict[str, Any]:
    return {"data": part.value}


def _reasoning(part: Reasoning) -> dict[str, Any]:
    return {"data": {"text": part.text}, "metadata": {_KIND: "reasoning"}}


def _call(part: ToolCall) -> dict[str, Any]:
    call = {"id": part.id, "name": part.name, "arguments": dict(part.arguments)}
    return {"data": call, "metadata": {_KIND: "tool-call"}}


def _result(part: ToolResult) -> dict[str, Any]:
    result = {"callId": part.call_id, "content": part.content, "name": part.name, "isError": part.is_error}
    return {"data": result, "metadata": {_KIND: "tool-result"}}


_WRITERS: Final[Mapping[type[Part], Callable[[Any], dict[str, Any]]]] = {
    Text: _text,
    File: _file,
    Data: _data,
    Reasoning: _reasoning,
    ToolCall: _call,
    ToolResult: _result,
}
