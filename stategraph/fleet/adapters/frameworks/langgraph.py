"""LangGraph: a compiled graph with `messages` in its state; the `contextId` is its `thread_id`.

With a checkpointer the graph remembers the conversation, and `interrupt` asks: the next message of the conversation is
its answer. Without one, the host remembers what the graph said. The same adapter serves graphs of stategraph.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from stategraph.fleet.adapters.frameworks.langchain_chunks import chunk_facts
from stategraph.fleet.adapters.history import Remembered
from stategraph.fleet.adapters.port import (
    About,
    AdapterError,
    Conversation,
    Fact,
    Losses,
    Question,
    Said,
    Sessions,
    Turn,
    Usage,
)
from stategraph.fleet.messages.common import Data, Message, Text, ToolCall, ToolResult
from stategraph.fleet.messages.conversion import read, write


def adapter(graph: Any, version: str, *, framework: str = "langgraph") -> Sessions:
    """Return the adapter of a compiled graph.

    Args:
        graph: The graph.
        version: Of the framework.
        framework: Its name.

    Raises:
        AdapterError: It is none, or has no messages.
    """
    if hasattr(graph, "compile") and not hasattr(graph, "astream"):
        graph = graph.compile()
    if not hasattr(graph, "astream") or not hasattr(graph, "get_state_history"):
        raise AdapterError(f"LangGraph runs a compiled graph; this is {type(graph).__name__}")
    fields = graph.get_input_jsonschema().get("properties") or {}
    if "messages" not in fields:
        raise AdapterError(f"The graph has no 'messages' in its input; it has {sorted(fields) or 'nothing'}")
    about = About(framework, version, graph.name if graph.name != "LangGraph" else "")
    has_threads = getattr(graph, "checkpointer", None) not in (None, False)

    def opening(context_id: str) -> Conversation:
        run = _Graph(graph, context_id, has_threads=has_threads)
        return run if has_threads else Remembered(context_id, run.answer)

    return Sessions(about, opening)


class _Graph:
    def __init__(self, graph: Any, context_id: str, *, has_threads: bool) -> None:
        self._graph = graph
        self._config = {"configurable": {"thread_id": context_id}}
        self._has_threads = has_threads

    async def ask(self, message: Message) -> AsyncGenerator[Fact]:
        """Answer a message on the thread, or the question that it waits for."""
        state = await self._graph.aget_state(self._config)
        if any(each.interrupts for each in state.tasks):
            async with contextlib.aclosing(self._stream(_resume(message, self._graph))) as facts:
                async for fact in facts:
                    yield fact
            return
        async with contextlib.aclosing(self._run([message])) as facts:
            async for fact in facts:
                yield fact

    async def answer(self, turn: Turn) -> AsyncGenerator[Fact | str]:
        """Answer a message on no thread."""
        async with contextlib.aclosing(self._run([*turn.history, turn.message])) as facts:
            async for fact in facts:
                yield fact

    async def close(self) -> None:
        """Do nothing: the checkpointer has the thread."""

    async def _run(self, messages: list[Message]) -> AsyncGenerator[Fact]:
        written = write(messages, "langchain")
        if written.losses:
            yield Losses(written.losses)
        async with contextlib.aclosing(self._stream({"messages": written.messages})) as facts:
            async for fact in facts:
                yield fact

    async def _stream(self, given: Any) -> AsyncGenerator[Fact]:
        modes = ["messages", "updates", "custom"]
        streamed: set[str] = set()
        chunks = self._graph.astream(given, self._config, stream_mode=modes)
        async with contextlib.aclosing(chunks) as stream:
            async for mode, value in stream:
                facts = _of_message(value[0], streamed) if mode == "messages" else []
                if mode == "updates":
                    facts = _of_update(value, streamed)
                elif mode == "custom":
                    facts = [Data(_json(value))]
                for fact in facts:
                    yield fact


def _of_message(message: Any, streamed: set[str]) -> list[Fact]:
    """Return what a message or a piece of one says, as a node's model streams it."""
    if message.type.lower().removesuffix("messagechunk") != "ai":
        return []
    if message.id:
        streamed.add(message.id)
    return [each for each in chunk_facts(message) if not isinstance(each, ToolCall)]


def _of_update(update: Mapping[str, Any], streamed: set[str]) -> list[Fact]:
    """Return what the nodes of a step wrote, but for what was streamed, and what they ask."""
    facts: list[Fact] = []
    for node, written in update.items():
        if node == "__interrupt__":
            facts += [_question(each.value) for each in written]
            continue
        for each in written if isinstance(written, (list, tuple)) else [written]:
            said = each.get("messages") if isinstance(each, Mapping) else None
            for message in said if isinstance(said, (list, tuple)) else [said] if said else []:
                facts += _of_written(message, streamed)
    return facts


def _of_written(message: Any, streamed: set[str]) -> list[Fact]:
    (common,) = read([message], "langchain")
    if common.role == "tool":
        return [each for each in common.parts if isinstance(each, ToolResult)]
    if common.role != "assistant":
        return []
    if common.id and common.id in streamed:
        return [each for each in common.parts if isinstance(each, ToolCall)]
    facts: list[Fact] = []
    for part in common.parts:
        facts.append(Said(part.text) if isinstance(part, Text) else part)
    used = getattr(message, "usage_metadata", None)
    return [*facts, Usage(used["input_tokens"], used["output_tokens"])] if used else facts


def _question(value: Any) -> Question:
    return Question(value) if isinstance(value, str) else Question(json.dumps(_json(value)), _json(value))


def _resume(message: Message, graph: Any) -> Any:
    """Return the command that answers an interrupt: with the message's value if it has one, else with its text."""
    from importlib import import_module

    types = import_module("stategraph.types" if type(graph).__module__.startswith("stategraph") else "langgraph.types")
    values = [part.value for part in message.parts if isinstance(part, Data)]
    return types.Command(resume=values[0] if values else message.text)


def _json(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))
