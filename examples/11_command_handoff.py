"""Handing over: a node that updates the state and says where to go, also out of a subgraph.

Prints::

    ['greeter: hello', 'desk: this is about money', 'billing: refunded']
    ['greeter: hello', 'desk: nothing to do']
"""

import operator
from typing import Annotated, Literal, TypedDict

from stategraph import END, START, Command, StateGraph


class State(TypedDict):
    topic: str
    log: Annotated[list[str], operator.add]


def sort(state: State) -> Command[str]:
    if state["topic"] == "money":
        return Command(graph=Command.PARENT, goto="billing", update={"log": ["desk: this is about money"]})
    return Command(graph=Command.PARENT, goto=END, update={"log": ["desk: nothing to do"]})


def greet(state: State) -> Command[Literal["desk"]]:
    return Command(goto="desk", update={"log": ["greeter: hello"]})


desk = StateGraph(State)
desk.add_node(sort)
desk.add_edge(START, "sort")

builder = StateGraph(State)
builder.add_node("greeter", greet)
builder.add_node("desk", desk.compile(), destinations=("billing", END))
builder.add_node("billing", lambda state: {"log": ["billing: refunded"]})
builder.add_edge(START, "greeter")
builder.add_edge("billing", END)
graph = builder.compile()

for topic in ("money", "weather"):
    print(graph.invoke({"topic": topic, "log": []})["log"])
