"""A graph whose process dies at each of its saves: it comes to the same state, until a node keeps something elsewhere.

Prints::

    survived: the state is {'order': 7, 'log': ['charged', 'sent'], 'answer': 'yes'}
    it died twice at each of its saves: True
    found: a node that counts outside of the state
"""

import operator
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

from stategraph import END, START, StateGraph, interrupt
from stategraph.testing import DivergedError, crash_at_every_save


class Update(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    answer: str


class Number(TypedDict):
    order: int


class Order(Number, Update):
    pass


def approve(state: Order) -> Update:
    return {"answer": interrupt(f"Send order {state['order']}?")}


def send(state: Order) -> Update:
    return {"log": ["sent"]}


def charge_once(state: Order) -> Update:
    return {"log": ["charged"]}


def graph(charge: Callable[[Order], Update]) -> Callable[[Any], Any]:
    builder = StateGraph(Order)
    builder.add_node("charge", charge)
    builder.add_node("approve", approve)
    builder.add_node("send", send)
    builder.add_edge(START, "charge")
    builder.add_edge("charge", "approve")
    builder.add_edge("approve", "send")
    builder.add_edge("send", END)
    return lambda saver: builder.compile(checkpointer=saver)


report = crash_at_every_save(graph(charge_once), {"order": 7}, answers=["yes"])
print(f"survived: the state is {report.state}")
print(f"it died twice at each of its saves: {report.crashes == 2 * report.saves}")

tills: dict[Any, list[int]] = {}  # outside of the state; each trial has a saver of its own, and here a till


def with_till(saver: Any) -> Any:
    charges = tills.setdefault(saver, [])

    def count(state: Order) -> Update:
        charges.append(state["order"])
        return {"log": [f"charge {len(charges)}"]}

    return graph(count)(saver)


try:
    crash_at_every_save(with_till, {"order": 7}, answers=["yes"])
except DivergedError:
    print("found: a node that counts outside of the state")
