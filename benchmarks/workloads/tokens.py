"""Token streaming: what ``stream_mode="messages"`` costs above iterating over the model itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langgraph.graph import END, START, MessagesState, StateGraph

from benchmarks.workloads.base import LOOP, Difference, Timed, Workload
from benchmarks.workloads.runs import GraphRun

TOKENS = 500
STREAMS, APART_S, APART_TOKENS = 300, 0.02, 15


class Talker(BaseChatModel):
    """A model that streams a fixed number of tokens natively in both worlds; its async tokens may come apart."""

    tokens: int = TOKENS
    apart_s: float = 0.0

    @property
    def _llm_type(self) -> str:
        return "talker"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage("word " * self.tokens))])

    def _stream(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        for _ in range(self.tokens):
            chunk = ChatGenerationChunk(message=AIMessageChunk("word "))
            if run_manager:
                run_manager.on_llm_new_token("word ", chunk=chunk)
            yield chunk

    async def _astream(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        for _ in range(self.tokens):
            if self.apart_s:
                await asyncio.sleep(self.apart_s)
            chunk = ChatGenerationChunk(message=AIMessageChunk("word "))
            if run_manager:
                await run_manager.on_llm_new_token("word ", chunk=chunk)
            yield chunk


def graph_of(model: Talker, variant: str) -> Any:
    """Return a graph of one node that answers with a model."""

    def answer(state: MessagesState) -> dict[str, Any]:
        return {"messages": [model.invoke(state["messages"])]}

    async def aanswer(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("answer", aanswer if variant == "async" else answer)
    builder.add_edge(START, "answer")
    builder.add_edge("answer", END)
    return builder.compile()


def _bare(model: Talker, variant: str) -> Callable[[], int]:
    """The baseline: iterate over the model's own stream."""
    question = [HumanMessage("hi?", id="human")]

    async def count() -> int:
        return len([chunk async for chunk in model.astream(question)])

    if variant == "async":
        return lambda: LOOP.run(count())
    return lambda: len(list(model.stream(question)))


def _tokens(variant: str) -> Workload:
    model = Talker()
    given = {"messages": [HumanMessage("hi?", id="human")]}
    run = GraphRun(graph_of(model, variant), given, variant, options={"stream_mode": "messages"})
    bare = _bare(model, variant)

    def describe() -> dict[str, Any]:
        chunks: list[Any] = []
        run.drain(chunks.append)
        return {
            "chunks": len(chunks),
            "text": len("".join(message.content for message, _ in chunks)),
            "metadata": sorted({key for _, metadata in chunks for key in metadata}),
        }

    return Difference(Timed(run.work, describe), Timed(bare, lambda: {"chunks": bare()}), TOKENS)


def _apart(_variant: str) -> Workload:
    """Many streams at once whose tokens come one by one, as those of real models do: most of it is waiting."""
    model = Talker(tokens=APART_TOKENS, apart_s=APART_S)
    graph = graph_of(model, "async")
    question = [HumanMessage("hi?", id="human")]

    async def stream() -> int:
        return len([chunk async for chunk in graph.astream({"messages": question}, stream_mode="messages")])

    async def bare() -> int:
        return len([chunk async for chunk in model.astream(question)])

    async def all_of(one: Callable[[], Awaitable[int]]) -> int:
        return sum(await asyncio.gather(*(one() for _ in range(STREAMS))))

    def half(one: Callable[[], Awaitable[int]]) -> Timed:
        return Timed(lambda: LOOP.run(all_of(one)), lambda: {"tokens": LOOP.run(all_of(one)) // STREAMS}, iterations=1)

    return Difference(half(stream), half(bare), STREAMS * APART_TOKENS, turns=1)


WORKLOADS: dict[str, Callable[[str], Workload]] = {"token_streaming": _tokens, "tokens_20_ms_apart": _apart}
