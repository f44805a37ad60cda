"""Pieces of LangChain's streams as facts."""

from __future__ import annotations

from typing import Any

from stategraph.fleet.adapters.port import Fact, Said, Usage
from stategraph.fleet.messages.common import Data, Text, ToolCall
from stategraph.fleet.messages.conversion import read


def chunk_facts(chunk: Any) -> list[Fact]:
    """Return what a chunk of a stream says: a text, a message, or a value."""
    if isinstance(chunk, str):
        return [Said(chunk)]
    if not hasattr(chunk, "content"):
        return [] if chunk is None else [Data(_plain(chunk))]
    facts: list[Fact] = []
    for part in read([chunk], "langchain")[0].parts:
        if isinstance(part, ToolCall):
            continue  # pieces of one; the whole comes with the message
        facts.append(Said(part.text) if isinstance(part, Text) else part)
    used = getattr(chunk, "usage_metadata", None)
    if used:
        facts.append(Usage(used.get("input_tokens", 0), used.get("output_tokens", 0)))
    return facts


def _plain(value: Any) -> Any:
    from langchain_core.load import dumpd

    return value.model_dump(mode="json") if hasattr(value, "model_dump") else dumpd(value)
