"""A graph: nodes that return updates, reducers that merge them, a loop with an exit.

Prints::

    {'number': 1, 'path': [12, 6, 3, 10, 5, 16, 8, 4, 2, 1]}
"""

import operator
from typing import Annotated, TypedDict

from stategraph import END, START, StateGraph


class State(TypedDict):
    number: int
    path: Annotated[list[int], operator.add]


def halve(state: State) -> dict[str, object]:
    number = state["number"] // 2
    return {"number": number, "path": [number]}


def grow(state: State) -> dict[str, object]:
    number = 3 * state["number"] + 1
    return {"number": number, "path": [number]}


def route(state: State) -> str:
    if state["number"] == 1:
        return END
    return "halve" if state["number"] % 2 == 0 else "grow"


builder = StateGraph(State)
builder.add_node(halve)
builder.add_node(grow)
for source in (START, "halve", "grow"):
    builder.add_conditional_edges(source, route, ["halve", "grow", END])
graph = builder.compile()

print(graph.invoke({"number": 12, "path": [12]}))
