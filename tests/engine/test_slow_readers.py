"""A run whose reader takes his time between chunks."""

from __future__ import annotations

import asyncio
from typing import Any, TypedDict

import pytest

from stategraph.constants import START
from stategraph.graph.state import StateGraph


class State(TypedDict):
    value: str


def nested(node: Any) -> Any:
    """A graph with `node`, as the only node of another one."""
    inner = StateGraph(State).add_node("inner", node).add_edge(START, "inner").compile()
    return StateGraph(State).add_node("outer", inner).add_edge(START, "outer").compile()


async def slowly(graph: Any) -> list[Any]:
    chunks = []
    async for chunk in graph.astream({"value": "x"}, stream_mode=["updates", "values"], subgraphs=True):
        chunks.append(chunk)
        for _ in range(10):  # everything that can go on does so before the next chunk is asked for
            await asyncio.sleep(0)
    return chunks


@pytest.mark.anyio
async def test_a_task_that_fails_meanwhile_fails_the_run() -> None:
    async def fail(state: State) -> State:
        raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        await slowly(nested(fail))


@pytest.mark.anyio
async def test_a_task_that_ends_meanwhile_is_part_of_its_step() -> None:
    async def write(state: State) -> State:
        return {"value": state["value"] + "y"}

    modes = [mode for ns, mode, _ in await slowly(nested(write)) if not ns]
    assert modes == ["values", "updates", "values"]
