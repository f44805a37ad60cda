"""A durable wait: the run stops for a person, the thread keeps its place, a command resumes it.

Prints::

    asked: Delete 3 files?
    waiting at: ('confirm',)
    {'files': ['a', 'b', 'c'], 'done': 'deleted'}
"""

from typing import TypedDict

from langgraph.checkpoint.memory import InMemorySaver

from stategraph import END, START, Command, StateGraph, interrupt


class State(TypedDict, total=False):
    files: list[str]
    done: str


def confirm(state: State) -> State:
    answer = interrupt(f"Delete {len(state['files'])} files?")
    return {"done": "deleted" if answer == "yes" else "kept"}


builder = StateGraph(State)
builder.add_node(confirm)
builder.add_edge(START, "confirm")
builder.add_edge("confirm", END)
graph = builder.compile(checkpointer=InMemorySaver())

thread = {"configurable": {"thread_id": "1"}}
paused = graph.invoke({"files": ["a", "b", "c"]}, thread)
print("asked:", paused["__interrupt__"][0].value)
print("waiting at:", graph.get_state(thread).next)
print(graph.invoke(Command(resume="yes"), thread))
