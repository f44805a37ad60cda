"""The llm node: one call of a model.

- A model is called through LangChain's own interface, so every chat model works and every error is the provider's.
- Where somebody listens the answer is streamed to them piece by piece; where nobody does, it is one call, and
  LangChain streams by itself if a callback handler asks for it.
- If a call fails, the next route is tried; when all fail, the first error is raised.
- What comes out of a listener is no failure of the model: it ends the run.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, cast

from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage, message_chunk_to_message
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_core.runnables import Runnable, RunnableConfig

from stategraph.agent import history
from stategraph.agent.agent import Agent, Route
from stategraph.agent.handoff import Outlook
from stategraph.agent.ports import (
    AgentContext,
    Listener,
    Logged,
    ModelCall,
    ModelEnded,
    ModelFailed,
    ModelStarted,
    ModelStreamed,
    Place,
    agent_context,
)
from stategraph.agent.state import AgentState
from stategraph.engine.callable import RunnableCallable
from stategraph.engine.runtime import Runtime
from stategraph.errors import GraphBubbleUp


class LlmNode:
    """Calls the model of an agent with the conversation.

    Args:
        agent: The agent.
    """

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def as_runnable(self) -> Runnable[Any, Any]:
        """The node for a graph, sync and async."""
        return RunnableCallable(self.call, self.acall, name=self._agent.llm_node, trace=False)

    def call(self, state: AgentState, config: RunnableConfig, runtime: Runtime[AgentContext]) -> dict[str, Any]:
        """Call the model and wait.

        Raises:
            TypeError: If somebody listens: listeners are async.
        """
        if agent_context(runtime.context).listener is not None:
            raise TypeError(
                f"Agent '{self._agent.id}' was run with invoke() or stream() and a listener in its context; a listener "
                "is awaited: use ainvoke() or astream(), or Run.process_stream()"
            )
        seen = self._look(state)
        prompt = _prompt(seen)
        errors: list[Exception] = []
        for route in self._agent.routes:
            try:
                return {"messages": [*seen.added, route.model.invoke(prompt, config)]}
            except GraphBubbleUp:
                raise
            except Exception as error:
                errors.append(error)
        raise _first(errors)

    async def acall(self, state: AgentState, config: RunnableConfig, runtime: Runtime[AgentContext]) -> dict[str, Any]:
        """Call the model, telling a listener about every piece of the answer."""
        context = agent_context(runtime.context)
        listener = context.listener
        seen = self._look(state)
        if listener is None:
            return {"messages": [*seen.added, await self._quietly(_prompt(seen), config)]}
        if (memory := state.get("memory")) is not None:
            listener.recall(memory)
        message = await self._aloud(
            seen, self._agent.place(self._agent.llm_node, config, state["messages"]), config, listener
        )
        memory = listener.memory()
        update = {"messages": [*seen.added, message]}
        return update if memory is None else {**update, "memory": memory}

    def _look(self, state: AgentState) -> Outlook:
        """What the model is sent."""
        agent = self._agent
        messages = history.repair(state["messages"])
        return Outlook(agent.system, messages) if agent.role is None else agent.role.look(agent.system, messages)

    async def _quietly(self, prompt: list[AnyMessage], config: RunnableConfig) -> AIMessage:
        errors: list[Exception] = []
        for route in self._agent.routes:
            try:
                return cast("AIMessage", await route.model.ainvoke(prompt, config))
            except GraphBubbleUp:
                raise
            except Exception as error:
                errors.append(error)
        raise _first(errors)

    async def _aloud(self, seen: Outlook, at: Place, config: RunnableConfig, listener: Listener) -> AIMessage:
        agent = self._agent
        prompt, sent = _prompt(seen), len(seen.messages)
        first = agent.routes[0]
        figures: dict[str, Any] = {"messageCount": sent, "provider": first.provider}
        await listener.hear(Logged(at, "debug", "graph", "Invoking LLM", figures, detail=False))
        errors: list[Exception] = []
        for route in agent.routes:
            call = ModelCall(at, route.provider, route.name, prompt, sent)
            began = time.monotonic()
            answer = await self._stream(call, route, config, listener)
            if isinstance(answer, AIMessage):
                await listener.hear(ModelEnded(call, answer, time.monotonic() - began))
                return answer
            errors.append(answer)
            if len(errors) < len(agent.routes):
                await listener.hear(ModelFailed(call, answer))
        raise _first(errors)

    async def _stream(
        self, call: ModelCall, route: Route, config: RunnableConfig, listener: Listener
    ) -> AIMessage | Exception:
        """The whole answer, or what the model failed with."""
        await listener.hear(ModelStarted(call))
        chunks: list[AIMessage] = []
        stream = cast("AsyncIterator[AIMessage]", route.model.astream(call.messages, config))
        async with aclosing(cast("Any", stream)):
            while True:
                try:
                    chunk = await anext(stream, None)
                except GraphBubbleUp:
                    raise
                except Exception as error:
                    return error
                if chunk is None:
                    break
                chunks.append(chunk)
                await listener.hear(ModelStreamed(call, chunk))
        if not chunks:
            return ValueError(
                f"The model '{route.name}' of agent '{call.at.agent_id}' ended its stream without a chunk"
            )
        return _whole(chunks)


def _prompt(seen: Outlook) -> list[AnyMessage]:
    return [*([] if seen.system is None else [seen.system]), *seen.messages]


def _whole(chunks: list[AIMessage]) -> AIMessage:
    """The message that was streamed; a model that does not stream gives it in one piece."""
    first, *others = chunks
    if not isinstance(first, AIMessageChunk):
        return first
    return cast("AIMessage", message_chunk_to_message(add_ai_message_chunks(first, *cast("Any", others))))


def _first(errors: list[Exception]) -> Exception:
    """The error of the first route, which is the one that the author chose; the others are noted on it."""
    first, *others = errors
    for error in others:
        first.add_note(f"A fallback failed as well: {type(error).__name__}: {error}")
    return first
