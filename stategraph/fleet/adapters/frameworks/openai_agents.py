"""The OpenAI Agents SDK: an `Agent`; a conversation is a session of the SDK (`SQLiteSession`, in memory).

A turn that fails or is cancelled is taken out of its session again, so that the next one begins where the last good one
ended.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from stategraph.fleet.adapters.port import About, AdapterError, Fact, Losses, Said, Sessions, Usage
from stategraph.fleet.messages.common import (
    Message,
    MessageError,
    Reasoning,
    ToolCall,
    ToolResult,
    arguments_of,
    as_text,
)
from stategraph.fleet.messages.conversion import write


def adapter(agent: Any, version: str) -> Sessions:
    """Return the adapter of an agent.

    Raises:
        AdapterError: It is none.
    """
    from agents import Agent

    if not isinstance(agent, Agent):
        raise AdapterError(f"The OpenAI Agents SDK runs an Agent; this is {type(agent).__name__}")
    said = agent.handoff_description or (agent.instructions if isinstance(agent.instructions, str) else "")
    skills = {each.name: getattr(each, "description", "") or "" for each in agent.tools}
    about = About("openai_agents", version, said or "", skills)
    return Sessions(about, lambda context_id: _Conversation(agent, context_id))


class _Conversation:
    def __init__(self, agent: Any, context_id: str) -> None:
        from agents import SQLiteSession

        self._agent = agent
        self._session = SQLiteSession(context_id)

    async def ask(self, message: Message) -> AsyncGenerator[Fact]:
        """Answer a message."""
        from agents import Runner

        written = write([message], "openai_agents")
        if written.losses:
            yield Losses(written.losses)
        before = len(await self._session.get_items())
        result = Runner.run_streamed(self._agent, written.messages, session=self._session)
        is_whole = False
        try:
            async for event in result.stream_events():
                for fact in _facts(event):
                    yield fact
            is_whole = True
        finally:
            if not is_whole:
                result.cancel()
                await self._go_back(before)
        used = result.context_wrapper.usage
        yield Usage(used.input_tokens, used.output_tokens)

    async def close(self) -> None:
        """Close the session."""
        self._session.close()

    async def _go_back(self, before: int) -> None:
        for _ in range(len(await self._session.get_items()) - before):
            await self._session.pop_item()


def _facts(event: Any) -> list[Fact]:
    if event.type == "raw_response_event":
        kind = event.data.type
        if kind in ("response.output_text.delta", "response.refusal.delta"):
            return [Said(event.data.delta)]
        return []
    if event.type != "run_item_stream_event":
        return []
    item = event.item
    if item.type == "tool_call_item":
        return [_call(item)]
    if item.type == "tool_call_output_item":
        return [ToolResult(item.call_id or "", as_text(item.output))]
    if item.type == "reasoning_item":
        text = "\n".join(each.text for each in (item.raw_item.content or item.raw_item.summary or ()))
        return [Reasoning(text)] if text else []
    return []


def _call(item: Any) -> ToolCall:
    raw = item.raw_item
    given = raw.get("arguments") if isinstance(raw, dict) else getattr(raw, "arguments", None)
    try:
        arguments = arguments_of(given, "arguments")
    except MessageError:  # what the model wrote is no JSON
        arguments = {"arguments": given}
    return ToolCall(item.call_id or "", item.tool_name or "", arguments)
