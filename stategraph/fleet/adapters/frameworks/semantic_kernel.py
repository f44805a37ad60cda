"""Semantic Kernel 1.x: an agent with `invoke_stream`; a conversation is a `ChatHistoryAgentThread`.

A turn that fails or is cancelled leaves the thread as it was before. Agents whose threads are elsewhere (Azure AI,
OpenAI's assistants) make a thread of their own kind.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import Any

from stategraph.fleet.adapters.port import About, AdapterError, Fact, Losses, Said, Sessions, Usage
from stategraph.fleet.adapters.pump import Telling, told
from stategraph.fleet.messages.common import File, Message, ToolCall, ToolResult
from stategraph.fleet.messages.conversion import read, write


def adapter(agent: Any, version: str) -> Sessions:
    """Return the adapter of an agent.

    Raises:
        AdapterError: It is none.
    """
    from semantic_kernel.agents import Agent

    if not isinstance(agent, Agent):
        raise AdapterError(f"Semantic Kernel runs an Agent; this is {type(agent).__name__}")
    skills = {
        function.name: function.description or ""
        for plugin in agent.kernel.plugins.values()
        for function in plugin.functions.values()
    }
    about = About("semantic_kernel", version, agent.description or agent.instructions or "", skills)
    return Sessions(about, lambda context_id: _Conversation(agent, context_id))


class _Conversation:
    def __init__(self, agent: Any, context_id: str) -> None:
        from semantic_kernel.agents import ChatCompletionAgent, ChatHistoryAgentThread
        from semantic_kernel.contents import ChatHistory

        self._agent = agent
        self._history = ChatHistory()
        is_local = isinstance(agent, ChatCompletionAgent)
        self._thread: Any = ChatHistoryAgentThread(self._history, context_id) if is_local else None

    async def ask(self, message: Message) -> AsyncGenerator[Fact]:
        """Answer a message."""
        from semantic_kernel.contents import ChatMessageContent

        written = write([message], "semantic_kernel")
        if written.losses:
            yield Losses(written.losses)
        given = [ChatMessageContent.model_validate(each) for each in written.messages]
        before, is_whole = len(self._history.messages), False
        try:
            async with contextlib.aclosing(told(lambda tell: self._invoke(given, tell))) as facts:
                async for fact in facts:
                    yield fact
            is_whole = True
        finally:
            if not is_whole:
                del self._history.messages[before:]

    async def close(self) -> None:
        """Forget the conversation; threads of a service stay there."""
        self._history.clear()

    async def _invoke(self, given: list[Any], tell: Telling) -> None:
        async def intermediate(message: Any) -> None:
            (common,) = read([message.model_dump(mode="json")], "semantic_kernel")
            for part in common.parts:
                if isinstance(part, (ToolCall, ToolResult)):
                    tell(part)

        stream = self._agent.invoke_stream(given, thread=self._thread, on_intermediate_message=intermediate)
        async with contextlib.aclosing(stream) as items:
            async for item in items:
                self._thread = item.thread
                for fact in _facts(item.message):
                    tell(fact)


def _facts(chunk: Any) -> list[Fact]:
    used = chunk.metadata.get("usage")
    facts: list[Fact] = [Said(chunk.content)] if chunk.content else []
    for each in chunk.items:
        if each.content_type not in ("text", "streaming_text") and hasattr(each, "mime_type"):
            facts += _file(each)
    if used is not None:
        facts.append(Usage(getattr(used, "prompt_tokens", 0) or 0, getattr(used, "completion_tokens", 0) or 0))
    return facts


def _file(content: Any) -> list[Fact]:
    item = content.model_dump(mode="json")
    (common,) = read([{"role": "assistant", "items": [item]}], "semantic_kernel")
    return [part for part in common.parts if isinstance(part, File)]
