"""The graph that is killed at random: six nodes, a keyed effect in two of them, a subgraph, a fan-out and an interrupt.

It is written with LangGraph's names, so that the same program runs on LangGraph for the state that is expected.
"""

from __future__ import annotations

import json
import os
import urllib.request
from operator import add
from typing import Annotated, Any, TypedDict

if os.environ.get("CHAOS_PLAIN"):  # an undisturbed run, on LangGraph
    from langgraph.graph import END, START, StateGraph
    from langgraph.types import Send, interrupt
else:
    from stategraph import END, START, Send, StateGraph, interrupt

WIDTH = 3


class State(TypedDict, total=False):
    sink: str
    case: str
    done: Annotated[list[str], add]
    total: Annotated[int, add]
    answer: str


def effect_once(key: Any) -> Any:
    """The effect of this engine, or a plain call where it is not: in the run that nobody disturbs."""
    if os.environ.get("CHAOS_PLAIN"):
        return lambda function: function
    from stategraph.workers.ledger.effects import Found, NotFound, effect

    def ask_the_sink(record: Any) -> Any:
        body = _get(record.arguments["url"], f"found/{record.key}")
        return Found(body["answer"]) if body["count"] else NotFound()

    return effect(key=key, on_doubt=ask_the_sink)


def _idempotency_id() -> str:
    from stategraph.workers.ledger.effects import current_effect

    call = current_effect()
    assert call is not None
    return call.idempotency_id


def _get(url: str, path: str) -> Any:
    with urllib.request.urlopen(f"{url}/{path}", timeout=20) as answer:
        return json.load(answer)


@effect_once(lambda a: f"{a.case}-{a.name}")
def pay(url: str, case: str, name: str) -> str:
    headers = {"Idempotency-Key": _idempotency_id()}
    request = urllib.request.Request(f"{url}/commit/{case}-{name}", data=b"{}", method="POST", headers=headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        paid: str = json.load(answer)["answer"]
    return paid


def plan(state: State) -> dict[str, Any]:
    return {"done": ["plan"], "total": 1}


def charge(state: State) -> dict[str, Any]:
    return {"done": [pay(state["sink"], state["case"], "charge")], "total": 10}


def spread(state: State) -> list[Send]:
    return [Send("part", {"sink": state["sink"], "case": state["case"], "answer": str(n)}) for n in range(WIDTH)]


def part(state: State) -> dict[str, Any]:
    return {"done": [pay(state["sink"], state["case"], f"part{state['answer']}")], "total": 100}


def first(state: State) -> dict[str, Any]:
    return {"done": ["inner first"], "total": 1_000}


def second(state: State) -> dict[str, Any]:
    return {"done": ["inner second"], "total": 1_000}


def ask(state: State) -> dict[str, Any]:
    return {"answer": interrupt("go on?"), "done": ["asked"]}


def last(state: State) -> dict[str, Any]:
    return {"done": [f"{state['answer']}, {state['total']}"]}


def _inner() -> Any:
    builder = StateGraph(State)
    builder.add_node(first)
    builder.add_node(second)
    builder.add_edge(START, "first")
    builder.add_edge("first", "second")
    builder.add_edge("second", END)
    return builder.compile()


def build() -> Any:
    builder = StateGraph(State)
    inner = _inner()
    builder.add_node(plan)
    builder.add_node(charge)
    builder.add_node(part)
    builder.add_node("inner", inside(inner))
    builder.add_node(ask)
    builder.add_node(last)
    builder.add_edge(START, "plan")
    builder.add_edge("plan", "charge")
    builder.add_conditional_edges("charge", spread, ["part"])
    builder.add_edge("part", "inner")
    builder.add_edge("inner", "ask")
    builder.add_edge("ask", "last")
    builder.add_edge("last", END)
    return builder


def inside(inner: Any) -> Any:
    """Call the subgraph in a node, so that only what it adds is added."""

    async def call(state: State) -> dict[str, Any]:
        found = await inner.ainvoke({"done": [], "total": 0})
        return {"done": found["done"], "total": found["total"]}

    return call


graph = build().compile()
