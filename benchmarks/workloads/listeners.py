"""What it costs that somebody listens: a step that is streamed or told to handlers, and a token that comes alone."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, HumanMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langgraph.graph import END, START, MessagesState, StateGraph

from benchmarks.workloads.agent import agent_loop, question
from benchmarks.workloads.base import LOOP, Clock, Difference, Sample, Timed, Workload
from benchmarks.workloads.runs import GraphRun

LONG, SHORT = 60, 10
"""Rounds of an agent loop of two steps each; the difference is what is measured."""

EVENTS = ("on_chain_start", "on_chain_end", "on_chain_error")


# -- a step --


def _per_step(work: Callable[[int], Timed]) -> Difference:
    return Difference(work(LONG), work(SHORT), 2 * (LONG - SHORT))


def _streamed(*modes: str) -> Callable[[str], Workload]:
    """An agent loop whose steps are streamed in some modes; each step returns a message."""

    def build(variant: str) -> Workload:
        def work(rounds: int) -> Timed:
            mode = modes[0] if len(modes) == 1 else list(modes)
            graph = agent_loop(rounds, variant).compile()
            run = GraphRun(graph, question, variant, options={"stream_mode": mode})

            def describe() -> dict[str, Any]:
                chunks: list[Any] = []
                run.drain(chunks.append)
                messages = [
                    chunk if len(modes) == 1 else chunk[1]
                    for chunk in chunks
                    if len(modes) == 1 or chunk[0] == "messages"
                ]
                return {
                    "chunks": len(chunks),
                    "messages": [message.content for message, _ in messages],
                    "steps": [metadata["langgraph_step"] for _, metadata in messages],
                }

            return Timed(run.work, describe)

        return _per_step(work)

    return build


def _counting(base: type, counts: Counter[str]) -> Any:
    """A handler that counts the events of chains that it is told."""

    def sync_method(name: str) -> Any:
        def method(self: Any, *args: Any, **kwargs: Any) -> None:
            counts[name] += 1

        return method

    def async_method(name: str) -> Any:
        async def method(self: Any, *args: Any, **kwargs: Any) -> None:
            counts[name] += 1

        return method

    make = async_method if base is AsyncCallbackHandler else sync_method
    return type("Counting", (base,), {name: make(name) for name in EVENTS})()


def _handled(number: int, kind: type | None = None) -> Callable[[str], Workload]:
    """An agent loop with handlers that count the events which they are told."""

    def build(variant: str) -> Workload:
        base = kind or (AsyncCallbackHandler if variant == "async" else BaseCallbackHandler)

        def work(rounds: int) -> Timed:
            counts: Counter[str] = Counter()
            handlers = [_counting(base, counts) for _ in range(number)]
            graph = agent_loop(rounds, variant).compile()
            run = GraphRun(graph, question, variant, config={"callbacks": handlers})

            def describe() -> dict[str, Any]:
                counts.clear()
                return {**run.describe(), "events": dict(sorted(counts.items()))}

            return Timed(run.work, describe)

        return _per_step(work)

    return build


# -- tokens that come alone --

STREAMS, TOKENS, PAUSE_S = 300, 25, 0.02


class Typist(BaseChatModel):
    """A model whose tokens come one by one, with time in between."""

    @property
    def _llm_type(self) -> str:
        return "typist"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        raise NotImplementedError

    async def _astream(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        for _ in range(TOKENS):
            await asyncio.sleep(PAUSE_S)
            chunk = ChatGenerationChunk(message=AIMessageChunk("word "))
            if run_manager:
                await run_manager.on_llm_new_token("word ", chunk=chunk)
            yield chunk


async def _all_at_once(stream: Callable[[], AsyncIterator[Any]]) -> int:
    """Read streams beside each other, begun within one pause; returns how many pieces came."""

    async def read(number: int) -> int:
        await asyncio.sleep(PAUSE_S * number / STREAMS)
        return len([True async for _ in stream()])

    return sum(await asyncio.gather(*map(read, range(STREAMS))))


@dataclass(frozen=True, slots=True)
class _Apart:
    """Processor time of a token above that of the model's own stream, whatever the clock that is asked for.

    Most of the elapsed time is the pauses.
    """

    streamed: Callable[[], AsyncIterator[Any]]
    bare: Callable[[], AsyncIterator[Any]]

    def check(self) -> dict[str, Any]:
        """Count the pieces of both."""
        return {"streamed": LOOP.run(_all_at_once(self.streamed)), "bare": LOOP.run(_all_at_once(self.bare))}

    def sample(self, budget_s: float, clock: Clock) -> Sample:
        """Read both in turn, once."""
        long, short = (Timed(lambda s=s: LOOP.run(_all_at_once(s)), dict) for s in (self.streamed, self.bare))
        both = Difference(long, short, STREAMS * TOKENS)
        return both.sample(budget_s, time.process_time)


def _apart(variant: str) -> Workload:
    model = Typist()

    async def answer(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    builder = StateGraph(MessagesState).add_node("answer", answer).add_edge(START, "answer")
    graph = builder.add_edge("answer", END).compile()
    given = [HumanMessage("hi?", id="human")]
    return _Apart(
        lambda: graph.astream({"messages": given}, stream_mode="messages"),
        lambda: model.astream(given),
    )


WORKLOADS: dict[str, Callable[[str], Workload]] = {
    "step_in_messages_mode": _streamed("messages"),
    "step_in_updates_and_messages_mode": _streamed("updates", "messages"),
    "step_with_2_handlers": _handled(2),
    "step_with_2_sync_handlers": _handled(2, BaseCallbackHandler),
    "tokens_20_ms_apart": _apart,
}
