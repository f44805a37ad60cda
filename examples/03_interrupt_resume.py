"""A durable wait: the run stops for a person, the thread keeps its place, a command resumes it.

Prints::

    asked: Delete 3 files?
    waiting at: ('confirm',)
    {'files': ['a', 'b', 'c'], 'done': 'deleted'}
"""

from typing import TypedDict

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import END, START, Command, StateGraph, interrupt


class Files(TypedDict):
    files: list[str]


class Done(TypedDict, total=False):
    done: str


class State(Files, Done):
    pass


def confirm(state: State) -> Done:
    answer = interrupt(f"Delete {len(state['files'])} files?")
    return {"done": "deleted" if answer == "yes" else "kept"}


builder = StateGraph(State)
builder.add_node(confirm)
builder.add_edge(START, "confirm")
builder.add_edge("confirm", END)
graph = builder.compile(checkpointer=InMemorySaver())

thread: RunnableConfig = {"configurable": {"thread_id": "1"}}
paused = graph.invoke({"files": ["a", "b", "c"]}, thread, version="v2")
print("asked:", paused.interrupts[0].value)
print("waiting at:", graph.get_state(thread).next)
print(graph.invoke(Command(resume="yes"), thread))
