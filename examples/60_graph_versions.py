"""A new release of a graph takes over threads of the one before: renamed nodes, another state, a question that waits.

Prints::

    version 1 asks: Refund Ada Lovelace?
    version 2 would break: The node 'ask' is next, and the graph has none of that name
    with its migration it goes on at: approve
    answered: {'first': 'Ada', 'last': 'Lovelace', 'answer': 'yes'}, stored by version 2
    a pinned thread ends with version 1: {'name': 'Alan Turing', 'answer': 'no'}
"""

import asyncio
from typing import Any, NotRequired, TypedDict

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import START, Command, Migration, StateGraph, interrupt
from stategraph.graph.versions.checking import acheck_thread


class Old(TypedDict):
    name: str
    answer: NotRequired[str]


class State(TypedDict):
    first: str
    last: str
    answer: NotRequired[str]


def split(values: dict[str, Any]) -> dict[str, Any]:
    first, last = values.pop("name").split()
    return {**values, "first": first, "last": last}


def thread(name: str) -> RunnableConfig:
    return {"configurable": {"thread_id": name}}


saver = InMemorySaver()
builder = StateGraph(Old).add_node("ask", lambda state: {"answer": interrupt(f"Refund {state['name']}?")})
old = builder.add_edge(START, "ask").compile(saver, version="1")
asked = old.invoke({"name": "Ada Lovelace"}, thread("ada"), version="v2").interrupts[0]
print("version 1 asks:", asked.value)
old.invoke({"name": "Alan Turing"}, thread("alan"))

# The next release.
later = StateGraph(State).add_node("approve", lambda state: {"answer": interrupt(f"Refund {state['last']}?")})
later.add_edge(START, "approve")

# Before it is deployed: what would break?
hasty = later.compile(version="2", migrations=[Migration("1", "2", state=split)])
found = asyncio.run(acheck_thread(hasty, saver, "ada"))
print("version 2 would break:", found.problems[0].partition(", only")[0])

migration = Migration("1", "2", state=split, nodes={"ask": "approve"})
new = later.compile(saver, version="2", migrations=[migration])
print("with its migration it goes on at:", *new.get_state(thread("ada")).next)
answered = new.invoke(Command(resume={asked.id: "yes"}), thread("ada"))  # by the id that version 1 has shown
metadata: dict[str, Any] = {**(new.get_state(thread("ada")).metadata or {})}
print(f"answered: {answered}, stored by version {metadata['graph_version']}")

# Threads in flight may end with the version that began them.
pinning = later.compile(saver, version="2", migrations=[migration], pinned={"1": old})
print("a pinned thread ends with version 1:", pinning.invoke(Command(resume="no"), thread("alan")))
