"""A graph to begin with: replace it by your own."""

from __future__ import annotations

from typing import Annotated, Any

from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from typing_extensions import TypedDict


class State(TypedDict):
    """A conversation."""

    messages: Annotated[list[Any], add_messages]


def answer(state: State) -> dict[str, Any]:
    """Answer the last message."""
    return {"messages": [("ai", f"You said: {state['messages'][-1].text}")]}


graph = StateGraph(State).add_node("answer", answer).add_edge(START, "answer").compile()
