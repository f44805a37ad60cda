"""An agent loop that somebody listens to: each of its steps returns a message, and every other one routes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler

from benchmarks.workloads.agent import agent_loop, counting_handler, question
from benchmarks.workloads.base import Difference, Timed, Workload
from benchmarks.workloads.runs import GraphRun

LONG, SHORT = 60, 10
"""Rounds of an agent loop of two steps each; the difference is what is measured."""


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


def _handled(number: int, kind: type) -> Callable[[str], Workload]:
    """An agent loop with handlers that count the events which they are told."""

    def build(variant: str) -> Workload:
        def work(rounds: int) -> Timed:
            counts: Counter[str] = Counter()
            handlers = [counting_handler(counts, kind) for _ in range(number)]
            graph = agent_loop(rounds, variant).compile()
            run = GraphRun(graph, question, variant, config={"callbacks": handlers})

            def describe() -> dict[str, Any]:
                counts.clear()
                return {**run.describe(), "events": dict(sorted(counts.items()))}

            return Timed(run.work, describe)

        return _per_step(work)

    return build


WORKLOADS: dict[str, Callable[[str], Workload]] = {
    "message_in_messages_mode": _streamed("messages"),
    "message_in_updates_and_messages_mode": _streamed("updates", "messages"),
    "step_with_2_sync_handlers": _handled(2, BaseCallbackHandler),
}
