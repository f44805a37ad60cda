"""A graph as a node of another, and its events seen from outside.

Prints::

    main    {'plan': {'steps': ['plan']}}
    inner   {'fetch': {'steps': ['fetch']}}
    inner   {'clean': {'steps': ['clean']}}
    main    {'research': {'steps': ['plan', 'fetch', 'clean']}}
    main    {'write': {'steps': ['write']}}
"""

from collections.abc import Callable
from typing import Annotated, TypedDict

from stategraph import END, START, StateGraph


def extend(old: list[str], new: list[str]) -> list[str]:
    """Append only new items; a subgraph returns the whole list that it was given."""
    return [*old, *(step for step in new if step not in old)]


class State(TypedDict):
    steps: Annotated[list[str], extend]


def step(name: str) -> tuple[str, Callable[[State], State]]:
    return name, lambda state: {"steps": [name]}


inner = StateGraph(State)
inner.add_sequence([step("fetch"), step("clean")])
inner.add_edge(START, "fetch")

outer = StateGraph(State)
outer.add_sequence([step("plan"), ("research", inner.compile()), step("write")])
outer.add_edge(START, "plan")
outer.add_edge("write", END)
graph = outer.compile()

for namespace, update in graph.stream({"steps": []}, stream_mode="updates", subgraphs=True):
    print("inner  " if namespace else "main   ", update)
