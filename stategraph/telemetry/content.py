"""Messages, arguments and results as the conventions write them down, for hosts that ask for content.

Files and images are named by their kind and address; their bytes are left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, ToolMessage

from stategraph.agent.messages.truncation import compact_json, text_of

_ROLES: Final = {"human": "user", "ai": "assistant", "AIMessageChunk": "assistant", "system": "system", "tool": "tool"}
_MEDIA: Final = frozenset({"image", "image_url", "input_audio", "audio", "video", "file"})


def messages(given: Sequence[BaseMessage]) -> str:
    """Return messages as JSON, in the form of `gen_ai.input.messages`."""
    return _json([_message(each) for each in given])


def answer(message: BaseMessage, finish_reason: str | None) -> str:
    """Return an answer as JSON, in the form of `gen_ai.output.messages`."""
    return _json([{**_message(message), "finish_reason": finish_reason or "stop"}])


def messages_in(state: object) -> str | None:
    """Return the messages of a graph's state; None if it has none."""
    found = _found(state)
    return messages(found) if found else None


def answer_in(state: object) -> str | None:
    """Return the last answer in a graph's state; None if it has none."""
    last = next((each for each in reversed(_found(state)) if isinstance(each, AIMessage)), None)
    return None if last is None else answer(last, None)


def _found(state: object) -> Sequence[BaseMessage]:
    found = state.get("messages") if isinstance(state, Mapping) else None
    if not isinstance(found, list | tuple) or not all(isinstance(each, BaseMessage) for each in found):
        return ()
    return found


def data(value: object) -> str:
    """Return arguments as JSON, and a result as text or JSON."""
    if isinstance(value, ToolMessage):
        value = value.content
    return value if isinstance(value, str) else compact_json(value)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _message(message: BaseMessage | AnyMessage) -> dict[str, Any]:
    role = _ROLES.get(message.type, message.type)
    if isinstance(message, ToolMessage):
        response = text_of(message.content) or data(message.content)
        part = {"type": "tool_call_response", "id": message.tool_call_id, "response": response}
        return {"role": role, "parts": [part]}
    parts = list(_parts(message.content))
    if isinstance(message, AIMessage):
        reasoning = message.additional_kwargs.get("reasoning_content")
        if isinstance(reasoning, str) and reasoning:
            parts.insert(0, {"type": "reasoning", "content": reasoning})
        for call in message.tool_calls:
            parts.append({"type": "tool_call", "id": call["id"], "name": call["name"], "arguments": call["args"]})
    return {"role": role, "parts": parts}


def _parts(content: str | Sequence[Any]) -> Iterator[dict[str, Any]]:
    if isinstance(content, str):
        if content:
            yield {"type": "text", "content": content}
        return
    for block in content:
        if isinstance(block, str):
            yield {"type": "text", "content": block}
        elif isinstance(block, Mapping) and (part := _part(block)) is not None:
            yield part


def _part(block: Mapping[str, Any]) -> dict[str, Any] | None:
    kind = str(block.get("type", ""))
    if "text" in block:
        return {"type": "text", "content": str(block["text"])}
    if kind in ("thinking", "reasoning", "reasoning_content", "think"):
        said = next((block[key] for key in ("thinking", "reasoning", "think") if isinstance(block.get(key), str)), "")
        return {"type": "reasoning", "content": said}
    if kind in _MEDIA:
        given = block.get("image_url", block.get("url"))
        address = given.get("url") if isinstance(given, Mapping) else given
        modality = kind.removesuffix("_url").removeprefix("input_")
        if isinstance(address, str) and not address.startswith("data:"):
            return {"type": "uri", "modality": modality, "uri": address}
        return {"type": "blob", "modality": modality}
    return None  # calls are in `tool_calls`
