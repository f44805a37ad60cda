"""Graphs with effects, for workers of the tests, by their import paths."""

from __future__ import annotations

from operator import add
from typing import Annotated, Any, TypedDict

from stategraph import END, START, StateGraph
from stategraph.workers.ledger.effects import EffectRecord, Found, NotFound, current_effect, effect
from tests.workers import sink


class State(TypedDict, total=False):
    sink: str
    order: str
    done: Annotated[list[str], add]


def post(url: str, order: str) -> str:
    call = current_effect()
    assert call is not None
    return f"paid {sink.commit(url, order, call.idempotency_id)}"


@effect(key=lambda a: f"charge:{a.order}")
def charge(url: str, order: str) -> str:
    return post(url, order)


def ask_the_sink(record: EffectRecord) -> Found | NotFound:
    commits = sink.found(record.arguments["url"], record.arguments["order"])
    return Found(f"paid {commits}") if commits else NotFound()


@effect(key=lambda a: f"charge:{a.order}", on_doubt=ask_the_sink)
def charge_reconciled(url: str, order: str) -> str:
    return post(url, order)


def graph_of(call: Any) -> Any:
    def before(state: State) -> dict[str, Any]:
        return {"done": ["before"]}

    def pay(state: State) -> dict[str, Any]:
        return {"done": [call(state["sink"], state["order"])]}

    def after(state: State) -> dict[str, Any]:
        return {"done": ["after"]}

    builder = StateGraph(State)
    builder.add_sequence([before, pay, after])
    builder.add_edge(START, "before")
    builder.add_edge("after", END)
    return builder.compile()


paying = graph_of(charge)
paying_reconciled = graph_of(charge_reconciled)
