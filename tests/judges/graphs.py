"""A graph that answers at once, for judges that need no more."""

from __future__ import annotations

from typing import Annotated, Any

from typing_extensions import TypedDict

from stategraph import START, StateGraph
from stategraph.graph.message import add_messages


class State(TypedDict, total=False):
    messages: Annotated[list, add_messages]


def answer(state: State) -> Any:
    return {"messages": [("ai", "All is well.")]}


talk = StateGraph(State).add_node("answer", answer).add_edge(START, "answer").compile(name="talk")
