"""A graph that goes round in circles: its work so far, or a question whether it may go on, in place of an error.

Prints::

    partial: 3 notes, stopped by steps (3 of 3)
    asks: {'type': 'limit_reached', 'limit': 'tokens', 'allowed': 250, 'used': 360, 'nested': False}
    with 900 tokens: 6 notes
"""

from operator import add
from typing import Annotated, Any, Literal, TypedDict

from langgraph.checkpoint.memory import InMemorySaver

from stategraph import END, START, Command, GraphLimits, StateGraph
from stategraph.testing import ScriptedChatModel, reply

model = ScriptedChatModel(replies=[reply(f"note {n}", usage=(100, 20)) for n in range(20)])


class State(TypedDict):
    notes: Annotated[list[str], add]


def search(state: State) -> dict[str, Any]:
    return {"notes": [str(model.invoke("Search on.").content)]}


def has_enough(state: State) -> Literal["__end__", "search"]:
    return END if len(state["notes"]) > 5 else "search"


researcher = StateGraph(State).add_node("search", search).add_edge(START, "search")
researcher.add_conditional_edges("search", has_enough)

limits = GraphLimits(steps=3, on_limit="return_partial")
result = researcher.compile().invoke({"notes": []}, control=limits)
reached = limits.reached
assert reached is not None
print(f"partial: {len(result['notes'])} notes, stopped by {reached.limit} ({reached.used} of {reached.allowed})")

# Limits hold for graphs inside of others as well.
desk = StateGraph(State).add_node("research", researcher.compile()).add_edge(START, "research").compile(InMemorySaver())
thread: Any = {"configurable": {"thread_id": "1"}}
paused = desk.invoke({"notes": []}, thread, control=GraphLimits(tokens=250, on_limit="interrupt"), version="v2")
print("asks:", paused.interrupts[0].value)
more: Command[str] = Command(resume={"type": "raise", "to": 900})
ended = desk.invoke(more, thread, control=GraphLimits(on_limit="interrupt"))
print(f"with 900 tokens: {len(ended['notes'])} notes")
