"""Why did this node not run? A thread is explained from what is stored, and two threads are compared.

Prints::

    ship waits: it asked "Ship order 7?" (id ...)
    bill ran: an edge leads here from START
    refund did not run: choose of bill led to ship instead
    total: 0 -> 40, written by bill (40)
    They part at step 1: the same nodes ran (bill) and wrote bill.total differently.
    refund ran not at all in the one, once in the other.
    ship ran once in the one, not at all in the other.
"""

from typing import Literal, NotRequired, TypedDict

from langgraph.checkpoint.memory import InMemorySaver

from stategraph import START, Command, StateGraph, interrupt
from stategraph.engine.state.account import words


class State(TypedDict):
    order: int
    total: int
    shipped: NotRequired[bool]


def bill(state: State) -> dict[str, int]:
    return {"total": 40 if state["order"] == 7 else -40}


def choose(state: State) -> Literal["ship", "refund"]:
    return "ship" if state["total"] > 0 else "refund"


def ship(state: State) -> dict[str, bool]:
    return {"shipped": interrupt(f"Ship order {state['order']}?") == "yes"}


builder = StateGraph(State).add_node("bill", bill).add_node("ship", ship)
builder.add_node("refund", lambda state: {"shipped": False})
builder.add_edge(START, "bill").add_conditional_edges("bill", choose)
graph = builder.compile(InMemorySaver())

graph.invoke({"order": 7, "total": 0}, {"configurable": {"thread_id": "1"}})
explanation = graph.explain("1")
for name in ("ship", "bill", "refund"):
    print(words.verdict_text(explanation.node(name)).partition("(id")[0].replace("the input", "START"), end="")
    print("(id ...)" if name == "ship" else "")
print(words.change_text(explanation.changes("total")[-1][1]))

graph.invoke(Command(resume="yes"), {"configurable": {"thread_id": "1"}})
graph.invoke({"order": 8, "total": 0}, {"configurable": {"thread_id": "2"}})
found = graph.diff("1", "2")
print("\n".join(str(found).splitlines()[2:5]))
