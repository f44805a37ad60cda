"""The graph of `46_signals.py`, which processes import by its name."""

from typing import TypedDict

from stategraph import END, START, StateGraph
from stategraph.testing import count_effect


class State(TypedDict, total=False):
    order: int
    receipt: str


def charge(state: State) -> State:
    count_effect("charge")  # a real one would call the bank here
    lines = [f"{number:04}".replace("0", "-") for number in range(2_000)]  # and write a long receipt
    return {"receipt": f"order {state['order']}: {len(lines)} lines"}


builder = StateGraph(State)
builder.add_node(charge)
builder.add_edge(START, "charge").add_edge("charge", END)
