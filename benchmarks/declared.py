"""``make bench``, a part of it: what a declared workflow costs beside the same graph written by hand.

    python -m benchmarks.declared                        some seconds on a quiet machine

Both have three steps that set fields, call a function, and choose a way; both run in memory without a saver. They take
turns, and the quicker half of the rounds counts: in time that passes, with a step that waits as long as a quick call of
a service does, and in processor time alone. Never exits with 1 because of a figure.
"""

from __future__ import annotations

import asyncio
import operator
import statistics
import sys
import time
from collections.abc import Callable
from typing import Annotated, Any, Final, TypedDict

from langchain_core.runnables import RunnableLambda

from stategraph.constants import END, START
from stategraph.graph.state import StateGraph
from stategraph.resources.compile.workflows import plan as workflows
from stategraph.resources.kinds.workflow import WorkflowSpec

ROUNDS: Final = 60
RUNS: Final = 40
BUDGET: Final = 1.05

SPEC: Final[dict[str, Any]] = {
    "inputs": {"text": {"type": "string"}},
    "state": {"words": {"type": "array"}, "sizes": {"type": "array", "merge": "append"}, "total": {}},
    "steps": [
        {
            "id": "split",
            "tool": "split",
            "input": "${{ input.text }}",
            "output": {"words": "${{ result }}"},
            "next": "count",
        },
        {
            "id": "count",
            "tool": "count",
            "input": "${{ state.words }}",
            "output": {"sizes": "${{ result }}"},
            "next": "enough",
        },
        {"id": "enough", "switch": [{"when": "size(state.sizes) < 2", "next": "split"}, {"next": "sum"}]},
        {"id": "sum", "tool": "sum", "input": "${{ state.sizes }}", "output": {"total": "${{ result }}"}},
    ],
}


async def split(text: str) -> list[str]:
    """Return the words of a text; waits as long as a quick call of a service does, if the text says so."""
    if text.startswith("slow "):
        await asyncio.sleep(0.001)
    return text.split()[-3:]


async def count(words: list[str]) -> list[int]:
    """Return the lengths of words."""
    return [len(each) for each in words]


async def add(sizes: list[int]) -> int:
    """Return the sum of numbers."""
    return sum(sizes)


class Callee:
    """A function as what a step calls."""

    def __init__(self, function: Any) -> None:
        self.target = RunnableLambda(function)

    def prepared(self, given: Any) -> Any:
        return given

    def result(self, returned: Any) -> Any:
        return returned


class State(TypedDict, total=False):
    text: str
    words: list[str]
    sizes: Annotated[list[int], operator.add]
    total: int


def by_hand() -> Any:
    """Return the graph as one writes it, calling the same runnables."""
    splits, counts, sums = RunnableLambda(split), RunnableLambda(count), RunnableLambda(add)

    async def split_step(state: State) -> dict[str, Any]:
        return {"words": await splits.ainvoke(state["text"])}

    async def count_step(state: State) -> dict[str, Any]:
        return {"sizes": await counts.ainvoke(state["words"])}

    async def sum_step(state: State) -> dict[str, Any]:
        return {"total": await sums.ainvoke(state["sizes"])}

    graph = StateGraph(State)
    graph.add_node("split", split_step)
    graph.add_node("count", count_step)
    graph.add_node("sum", sum_step)
    graph.add_edge(START, "split")
    graph.add_edge("split", "count")
    graph.add_conditional_edges("count", lambda state: "split" if len(state["sizes"]) < 2 else "sum", ["split", "sum"])
    graph.add_edge("sum", END)
    return graph.compile()


def declared() -> Any:
    """Return the graph of the workflow."""
    functions = {"split": split, "count": count, "sum": add}

    def lookup(kind: str, ref: Any, path: Any, *, several: bool = False) -> Any:
        return Callee(functions[ref.name])

    return workflows.plan("bench", WorkflowSpec.model_validate(SPEC), lookup, lambda path, field: None).graph()


async def seconds(graph: Any, clock: Callable[[], float], text: str) -> float:
    """Return how long a round of runs takes."""
    begun = clock()
    for _ in range(RUNS):
        state = await graph.ainvoke({"text": text})
    took = clock() - begun
    assert state["total"] == 6, state
    return took


async def measure(clock: Callable[[], float], text: str) -> tuple[float, float]:
    """Return the seconds of a run by hand and declared."""
    hand, yaml = by_hand(), declared()
    await seconds(hand, clock, text)
    await seconds(yaml, clock, text)
    took: tuple[list[float], list[float]] = ([], [])
    for number in range(ROUNDS):
        order = ((0, hand), (1, yaml)) if number % 2 else ((1, yaml), (0, hand))
        for place, graph in order:
            took[place].append(await seconds(graph, clock, text))
    by, own = (statistics.mean(sorted(each)[: ROUNDS // 2]) / RUNS for each in took)
    return by, own


def main() -> int:
    """Print the rows."""
    for told, clock, text in (
        ("", time.perf_counter, "slow a bb ccc"),
        (", processor time", time.process_time, "a bb ccc"),
    ):
        hand, yaml = asyncio.run(measure(clock, text))
        what = f"a declared workflow beside the graph by hand ({1000 * hand:.2f} ms{told})"
        print(f"{what:<72} {yaml / hand:>7.3f} x    budget {BUDGET:.2f} x", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
