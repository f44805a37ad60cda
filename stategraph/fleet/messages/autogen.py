"""Messages of AutoGen 0.7 (`autogen_agentchat.messages`), as `model_dump(mode="json")` writes them.

Who speaks is their `source`: `user` and `system` are those roles, any other source is an agent with that name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
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
    field_of,
    only_text,
    text_of,
)

LOSSES: Final[Losses] = {
    "name": "a user's or a system's name is left out: the source says the role",
    "file": "one that is no image in its data is written as text; its name is left out",
    "data": "beside other parts it is written as JSON in text",
    "where a message ends": "calls belong to what the agent said before, and what it said to its thoughts before",
    "mixed parts": "thoughts, calls and results are messages of their own: thoughts, content, calls, results",
}

#: Kinds of parts, in the order in which they are written.
_GROUPS: Final = ("thoughts", "content", "calls", "results")

#: The source of an assistant without a name.
ASSISTANT: Final = "assistant"


def read(messages: Sequence[Any]) -> list[Message]:
    """Read messages; thoughts, text and calls of one agent that follow one another are one message."""
    found: list[Message] = []
    for at, each in enumerate(messages):
        message = _plain(each) or _read(each, f"message {at}")
        before = found[-1] if found else None
        if before is not None and message.role == before.role == "assistant" and _belongs(before, message):
            found[-1] = Message("assistant", before.parts + message.parts, before.id or message.id, before.name)
        else:
            found.append(message)
    return found


def write(messages: Sequence[Message], notes: Notes) -> list[Any]:
    """Write messages."""
    for before, after in pairwise(messages):
        if before.role == after.role == "assistant" and after.parts and _belongs(before, after):
            notes.lose("where a message ends")
    return [written for each in messages for written in _write(each, notes)]


def _plain(data: Any) -> Message | None:
    """Read a message of one text, as most are; None: it is another one, or none at all."""
    if type(data) is not dict or data.get("type") != "TextMessage":
        return None
    source, content, message_id = data.get("source"), data.get("content"), data.get("id", "")
    if type(source) is not str or not source or type(content) is not str or not content or type(message_id) is not str:
        return None
    if source == "user" or source == "system":
        return Message("user" if source == "user" else "system", (Text(content),), message_id)
    return Message("assistant", (Text(content),), message_id, "" if source == ASSISTANT else source)


def _belongs(before: Message, after: Message) -> bool:
    if before.name != after.name or not before.parts:
        return False
    return not isinstance(before.parts[-1], ToolCall) and (
        isinstance(before.parts[-1], Reasoning) or isinstance(after.parts[0], ToolCall)
    )


def _read(data: Any, where: str) -> Message:
    kind = field_of(data, "type", str, where)
    source = field_of(data, "source", str, where, "")
    role: Role = "user" if source == "user" else "system" if source == "system" else "assistant"
    name = source if role == "assistant" and source != ASSISTANT else ""
    parts = _parts(kind, data, where)
    if parts and all(isinstance(part, ToolResult) for part in parts):
        role, name = "tool", ""
    return Message(role, parts, field_of(data, "id", str, where, ""), name)


def _parts(kind: str, data: Any, where: str) -> tuple[Part, ...]:
    if kind in ("TextMessage", "ToolCallSummaryMessage", "StopMessage", "HandoffMessage", "UserInputRequestedEvent"):
        text = field_of(data, "content", str, where, "")
        return (Text(text),) if text else ()
    if kind == "ThoughtEvent":
        return (Reasoning(field_of(data, "content", str, where)),)
    content = data.get("content")
    if kind == "MultiModalMessage":
        given = field_of(data, "content", list, where)
        return tuple(_of_multi_modal(each, f"{where}.content[{at}]") for at, each in enumerate(given))
    if kind == "ToolCallRequestEvent":
        return tuple(_call(each, f"{where}.content") for each in field_of(data, "content", list, where))
    if kind == "ToolCallExecutionEvent":
        return tuple(_result(each, f"{where}.content") for each in field_of(data, "content", list, where))
    return (Data(content),)


def _of_multi_modal(data: Any, where: str) -> Part:
    if isinstance(data, str):
        return Text(data)
    # An image is written as its content alone, and always as PNG.
    return File("image/png", data=field_of(data, "data", str, where))


def _call(data: Any, where: str) -> ToolCall:
    arguments = arguments_of(data.get("arguments") if isinstance(data, Mapping) else None, f"{where}.arguments")
    return ToolCall(field_of(data, "id", str, where), field_of(data, "name", str, where), arguments)


def _result(data: Any, where: str) -> ToolResult:
    return ToolResult(
        field_of(data, "call_id", str, where),
        field_of(data, "content", str, where),
        field_of(data, "name", str, where, ""),
        field_of(data, "is_error", bool, where, False),
    )


def _write(message: Message, notes: Notes) -> list[dict[str, Any]]:
    source = (message.name or ASSISTANT) if message.role in ("assistant", "tool") else message.role
    if message.name and source != message.name:
        notes.lose("name")
    if (text := only_text(message.parts)) is not None:
        said = {"type": "TextMessage", "source": source, "content": text}
        return [{**said, "id": message.id} if message.id else said]
    ranks = [_GROUPS.index(_group(part)) for part in message.parts]
    if ranks != sorted(ranks):
        notes.lose("mixed parts")
    found = [{"type": kind, "source": source, "content": content} for kind, content in _grouped(message, notes)]
    if message.id:
        found[0]["id"] = message.id
    return found


def _grouped(message: Message, notes: Notes) -> Iterator[tuple[str, Any]]:
    groups: dict[str, list[Part]] = {name: [] for name in _GROUPS}
    for part in message.parts:
        groups[_group(part)].append(part)
    for part in groups["thoughts"]:
        yield "ThoughtEvent", text_of(part)
    if groups["content"] or not message.parts:
        yield _content(groups["content"], notes)
    if groups["calls"]:
        yield "ToolCallRequestEvent", [_written(part) for part in groups["calls"]]
    if groups["results"]:
        yield "ToolCallExecutionEvent", [_written(part) for part in groups["results"]]


def _group(part: Part) -> str:
    if isinstance(part, Reasoning):
        return "thoughts"
    if isinstance(part, ToolCall):
        return "calls"
    return "results" if isinstance(part, ToolResult) else "content"


def _content(parts: Sequence[Part], notes: Notes) -> tuple[str, Any]:
    if len(parts) == 1 and isinstance(parts[0], Data):
        return "StructuredMessage", parts[0].value
    blocks: list[Any] = []
    for part in parts:
        if isinstance(part, File) and part.data and part.media_type.startswith("image/"):
            if part.name or part.media_type != "image/png":
                notes.lose("file")
            blocks.append({"data": part.data})
            continue
        if isinstance(part, (File, Data)):
            notes.lose("file" if isinstance(part, File) else "data")
        blocks.append(text_of(part))
    if all(isinstance(each, str) for each in blocks) and len(blocks) <= 1:
        return "TextMessage", "".join(blocks)
    return "MultiModalMessage", blocks


def _written(part: Part) -> dict[str, Any]:
    if isinstance(part, ToolCall):
        arguments = json.dumps(part.arguments, ensure_ascii=False)
        return {"id": part.id, "name": part.name, "arguments": arguments}
    if isinstance(part, ToolResult):
        named = {"call_id": part.call_id, "name": part.name, "is_error": part.is_error}
        return {"content": part.content, **named}
    raise MessageError(f"A part of the kind {type(part).__name__} is neither a call nor a result")
