"""Messages of CrewAI: dicts as OpenAI's Chat Completions has them, whose content is text alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from stategraph.fleet.messages import openai_chat
from stategraph.fleet.messages.common import (
    Data,
    File,
    Losses,
    Message,
    Notes,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
    are_calls_last,
    only_text,
    text_of,
)

LOSSES: Final[Losses] = {**openai_chat.LOSSES, "file": "written as text: its address or its name"}

read = openai_chat.read


def write(messages: Sequence[Message], notes: Notes) -> list[Any]:
    """Write messages."""
    return openai_chat.write([_of_text(each, notes) for each in messages], notes)


def _of_text(message: Message, notes: Notes) -> Message:
    if only_text(message.parts):
        return message
    for what, kind in (("file", File), ("reasoning", Reasoning), ("data", Data)):
        if any(isinstance(part, kind) for part in message.parts):
            notes.lose(what)
    apart = [part for part in message.parts if isinstance(part, (ToolCall, ToolResult))]
    if not are_calls_last(message.parts):
        notes.lose("order")
    said = ""
    for part in message.parts:
        if isinstance(part, Text):
            said += part.text
        elif isinstance(part, (File, Data)):
            said += f"\n{text_of(part)}\n"
    return Message(message.role, (*([Text(said)] if said else []), *apart), message.id, message.name)
