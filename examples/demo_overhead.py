"""What a step costs: a worker that measures the engine it finds behind ``langgraph``.

Prints one JSON line that says which engine it is, then one line of figures for
every line on its standard input. `demo.py` runs one worker for each engine and
asks them in turn, so that both see the same moments of a noisy machine.
"""

import asyncio
import json
import sys
import time
from typing import Any, TypedDict

from langgraph.graph import END, START, StateGraph

STEPS = 200
RUNS = 3


class State(TypedDict):
    """A counter that every node counts up."""

    count: int


def step(state: State) -> State:
    """A node whose own work is next to nothing."""
    return {"count": state["count"] + 1}


async def astep(state: State) -> State:
    """The same as a coroutine."""
    return {"count": state["count"] + 1}


def chain(node: Any) -> Any:
    """A graph of STEPS nodes in a row."""
    graph = StateGraph(State)
    names = [f"n{i}" for i in range(STEPS)]
    for name, before in zip(names, [START, *names], strict=False):
        graph.add_node(name, node)
        graph.add_edge(before, name)
    graph.add_edge(names[-1], END)
    return graph.compile()


def sync_s(graph: Any) -> float:
    """Seconds of processor time that RUNS synchronous runs take."""
    begin = time.process_time()
    for _ in range(RUNS):
        assert graph.invoke({"count": 0}, {"recursion_limit": STEPS + 5}) == {"count": STEPS}
    return time.process_time() - begin


async def async_s(graph: Any) -> float:
    """Seconds of processor time that RUNS asynchronous runs take."""
    begin = time.process_time()
    for _ in range(RUNS):
        assert await graph.ainvoke({"count": 0}, {"recursion_limit": STEPS + 5}) == {"count": STEPS}
    return time.process_time() - begin


def main() -> None:
    """Serve measurements until standard input ends."""
    graphs = chain(step), chain(astep)
    with asyncio.Runner() as runner:
        sync_s(graphs[0])
        runner.run(async_s(graphs[1]))
        print(json.dumps({"engine": StateGraph.__module__}), flush=True)
        for _ in sys.stdin:
            per_step_us = 1e6 / (STEPS * RUNS)
            figures = {
                "sync": sync_s(graphs[0]) * per_step_us,
                "async": runner.run(async_s(graphs[1])) * per_step_us,
            }
            print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
