"""States that are dataclasses and pydantic models: plain dicts as LangGraph returns them, or instances on request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, assert_type

from pydantic import BaseModel

from stategraph import START, StateGraph, StateSnapshot
from stategraph.graph.compiled import ValidatedStateGraph
from stategraph.types import GraphOutput


@dataclass
class Order:
    item: str
    price: float = 0.0


class Receipt(BaseModel):
    total: float


class Purchase(BaseModel):
    item: str
    total: float = 0.0


def price(state: Order) -> dict[str, float]:
    return {"price": len(state.item)}


def buy(state: Purchase) -> Receipt:
    return Receipt(total=len(state.item))


orders = StateGraph(Order).add_node(price).add_edge(START, "price")
orders.add_node(buy)  # E: [arg-type]
order = orders.compile()
assert_type(order.invoke(Order("tea")), dict[str, Any])
assert_type(order.invoke({"item": "tea"}), dict[str, Any])
assert_type(order.invoke(Order("tea"), version="v2"), GraphOutput[Order])
assert_type(order.invoke(Order("tea"), version="v2").value.price, float)
assert_type(order.get_state({}), StateSnapshot[dict[str, Any]])
order.invoke(Receipt(total=1))  # E: [call-overload]

checked = orders.compile(validate="output")
assert_type(checked, ValidatedStateGraph[Order, None, Order, Order])
assert_type(checked.invoke({"item": "tea"}), Order)
assert_type(checked.invoke(Order("tea")).price, float)

purchases = StateGraph(Purchase, output_schema=Receipt).add_node(buy).add_edge(START, "buy")
purchase = purchases.compile(validate="all")
assert_type(purchase.invoke({"item": "tea"}), Receipt)
print(purchase.invoke({"item": "tea"}).item)  # E: [attr-defined]


async def asynchronous() -> None:
    assert_type(await purchase.ainvoke(Purchase(item="tea")), Receipt)
    assert_type(await order.ainvoke(Order("tea")), dict[str, Any])


purchases.compile(validate="everything")  # E: [call-overload]
