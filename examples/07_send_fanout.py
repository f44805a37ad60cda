"""Map and reduce: one task for each item, decided while the graph runs.

Prints::

    {'words': ['graph', 'state', 'step'], 'scores': {'graph': 5, 'state': 5, 'step': 4}, 'best': 'graph'}
"""

from typing import Annotated, TypedDict

from stategraph import END, START, Send, StateGraph


def merge(scores: dict[str, int], more: dict[str, int]) -> dict[str, int]:
    return scores | more


class Words(TypedDict):
    words: list[str]


class Scores(TypedDict):
    scores: Annotated[dict[str, int], merge]


class State(Words, Scores):
    best: str


class Item(TypedDict):
    word: str


def fan_out(state: State) -> list[Send]:
    return [Send("score", {"word": word}) for word in state["words"]]


def score(item: Item) -> Scores:
    return {"scores": {item["word"]: len(item["word"])}}


def choose(state: State) -> dict[str, str]:
    return {"best": max(state["scores"], key=lambda word: state["scores"][word])}


builder = StateGraph(State, input_schema=Words)
builder.add_node(score, input_schema=Item)
builder.add_node(choose)
builder.add_conditional_edges(START, fan_out, ["score"])
builder.add_edge("score", "choose")
builder.add_edge("choose", END)
graph = builder.compile()

print(graph.invoke({"words": ["graph", "state", "step"]}))
