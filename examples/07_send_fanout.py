"""Map and reduce: one task for each item, decided while the graph runs.

Prints::

    {'words': ['graph', 'state', 'step'], 'scores': {'graph': 5, 'state': 5, 'step': 4}, 'best': 'graph'}
"""

import operator
from typing import Annotated, TypedDict

from stategraph import END, START, Send, StateGraph


class State(TypedDict, total=False):
    words: list[str]
    scores: Annotated[dict[str, int], operator.or_]
    best: str


class Item(TypedDict):
    word: str


def fan_out(state: State) -> list[Send]:
    return [Send("score", {"word": word}) for word in state["words"]]


def score(item: Item) -> State:
    return {"scores": {item["word"]: len(item["word"])}}


def choose(state: State) -> State:
    return {"best": max(state["scores"], key=lambda word: state["scores"][word])}


builder = StateGraph(State)
builder.add_node(score)
builder.add_node(choose)
builder.add_conditional_edges(START, fan_out, ["score"])
builder.add_edge("score", "choose")
builder.add_edge("choose", END)
graph = builder.compile()

print(graph.invoke({"words": ["graph", "state", "step"]}))
