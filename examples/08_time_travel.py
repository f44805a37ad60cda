"""History: look at every step of a thread, correct one, and go on from there.

Prints::

    4 ()          120.0
    3 ('tax',)    100.0
    2 ('price',)    0.0
    corrected: 60.0
    the old branch is still there: 120.0
"""

from typing import TypedDict

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import END, START, StateGraph


class State(TypedDict):
    total: float


builder = StateGraph(State)
builder.add_node("price", lambda state: {"total": 100.0})
builder.add_node("tax", lambda state: {"total": state["total"] * 1.2})
builder.add_edge(START, "price")
builder.add_edge("price", "tax")
builder.add_edge("tax", END)
graph = builder.compile(checkpointer=InMemorySaver())

thread: RunnableConfig = {"configurable": {"thread_id": "1"}}
graph.invoke({"total": 0.0}, thread)
history = [snapshot for snapshot in graph.get_state_history(thread) if snapshot.next != (START,)]
for number, snapshot in zip((4, 3, 2), history, strict=True):
    print(f"{number} {snapshot.next!s:<11} {snapshot.values['total']:5}")

before_tax = history[1]
fork = graph.update_state(before_tax.config, {"total": 50.0})
print("corrected:", graph.invoke(None, fork)["total"])
print("the old branch is still there:", graph.get_state(history[0].config).values["total"])
