"""Graphs of the tests of runs."""

from __future__ import annotations

import asyncio
import operator
from dataclasses import dataclass
from typing import Annotated, Any

from langchain_core.runnables import RunnableConfig
from typing_extensions import TypedDict

from stategraph import START, StateGraph, interrupt
from stategraph.types import Command


class State(TypedDict, total=False):
    log: Annotated[list[Any], operator.add]
    wait: bool


@dataclass
class Odd:
    """A value that JSON does not have."""

    number: int


def first(state: State) -> Any:
    return {"log": ["first"]}


def second(state: State) -> Any:
    return {"log": ["second"]}


async def waits(state: State) -> Any:
    if state.get("wait"):
        await asyncio.Event().wait()
    return {"log": ["went on"]}


def asks(state: State) -> Any:
    return {"log": [interrupt("go on?")]}


def fails(state: State) -> Any:
    raise ValueError("it cannot be")


def odd(state: State) -> Any:
    return {"log": [Odd(7), "after"]}


def tells(state: State, config: RunnableConfig) -> Any:
    named = config["configurable"]
    return {"log": [named["run_id"], named["graph_id"], named.get("tone")]}


def _line(*nodes: Any) -> Any:
    builder: Any = StateGraph(State)
    for before, node in zip((START, *(each.__name__ for each in nodes)), nodes, strict=False):
        builder.add_node(node.__name__, node).add_edge(before, node.__name__)
    return builder.compile()


inner = _line(first)


def jump(state: State) -> Command[Any]:
    return Command(goto="second")


steps = _line(first, second)
stops = _line(first, waits)
questions = _line(first, asks)
broken = _line(first, fails)
odds = _line(odd)
told = _line(tells)
nested = StateGraph(State).add_node("below", inner).add_edge(START, "below").compile()


def one(state: State) -> Any:
    return {"log": [interrupt("one?")]}


def two(state: State) -> Any:
    return {"log": [interrupt("two?")]}


twice = StateGraph(State).add_node(one).add_node(two).add_edge(START, "one").add_edge(START, "two").compile()

ALL = {
    "twice": twice,
    "steps": steps,
    "stops": stops,
    "questions": questions,
    "broken": broken,
    "odds": odds,
    "told": told,
    "nested": nested,
}
