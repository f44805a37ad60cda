"""A graph for LangGraph, which either engine executes: three questions, a branch and a fan-out."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import Send, interrupt


class State(TypedDict, total=False):
    done: Annotated[list[str], operator.add]


def ask(number: int) -> Any:
    def node(state: State) -> State:
        return {"done": [f"answer {number}: {interrupt({'question': number, 'seen': len(state['done'])})}"]}

    node.__name__ = f"ask{number}"
    return node


def fan_out(state: State) -> list[Send]:
    return [Send("piece", {"done": [str(number)]}) for number in range(3)]


def piece(state: State) -> State:
    return {"done": [f"piece {state['done'][0]}"]}


builder = StateGraph(State)
builder.add_node("ask1", ask(1))
builder.add_node("ask2", ask(2))
builder.add_node("piece", piece)
builder.add_node("ask3", ask(3))
builder.add_edge(START, "ask1")
builder.add_edge("ask1", "ask2")
builder.add_conditional_edges("ask2", fan_out, ["piece"])
builder.add_edge("piece", "ask3")
builder.add_edge("ask3", END)
graph = builder.compile()
