"""Savers that are slower than the run."""

from __future__ import annotations

import asyncio
from typing import Any, TypedDict

from langgraph.checkpoint.memory import InMemorySaver

from stategraph import END, START, StateGraph
from stategraph.engine.checkpoints import saving


class Count(TypedDict):
    n: int


class Slow(InMemorySaver):
    """A saver whose saves wait for a word."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()

    async def aput(self, *given: Any, **named: Any) -> Any:
        await self.gate.wait()
        return await super().aput(*given, **named)


def test_an_async_run_waits_for_a_saver_that_has_fallen_far_behind() -> None:
    steps = 3 * saving.BACKLOG
    seen: list[int] = []

    async def count(state: Count) -> Count:
        seen.append(state["n"])
        return {"n": state["n"] + 1}

    builder = StateGraph(Count).add_node("count", count).add_edge(START, "count")
    builder.add_conditional_edges("count", lambda state: END if state["n"] == steps else "count", ["count", END])

    async def scenario() -> None:
        saver = Slow()
        config: Any = {"configurable": {"thread_id": "1"}, "recursion_limit": 2 * steps}
        graph = builder.compile(checkpointer=saver)
        run = asyncio.create_task(graph.ainvoke({"n": 0}, config, durability="async"))
        known = -1
        while known != len(seen):
            known = len(seen)
            for _ in range(100):
                await asyncio.sleep(0)
        assert 0 < known <= saving.BACKLOG + 1
        saver.gate.set()
        assert await asyncio.wait_for(run, 60) == {"n": steps}

    asyncio.run(scenario())
    assert seen == list(range(steps))
