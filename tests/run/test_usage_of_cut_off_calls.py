"""Usage of calls of models that fail or are stopped: what their streams have said, and else that it is unknown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.tools import tool

from stategraph import END, START, MessagesState, StateGraph
from stategraph.agent.tools.counted import counted
from stategraph.errors import AbortError
from stategraph.run.run import Run
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from tests.run.hosting import Host, ask

pytestmark = pytest.mark.anyio

USAGE = UsageMetadata(input_tokens=9, output_tokens=1, total_tokens=10)


class CutOff(BaseChatModel):
    """A model that streams a beginning, and then fails or hangs.

    Attributes:
        usage: Told with the first piece, as some providers do.
        begins: Whether there is a first piece.
        error: Raised; None: it hangs.
    """

    usage: Any = None
    begins: bool = True
    error: Any = None

    @property
    def _llm_type(self) -> str:
        return "cut-off"

    def _generate(self, *_: Any, **__: Any) -> ChatResult:
        raise NotImplementedError

    def _stream(self, messages: list[BaseMessage], *_: Any, **__: Any) -> Iterator[ChatGenerationChunk]:
        raise NotImplementedError

    async def _astream(self, messages: list[BaseMessage], *_: Any, **__: Any) -> AsyncIterator[ChatGenerationChunk]:
        if self.begins:
            for text in ("Well, ", "it"):
                usage = self.usage if text == "Well, " else None
                yield ChatGenerationChunk(message=AIMessageChunk(text, usage_metadata=usage))
        if self.error is not None:
            raise self.error
        await asyncio.sleep(3600)


def graph_of(model: Any) -> Any:
    async def speak(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    return StateGraph(MessagesState).add_node(speak).add_edge(START, "speak").add_edge("speak", END).compile()


async def make(kind: str, model: Any, **settings: Any) -> Run:
    if kind == "graph":
        return await Run.create({"run_id": "r", "graph": graph_of(model), **settings})
    if kind == "agent":
        agent: dict[str, Any] = {"agent_id": "a", "model": model}
    else:

        @tool
        async def think() -> str:
            """Think."""
            return "".join([str(piece.content) async for piece in model.astream("Think.", counted())])

        thinks = ScriptedChatModel(replies=[script.reply(script.call("think", {}), usage=(0, 0))])
        agent = {"agent_id": "a", "model": thinks, "tools": [think]}
    return await Run.create({"run_id": "r", "graph_config": {"agents": [agent]}, **settings})


async def ended(run: Run, stops: bool) -> None:
    """Execute a run whose model fails, or which is stopped while the model answers."""
    if not stops:
        with pytest.raises((RuntimeError, IndexError)):
            await run.process_stream(ask())
        return
    with pytest.raises(AbortError):
        async for event in run.stream(ask()):
            waits = event.event in ("on_message_delta", "on_tool_start", "on_chat_model_start")
            if waits and not run.usage.total.tool_calls - int(event.event == "on_tool_start"):
                await asyncio.sleep(0.05)
                run.abort()


@pytest.mark.parametrize("stops", [True, False])
@pytest.mark.parametrize("kind", ["agent", "graph", "tool"])
async def test_what_a_stream_has_reported_is_counted_when_it_is_cut_off(kind: str, stops: bool) -> None:
    error = None if stops else RuntimeError("the connection is gone")
    run = await make(kind, CutOff(usage=USAGE, error=error))
    await ended(run, stops)
    total = run.usage.total
    assert (total.input_tokens, total.output_tokens, total.unreported_calls) == (9, 1, 0)
    assert total.model_calls == (1 if kind != "tool" else 3 - stops)


@pytest.mark.parametrize("kind", ["agent", "graph"])
@pytest.mark.parametrize("begins", [True, False])
async def test_of_a_call_that_is_stopped_before_its_usage_comes_it_is_said_that_it_is_unknown(
    kind: str, begins: bool
) -> None:
    run = await make(kind, CutOff(begins=begins))
    task = run.start(ask())
    await asyncio.sleep(0.1)
    run.abort()
    with pytest.raises(AbortError):
        await task
    total = run.usage.total
    assert (total.model_calls, total.total_tokens, total.unreported_calls) == (1, 0, 1)


async def test_of_a_call_that_breaks_off_before_its_usage_comes_a_log_says_that_it_is_unknown() -> None:
    host = Host()
    run = await make("agent", CutOff(error=RuntimeError("gone")), custom_handlers=host.handlers())
    await ended(run, stops=False)
    said = [data["message"] for event, data in host.rows if event == "on_agent_log" and data["scope"] == "usage"]
    assert len(said) == 1
    assert said[0].endswith("failed before it reported its usage: its tokens are in no total")
    assert run.usage.total.unreported_calls == 1


@pytest.mark.parametrize("kind", ["agent", "graph"])
async def test_a_call_that_fails_before_it_is_answered_took_nothing(kind: str) -> None:
    run = await make(kind, CutOff(begins=False, error=RuntimeError("no such key")))
    await ended(run, stops=False)
    total = run.usage.total
    assert (total.model_calls, total.total_tokens, total.unreported_calls) == (1, 0, 0)


async def test_what_a_cut_off_call_took_is_estimated_where_tokens_are_limited() -> None:
    run = await make(
        "agent", CutOff(error=RuntimeError("gone")), limits={"total_tokens": 1000}, token_counter=lambda message: 7
    )
    await ended(run, stops=False)
    assert run.usage.total.total_tokens == 14
