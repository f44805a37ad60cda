"""The graphs of `benchmarks.server`, written for LangGraph."""

from __future__ import annotations

import asyncio
import operator
from typing import Annotated, Any

from langgraph.config import get_stream_writer
from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]


def says(word: str) -> Any:
    """Return a node that adds a word."""

    async def node(state: State) -> Any:
        return {"log": [word]}

    return node


_builder: Any = StateGraph(State)
for _before, _name in ((START, "a"), ("a", "b"), ("b", "c")):
    _builder.add_node(_name, says(_name)).add_edge(_before, _name)
steps = _builder.compile()


async def idle(state: State) -> Any:
    get_stream_writer()("waiting")
    await asyncio.Event().wait()


waits = StateGraph(State).add_node("idle", idle).add_edge(START, "idle").compile()
