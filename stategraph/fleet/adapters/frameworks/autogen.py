"""AutoGen 0.7: an agent or a team of `autogen_agentchat`, or a function that makes one for each conversation.

A conversation is the agent's state (`save_state`). One agent is given the state of the conversation whose turn it is,
so that its turns are one after another; agents that a function makes take turns at the same time. A turn that fails or
is cancelled leaves the state as it was before.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncGenerator, Callable
from typing import Any

from stategraph.fleet.adapters.port import About, AdapterError, Fact, Losses, Said, Sessions, Usage
from stategraph.fleet.messages.common import File, Message, MessageError, Reasoning, Text
from stategraph.fleet.messages.conversion import read, write

#: Events that say what `messages` can read, and what of them was not streamed before.
_CALLS = ("ToolCallRequestEvent", "ToolCallExecutionEvent")
_TEXTS = ("TextMessage", "StopMessage", "HandoffMessage", "ToolCallSummaryMessage", "MultiModalMessage")


def adapter(agent: Any, version: str) -> Sessions:
    """Return the adapter of an agent, a team or a function that makes one.

    Raises:
        AdapterError: It is none.
    """
    if _runs(agent) and not inspect.isclass(agent):
        shared = _Shared(agent)
        about = About("autogen", version, str(getattr(agent, "description", "") or ""))
        return Sessions(about, lambda context_id: _Conversation(shared))
    if callable(agent):
        return Sessions(About("autogen", version, inspect.getdoc(agent) or ""), lambda context_id: _of(agent))
    raise AdapterError(f"AutoGen runs agents and teams; this is {type(agent).__name__}, which has no run_stream")


def _runs(agent: Any) -> bool:
    return hasattr(agent, "run_stream") and hasattr(agent, "save_state")


def _of(make: Callable[[], Any]) -> _Conversation:
    made = make()
    if not _runs(made):
        raise AdapterError(f"The function made {type(made).__name__}; expected an agent or a team of AutoGen")
    return _Conversation(_Shared(made))


class _Shared:
    """An agent, and the state that it had before its first turn."""

    def __init__(self, agent: Any) -> None:
        self.agent = agent
        self.turn = asyncio.Lock()
        self.first: Any = None


class _Conversation:
    def __init__(self, shared: _Shared) -> None:
        self._shared = shared
        self._state: Any = None

    async def ask(self, message: Message) -> AsyncGenerator[Fact]:
        """Answer a message."""
        from autogen_agentchat.messages import MessageFactory

        written = write([message], "autogen")
        if written.losses:
            yield Losses(written.losses)
        factory = MessageFactory()
        task = [factory.create(each) for each in written.messages]
        agent = self._shared.agent
        async with self._shared.turn:
            if self._shared.first is None:
                self._shared.first = await agent.save_state()
            await agent.load_state(self._state if self._state is not None else self._shared.first)
            async with contextlib.aclosing(self._run(agent, task)) as facts:
                async for fact in facts:
                    yield fact
            self._state = await agent.save_state()

    async def close(self) -> None:
        """Forget the state."""
        self._state = None

    async def _run(self, agent: Any, task: list[Any]) -> AsyncGenerator[Fact]:
        from autogen_core import CancellationToken

        token, heard = CancellationToken(), _Heard({each.id for each in task})
        stream = agent.run_stream(task=task, cancellation_token=token)
        try:
            async with contextlib.aclosing(stream) as events:
                async for event in events:
                    for fact in heard.facts(event):
                        yield fact
        finally:
            token.cancel()


class _Heard:
    """The events of a run as facts; a message whose text was streamed is not told again."""

    def __init__(self, own: set[str]) -> None:
        self._own = own
        self._streamed = ""

    def facts(self, event: Any) -> list[Fact]:
        kind = getattr(event, "type", "")
        if kind == "ModelClientStreamingChunkEvent":
            self._streamed += event.content
            return [Said(event.content)]
        if kind not in (*_CALLS, *_TEXTS, "ThoughtEvent") or event.id in self._own:
            return []
        used = event.models_usage
        tokens: list[Fact] = [Usage(used.prompt_tokens, used.completion_tokens)] if used else []
        streamed, self._streamed = self._streamed, ""
        if kind == "ThoughtEvent":
            return [*tokens, *([] if streamed else [Reasoning(event.content)])]
        if kind in _TEXTS and streamed and streamed.strip() == event.to_text().strip():
            return tokens
        return [*tokens, *_parts(event)]


def _parts(event: Any) -> list[Fact]:
    try:
        messages = read([event.model_dump(mode="json")], "autogen")
    except MessageError:  # a kind of message that the agent's author has made
        return [Said(event.to_text())]
    found: list[Fact] = []
    for part in (part for each in messages for part in each.parts):
        found.append(Said(part.text) if isinstance(part, Text) else part)
    return [each for each in found if not isinstance(each, File) or each.data or each.url]
