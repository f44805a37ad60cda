"""Text and reasoning in a chunk of an answer, in any provider's form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from langchain_core.messages import AIMessage, AIMessageChunk

from stategraph.agent.messages import reasoning

_REASONING_BLOCKS = ("thinking", "reasoning", "reasoning_content")


def plain_text(chunk: AIMessage) -> str | None:
    """Return the text of a chunk that has nothing else and no tag: most chunks of an answer."""
    text = chunk.content
    if not isinstance(text, str) or not text or chunk.additional_kwargs or chunk.tool_calls or "<think>" in text:
        return None
    return None if isinstance(chunk, AIMessageChunk) and chunk.tool_call_chunks else text


def of(chunk: AIMessage) -> Iterator[tuple[bool, str]]:
    """Yield the text of a chunk in its order: whether it is reasoning, and the text."""
    if thought := reasoning.text_of(chunk.additional_kwargs):
        yield True, thought
    if isinstance(chunk.content, str):
        if chunk.content:
            yield False, chunk.content
        return
    for block in chunk.content:
        if isinstance(block, str):
            yield False, block
        elif block.get("type") == "text":
            yield False, str(block.get("text") or "")
        elif block.get("type") in _REASONING_BLOCKS:
            yield True, _reasoning_text(block)


def _reasoning_text(block: Mapping[str, Any]) -> str:
    for key in ("thinking", "reasoning", "text"):
        if isinstance(block.get(key), str):
            return cast("str", block[key])
    inner = block.get("reasoning_content")
    if isinstance(inner, Mapping):
        return str(inner.get("text") or "")
    summary = block.get("summary")
    if isinstance(summary, list):
        return "".join(str(each.get("text") or "") for each in summary if isinstance(each, Mapping))
    return ""
