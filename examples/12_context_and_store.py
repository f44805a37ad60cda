"""A typed context for a run, in addition to its state, and a store that outlives the thread.

Prints::

    Hello Ada, nice to meet you.
    Hello again Ada!
    Hello Bob, nice to meet you.
"""

from dataclasses import dataclass
from typing import TypedDict

from langgraph.store.memory import InMemoryStore

from stategraph import END, START, Runtime, StateGraph


@dataclass
class User:
    name: str


class State(TypedDict):
    greeting: str


def greet(state: State, runtime: Runtime[User]) -> State:
    name, store = runtime.context.name, runtime.store
    assert store is not None
    known = store.get(("guests",), name) is not None
    store.put(("guests",), name, {"seen": True})
    return {"greeting": f"Hello again {name}!" if known else f"Hello {name}, nice to meet you."}


builder = StateGraph(State, context_schema=User)
builder.add_node(greet)
builder.add_edge(START, "greet")
builder.add_edge("greet", END)
graph = builder.compile(store=InMemoryStore())

for name in ("Ada", "Ada", "Bob"):
    print(graph.invoke({"greeting": ""}, context=User(name))["greeting"])
