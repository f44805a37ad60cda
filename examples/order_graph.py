"""The graph of `18_worker_command.py`, which workers import by its name."""

import operator
from typing import Annotated, TypedDict

from stategraph import END, START, StateGraph, interrupt


class State(TypedDict):
    order: str
    done: Annotated[list[str], operator.add]


def check(state: State) -> dict[str, list[str]]:
    return {"done": [f"checked {state['order']}"]}


def approve(state: State) -> dict[str, list[str]]:
    return {"done": [f"approved by {interrupt('Who approves?')}"]}


builder = StateGraph(State)
builder.add_node(check)
builder.add_node(approve)
builder.add_edge(START, "check").add_edge("check", "approve").add_edge("approve", END)
graph = builder.compile()
