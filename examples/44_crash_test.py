"""A graph whose process dies at each of its saves: it comes to the same state, until a node keeps something elsewhere.

Prints::

    survived: the state is {'order': 7, 'log': ['charged', 'sent'], 'answer': 'yes'}
    it died twice at each of its saves: True
    found: a node that counts outside of the state
"""

import operator
from typing import Annotated, Any, TypedDict

from stategraph import END, START, StateGraph, interrupt
from stategraph.testing import DivergedError, crash_at_every_save


class Order(TypedDict, total=False):
    order: int
    log: Annotated[list[str], operator.add]
    answer: str


def approve(state: Order) -> Order:
    return {"answer": interrupt(f"Send order {state['order']}?")}


def graph(charge: Any) -> Any:
    builder = StateGraph(Order)
    builder.add_node("charge", charge)
    builder.add_node("approve", approve)
    builder.add_node("send", lambda state: {"log": ["sent"]})
    builder.add_edge(START, "charge")
    builder.add_edge("charge", "approve")
    builder.add_edge("approve", "send")
    builder.add_edge("send", END)
    return lambda saver: builder.compile(checkpointer=saver)


report = crash_at_every_save(graph(lambda state: {"log": ["charged"]}), {"order": 7}, answers=["yes"])
print(f"survived: the state is {report.state}")
print(f"it died twice at each of its saves: {report.crashes == 2 * report.saves}")

tills: dict[Any, list[int]] = {}  # outside of the state; each trial has a saver of its own, and here a till


def with_till(saver: Any) -> Any:
    charges = tills.setdefault(saver, [])

    def count(state: Order) -> Order:
        charges.append(state["order"])
        return {"log": [f"charge {len(charges)}"]}

    return graph(count)(saver)


try:
    crash_at_every_save(with_till, {"order": 7}, answers=["yes"])
except DivergedError:
    print("found: a node that counts outside of the state")
