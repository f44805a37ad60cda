"""Durability: what was finished before a failure is not done again after it.

Prints::

    failed: ConnectionError
    still to do: ('mail',)
    {'sent': ['print', 'mail']}
    started: ['mail', 'mail', 'print']
"""

import operator
import sqlite3
from typing import Annotated, TypedDict

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.sqlite import SqliteSaver

from stategraph import END, START, StateGraph


class State(TypedDict):
    sent: Annotated[list[str], operator.add]


started: list[str] = []
line_is_down = True


def to_printer(state: State) -> State:
    started.append("print")
    return {"sent": ["print"]}


def to_mail(state: State) -> State:
    started.append("mail")
    if line_is_down:
        raise ConnectionError("no route to the mail server")
    return {"sent": ["mail"]}


builder = StateGraph(State)
builder.add_node("mail", to_mail)
builder.add_node("print", to_printer)
for name in ("print", "mail"):
    builder.add_edge(START, name)
    builder.add_edge(name, END)

thread: RunnableConfig = {"configurable": {"thread_id": "1"}}
connection = sqlite3.connect(":memory:", check_same_thread=False)
graph = builder.compile(checkpointer=SqliteSaver(connection))
try:
    graph.invoke({"sent": []}, thread)
except ConnectionError as error:
    print("failed:", type(error).__name__)
print("still to do:", tuple(task.name for task in graph.get_state(thread).tasks if task.error))

line_is_down = False
result = graph.invoke(None, thread)
print({"sent": sorted(result["sent"], reverse=True)})
print("started:", sorted(started))
connection.close()
