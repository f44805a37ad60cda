"""Nodes that fail: retried with back-off, limited in time, handled by a node of their own.

Prints::

    slow: NodeTimeoutError
    attempts: 3
    {'price': 7, 'note': 'no review in time'}
"""

import asyncio
from typing import TypedDict

from stategraph import END, START, NodeError, RetryPolicy, StateGraph


class State(TypedDict, total=False):
    price: int
    note: str


attempts = 0


def price(state: State) -> State:
    global attempts
    attempts += 1
    if attempts < 3:
        raise ConnectionError("the shop is busy")
    return {"price": 7}


async def review(state: State) -> State:
    await asyncio.Event().wait()  # Never set: the answer was forgotten.
    return {"note": "unreachable"}


def without_review(state: State, error: NodeError) -> State:
    print(f"slow: {type(error.error).__name__}")
    return {"note": "no review in time"}


builder = StateGraph(State)
builder.add_node(price, retry_policy=RetryPolicy(initial_interval=0.01, max_attempts=3, jitter=False))
builder.add_node(review, timeout=0.05, error_handler=without_review)
builder.add_edge(START, "price")
builder.add_edge("price", "review")
builder.add_edge("review", END)
graph = builder.compile()

result = asyncio.run(graph.ainvoke({}))
print(f"attempts: {attempts}")
print(result)
