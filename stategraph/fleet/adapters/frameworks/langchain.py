"""LangChain: a `Runnable` that takes messages, or a dict with them; the host remembers the conversation.

A model, a chain and an agent of `create_agent` without a checkpointer are such; a graph with one has its own threads,
see `langgraph`. A `RunnableWithMessageHistory` is given the `contextId` as its `session_id` and remembers by itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import Any

from stategraph.fleet.adapters.frameworks import langgraph
from stategraph.fleet.adapters.frameworks.langchain_chunks import chunk_facts
from stategraph.fleet.adapters.history import Remembered
from stategraph.fleet.adapters.port import About, AdapterError, Fact, Losses, Sessions, Turn
from stategraph.fleet.messages.common import ToolCall
from stategraph.fleet.messages.conversion import write


def adapter(agent: Any, version: str) -> Sessions:
    """Return the adapter of a Runnable.

    Raises:
        AdapterError: It is none.
    """
    from langchain_core.runnables import Runnable

    if not isinstance(agent, Runnable):
        raise AdapterError(f"LangChain runs a Runnable; this is {type(agent).__name__}")
    if hasattr(agent, "get_state_history"):
        return langgraph.adapter(agent, version, framework="langchain")
    about = About("langchain", version, getattr(agent, "name", None) or "")
    runnable = _Runnable(agent)
    return Sessions(about, lambda context_id: Remembered(context_id, runnable.answer))


class _Runnable:
    def __init__(self, runnable: Any) -> None:
        self._runnable = runnable
        self._remembers = hasattr(runnable, "get_session_history")
        self._key = _messages_key(runnable)

    async def answer(self, turn: Turn) -> AsyncGenerator[Fact | str]:
        """Answer a turn."""
        known = () if self._remembers else turn.history
        written = write([*known, turn.message], "langchain")
        if written.losses:
            yield Losses(written.losses)
        given = {self._key: written.messages} if self._key else written.messages
        config = {"configurable": {"session_id": turn.context_id, "thread_id": turn.context_id}}
        whole: Any = None
        async with contextlib.aclosing(self._runnable.astream(given, config)) as chunks:
            async for chunk in chunks:
                for fact in chunk_facts(chunk):
                    yield fact
                if hasattr(chunk, "tool_call_chunks"):
                    whole = chunk if whole is None else whole + chunk
        for call in getattr(whole, "tool_calls", ()):
            yield ToolCall(call["id"] or "", call["name"], call["args"])


def _messages_key(runnable: Any) -> str:
    """Return the field of the input that holds the messages; empty: the input is the messages."""
    if key := getattr(runnable, "input_messages_key", None):
        return str(key)
    schema = runnable.get_input_jsonschema()
    fields = schema.get("properties") or {}
    if schema.get("type") != "object" or not fields:
        return ""
    return "messages" if "messages" in fields else next(iter(fields))
