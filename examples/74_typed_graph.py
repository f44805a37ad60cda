"""A graph whose types are followed to its result, whose values are checked, and whose threads know their schema.

Prints::

    a receipt: Receipt(total=7.5)
    refused: Node 'price' wrote what does not fit Order: 'total' = 'unknown' (str), expected float
    refused: 'total' was float and is Money(amount: int, currency: str)
"""

from dataclasses import dataclass
from typing import TypedDict

from langgraph.checkpoint.memory import InMemorySaver

from stategraph import START, GraphSchemaError, StateGraph, StateValidationError

PRICES = {"tea": "2.50", "cake": "5.00"}


class Basket(TypedDict):
    items: list[str]


class Order(Basket, total=False):
    total: float


@dataclass
class Receipt:
    total: float


def price(state: Order) -> dict[str, float | str]:
    """A type checker sees what it takes; what it returns is checked when it runs."""
    if not PRICES.keys() >= set(state["items"]):
        return {"total": "unknown"}
    return {"total": sum(float(PRICES[item]) for item in state["items"])}


builder = StateGraph(Order, input_schema=Basket, output_schema=Receipt).add_node(price).add_edge(START, "price")
saver = InMemorySaver()
graph = builder.compile(saver, validate="all", schema_fingerprint=True)

receipt = graph.invoke({"items": ["tea", "cake"]}, {"configurable": {"thread_id": "ada"}})
print(f"a receipt: {receipt}")
assert receipt.total == 7.5  # mypy and pyright know that it is a Receipt, and its total a float

try:
    graph.invoke({"items": ["gold"]}, {"configurable": {"thread_id": "alan"}})
except StateValidationError as error:
    print("refused:", str(error).partition(" (Input")[0])


# The next release has another type of total.
class Money(TypedDict):
    amount: int
    currency: str


class LaterOrder(Basket, total=False):
    total: Money


later = StateGraph(LaterOrder).add_node("price", lambda state: {}).add_edge(START, "price")
try:
    later.compile(saver, schema_fingerprint=True).get_state({"configurable": {"thread_id": "ada"}})
except GraphSchemaError as error:
    print("refused:", str(error).partition("state: ")[2].partition(". Nothing")[0])
