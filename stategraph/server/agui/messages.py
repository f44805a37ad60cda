"""Messages of AG-UI to those of LangChain, and back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ag_ui.core import (
    AssistantMessage,
    DeveloperMessage,
    FunctionCall,
    Message,
    ReasoningMessage,
    SystemMessage,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from langchain_core import messages as langchain
from langchain_core.messages import BaseMessage

from stategraph.agent.messages.truncation import compact_json, text_of
from stategraph.server.turns.forms import Json

#: The kinds of media, as content blocks of LangChain call them.
_MEDIA: Mapping[str, str] = {"image": "image", "audio": "audio", "video": "video", "document": "file"}


def read(given: Iterable[Message]) -> list[BaseMessage]:
    """Return a client's conversation as LangChain has it; activity and reasoning are shown to the user only."""
    names: dict[str, str] = {}
    found: list[BaseMessage] = []
    for each in given:
        match each:
            case UserMessage():
                found.append(langchain.HumanMessage(_content(each.content), id=each.id, name=each.name))
            case AssistantMessage():
                calls = [_call(call) for call in each.tool_calls or ()]
                names.update((call["id"], call["name"]) for call in calls)
                found.append(langchain.AIMessage(each.content or "", id=each.id, name=each.name, tool_calls=calls))
            case ToolMessage():
                found.append(_result(each, names.get(each.tool_call_id)))
            case SystemMessage():
                found.append(langchain.SystemMessage(each.content, id=each.id, name=each.name))
            case DeveloperMessage():
                role = {"__openai_role__": "developer"}
                found.append(langchain.SystemMessage(each.content, id=each.id, name=each.name, additional_kwargs=role))
    return found


def _call(given: ToolCall) -> Any:
    try:
        args = json.loads(given.function.arguments or "{}")
    except ValueError:
        args = {}
    return {"name": given.function.name, "args": args if isinstance(args, dict) else {}, "id": given.id}


def _result(given: ToolMessage, name: str | None) -> langchain.ToolMessage:
    content = _content(given.content)
    if given.error and not content:
        content = given.error
    status = "error" if given.error else "success"
    return langchain.ToolMessage(content, tool_call_id=given.tool_call_id, id=given.id, name=name, status=status)


def _content(given: str | Sequence[Any]) -> Any:
    """Return content in LangChain's blocks; texts alone are a text."""
    if isinstance(given, str):
        return given
    blocks = [_block(each) for each in given]
    if all(each["type"] == "text" for each in blocks):
        return "".join(each["text"] for each in blocks)
    return blocks


def _block(part: Any) -> Json:
    if part.type == "text":
        return {"type": "text", "text": part.text}
    source, kind = part.source, _MEDIA[part.type]
    match source.type:
        case "data":
            block = {"type": kind, "base64": source.value, "mime_type": source.mime_type}
        case "url":
            block = {"type": kind, "url": source.value}
        case _:
            block = {"type": kind, "file_id": source.value}
    if source.mime_type:
        block["mime_type"] = source.mime_type
    return block


def write(message: BaseMessage, reasoning: str = "") -> list[Message]:
    """Return a message as the front end has it; empty if it has no place there.

    Args:
        message: With its id.
        reasoning: The model's, which goes before it.
    """
    if message.id is None:
        return []
    match message:
        case langchain.HumanMessage():
            return [UserMessage(id=message.id, content=_parts(message.content))]
        case langchain.AIMessage():
            calls = [
                ToolCall(
                    id=each["id"] or "", function=FunctionCall(name=each["name"], arguments=compact_json(each["args"]))
                )
                for each in message.tool_calls
            ]
            text = text_of(message.content)
            own = AssistantMessage(id=message.id, content=text or None, tool_calls=calls or None)
            thought = [ReasoningMessage(id=f"{message.id}-reasoning", content=reasoning)] if reasoning else []
            return [*thought, own]
        case langchain.ToolMessage():
            text = result_text(message.content)
            error = text if message.status == "error" else None
            return [ToolMessage(id=message.id, content=text, tool_call_id=message.tool_call_id, error=error)]
        case langchain.SystemMessage():
            if message.additional_kwargs.get("__openai_role__") == "developer":
                return [DeveloperMessage(id=message.id, content=text_of(message.content))]
            return [SystemMessage(id=message.id, content=text_of(message.content))]
        case _:
            return []


def result_text(content: Any) -> str:
    """Return the content of a tool's result as text; what has none as JSON."""
    if isinstance(content, str):
        return content
    return text_of(content) or compact_json(content)


def _parts(content: Any) -> Any:
    """Return the content of a user's message in the protocol's parts; other blocks than those known are left out."""
    if isinstance(content, str):
        return content
    parts = [found for each in content if (found := _part(each)) is not None]
    return parts if any(each["type"] != "text" for each in parts) else text_of(content)


def _part(block: Any) -> Json | None:
    if isinstance(block, str):
        return {"type": "text", "text": block}
    kind = block.get("type")
    if kind == "text":
        return {"type": "text", "text": block.get("text", "")}
    kinds = {theirs: ours for ours, theirs in _MEDIA.items()}
    if kind not in kinds:
        return None
    about = {"mimeType": block["mime_type"]} if block.get("mime_type") else {}
    for key, source in (("base64", "data"), ("url", "url"), ("file_id", "file")):
        if block.get(key):
            return {"type": kinds[kind], "source": {"type": source, "value": block[key], **about}}
    return None
