"""A graph that says words, and stands still in the middle of its first attempt: for processes that are killed."""

from __future__ import annotations

import asyncio
import operator
from typing import Annotated, Any

from langchain_core.runnables import RunnableConfig
from typing_extensions import TypedDict

from stategraph import START, StateGraph, get_stream_writer


class State(TypedDict, total=False):
    said: Annotated[list[str], operator.add]


def says(name: str) -> Any:
    """Return a node that says two words."""

    async def node(state: State, config: RunnableConfig) -> Any:
        write = get_stream_writer()
        write(f"{name}1")
        if name == "b" and config["metadata"]["run_attempt"] == 1:
            await asyncio.Event().wait()
        write(f"{name}2")
        return {"said": [name]}

    return node


_builder: Any = StateGraph(State)
for _before, _name in ((START, "a"), ("a", "b"), ("b", "c")):
    _builder.add_node(_name, says(_name)).add_edge(_before, _name)

ALL = {"words": _builder.compile()}
