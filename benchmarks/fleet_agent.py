"""The agent that `benchmarks.fleet` sends messages to: a graph of one node."""

from __future__ import annotations

from typing import Any

from stategraph import START, MessagesState, StateGraph


async def answer(state: MessagesState) -> dict[str, Any]:
    return {"messages": [("ai", "Hello.")]}


graph = StateGraph(MessagesState).add_node("answer", answer).add_edge(START, "answer").compile()
