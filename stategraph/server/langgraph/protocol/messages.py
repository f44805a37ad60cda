"""Pieces of a model's answer as blocks of content: each begins, grows, and is shown whole at its end.

Rules
-----
* A message begins with its first piece, and ends with the piece that says so, or at the latest when its node has ended.
* Blocks are numbered from 0 in the order in which they begin. Pieces belong to the block of their kind and index.
* Messages that a node returned and no model said just now are not told.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage

from stategraph.server.service.plain import plain

#: By the kind of a block, the field that grows, and the kind of its deltas.
_GROWING: Final[Mapping[str, tuple[str, str]]] = {
    "text": ("text", "text-delta"),
    "reasoning": ("reasoning", "reasoning-delta"),
    "tool_call_chunk": ("args", "tool-call-delta"),
}


#: Ids of messages that LangChain has named by the call of the model.
_IDS: Final = ("lc_run-", "run-")

#: Metadata that calls of models have, and messages of a state have not.
_OF_MODELS: Final = ("ls_provider", "ls_model_type", "ls_model_name")


@dataclass(slots=True)
class _Block:
    """A block of a message that is being said."""

    index: int
    content: dict[str, Any]


@dataclass(slots=True)
class _Message:
    """A message that is being said."""

    id: str
    blocks: dict[tuple[str, Any], _Block] = field(default_factory=dict)
    usage: Mapping[str, Any] | None = None


class Messages:
    """The messages of one namespace."""

    def __init__(self) -> None:
        self._open: dict[str, _Message] = {}
        self._said: set[str] = set()

    def told(self, message: Any, metadata: Any) -> Iterator[dict[str, Any]]:
        """Return the events of a piece, or of a whole message."""
        if not isinstance(message, AIMessage) or not message.id or message.id in self._said:
            return
        is_piece = isinstance(message, AIMessageChunk)
        if not is_piece and not message.id.startswith(_IDS) and not _is_of_model(metadata):
            return
        if not is_piece and message.id in self._open:
            yield from self._ended(message.id)
            return
        found = self._open.get(message.id)
        if found is None:
            found = self._open[message.id] = _Message(message.id)
            yield {"event": "message-start", "role": "ai", "id": message.id}
        for block in _blocks(message):
            yield from self._grown(found, block)
        if message.usage_metadata:
            found.usage = message.usage_metadata
        if not is_piece or getattr(message, "chunk_position", None) == "last":
            yield from self._ended(message.id)

    def ended(self) -> Iterator[dict[str, Any]]:
        """Return the ends of all messages that have none."""
        for message_id in list(self._open):
            yield from self._ended(message_id)

    def _grown(self, message: _Message, block: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        kind = block["type"]
        key = kind, block.get("index")
        grows, delta = _GROWING.get(kind, ("", ""))
        found = message.blocks.get(key)
        if found is None:
            content = {name: value for name, value in block.items() if name != "index"}
            found = message.blocks[key] = _Block(len(message.blocks), dict(content))
            begun = {**content, grows: ""} if grows else content
            found.content = dict(begun)
            yield {"event": "content-block-start", "index": found.index, "content": begun, "message_id": message.id}
        if grows and (piece := block.get(grows)):
            found.content[grows] = f"{found.content.get(grows) or ''}{piece}"
            given = {"type": delta, grows: piece}
            yield {"event": "content-block-delta", "index": found.index, "delta": given, "message_id": message.id}

    def _ended(self, message_id: str) -> Iterator[dict[str, Any]]:
        message = self._open.pop(message_id)
        self._said.add(message_id)
        for block in message.blocks.values():
            whole = _whole(block.content)
            yield {"event": "content-block-finish", "index": block.index, "content": whole, "message_id": message_id}
        usage = {} if message.usage is None else {"usage": plain(message.usage)}
        yield {"event": "message-finish", "message_id": message_id, **usage}


def _is_of_model(metadata: Any) -> bool:
    """Return whether a whole message is what a model has just said; others are parts of a state."""
    return isinstance(metadata, Mapping) and any(key in metadata for key in _OF_MODELS)


def _blocks(message: BaseMessage) -> Iterator[dict[str, Any]]:
    """Return the blocks of a message or of a piece, as JSON."""
    for block in message.content_blocks:
        found = plain(block)
        if isinstance(found, dict) and isinstance(found.get("type"), str):
            yield {name: value for name, value in found.items() if name != "extras"}


def _whole(content: dict[str, Any]) -> dict[str, Any]:
    """Return a block as it is at its end; the arguments of a call are read then."""
    if content["type"] != "tool_call_chunk":
        return content
    named = {"id": content.get("id"), "name": content.get("name")}
    try:
        arguments = json.loads(content.get("args") or "{}")
    except ValueError:
        arguments = None
    if isinstance(arguments, dict):
        return {"type": "tool_call", **named, "args": arguments}
    return {"type": "invalid_tool_call", **named, "args": content.get("args"), "error": "the arguments are no JSON"}
