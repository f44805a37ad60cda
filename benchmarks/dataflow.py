"""``make bench``: graphs whose authors asked for scheduling without a barrier, with it and without it.

    python -m benchmarks.dataflow                  the table, two minutes
    python -m benchmarks.dataflow --only lg_4673   rows whose name contains this
    python -m benchmarks.dataflow --docs           also written into docs/performance.md

Each graph runs from its start to its end on LangGraph (where it is installed), here with its barrier, and here with
``scheduling="dataflow"``. A node takes as long as a model would, by ``asyncio.sleep``. No schedule is shorter than the
longest path through the graph. A last row counts the bytecodes of a step, which no other program on the machine
disturbs: of a graph that does not ask for dataflow, how many of them are those of dataflow.
"""

from __future__ import annotations

import argparse
import asyncio
import operator
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from typing import Annotated, Any, TypedDict

from benchmarks import docs
from stategraph import END, START, StateGraph

WITHIN = 1.05
"""How much longer than the longest path a run may take."""

DATAFLOW = ("/stategraph/core/dataflow/", "/stategraph/core/flow.py", "/stategraph/graph/edges/flows.py")
"""Where the code of dataflow is."""


class State(TypedDict):
    ran: Annotated[list[str], operator.add]


@dataclass(frozen=True)
class Shape:
    """A graph with the seconds that its nodes take.

    Attributes:
        name: The thread that it is from.
        seconds: By node.
        edges: Plain edges; a tuple of starts waits for all of them.
    """

    name: str
    seconds: Mapping[str, float]
    edges: tuple[tuple[str | tuple[str, ...], str], ...]
    _arrows: dict[str, set[str]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for starts, end in self.edges:
            for start in (starts,) if isinstance(starts, str) else starts:
                self._arrows.setdefault(end, set()).add(start)

    def critical_path_s(self, node: str = END) -> float:
        """Return the seconds of the longest path to the end of a node."""
        return self.seconds.get(node, 0.0) + max(map(self.critical_path_s, self._arrows.get(node, ())), default=0.0)

    def build(self, kind: Any, sleep: Callable[[float], Any]) -> Any:
        """Return a builder with the graph.

        Args:
            kind: `StateGraph`, this project's or LangGraph's.
            sleep: Waits; a coroutine function.
        """
        graph = kind(State)
        for name, seconds in self.seconds.items():
            graph.add_node(name, _node(name, seconds, sleep))
        for starts, end in self.edges:
            graph.add_edge(starts if isinstance(starts, str) else list(starts), end)
        return graph


def _node(name: str, seconds: float, sleep: Callable[[float], Any]) -> Any:
    async def node(state: State) -> dict[str, Any]:
        await sleep(seconds)
        return {"ran": [name]}

    return node


_TEN = ((1, 2), (1, 3), (1, 4), (3, 5), (4, 6), (6, 7), (2, 8), (5, 8), (7, 9), (8, 10), (9, 10))
_TEN_S = (0.1, 0.5, 0.1, 0.2, 0.3, 0.4, 0.1, 0.2, 0.1, 0.1)

SHAPES = (
    Shape(
        "lg_6320",
        {"slow": 0.9, "fast": 0.2, "after_fast": 0.6},
        ((START, "slow"), (START, "fast"), ("fast", "after_fast"), ("slow", END), ("after_fast", END)),
    ),
    Shape(
        "lg_4673",
        {"node0": 0.7, "node1": 0.2, "node2": 0.5, "node3": 0.3},
        ((START, "node0"), (START, "node1"), ("node1", "node2"), (("node0", "node2"), "node3"), ("node3", END)),
    ),
    Shape(
        "lg_3617",
        {"a": 0.2, "b": 0.7, "c": 0.7, "d": 0.2},
        ((START, "a"), (START, "b"), ("a", "c"), ("b", "d"), ("c", END), ("d", END)),
    ),
    Shape(
        "lg_6005",
        {f"node{number}": seconds for number, seconds in enumerate(_TEN_S, 1)},
        (
            (START, "node1"),
            *((f"node{start}", f"node{end}") for start, end in _TEN),
            ("node10", END),
        ),
    ),
)


@dataclass(frozen=True)
class Figure:
    """What one graph takes, in seconds from its start to its end.

    Attributes:
        name: Of the row.
        langgraph_s: On LangGraph; None where it is not installed.
        barrier_s: Here, with the barrier.
        dataflow_s: Here, without it.
        path_s: The longest path.
    """

    name: str
    langgraph_s: float | None
    barrier_s: float
    dataflow_s: float
    path_s: float

    @property
    def above(self) -> float:
        """How often the longest path fits into the run without a barrier."""
        return self.dataflow_s / self.path_s

    def cells(self) -> tuple[str, ...]:
        """Return the cells of its row, without the name."""
        langgraph = "" if self.langgraph_s is None else f"{self.langgraph_s:.3f} s"
        reached = "yes" if self.above <= WITHIN else "no"
        times = (self.barrier_s, self.dataflow_s, self.path_s)
        return (langgraph, *(f"{seconds:.3f} s" for seconds in times), f"{100 * (self.above - 1):+.1f} %", reached)


async def timed(graph: Any, now: Callable[[], float]) -> float:
    """Return the seconds of a run, by a clock."""
    began = now()
    await graph.ainvoke({"ran": []})
    return now() - began


def measured(shape: Shape, rounds: int) -> Figure:
    """Measure a graph on each engine in turn; medians of some rounds."""
    graphs = {
        "barrier": shape.build(StateGraph, asyncio.sleep).compile(),
        "dataflow": shape.build(StateGraph, asyncio.sleep).compile(scheduling="dataflow"),
    }
    if find_spec("langgraph.graph") is not None:
        from langgraph.graph import StateGraph as Theirs

        if not Theirs.__module__.startswith("stategraph"):
            graphs["langgraph"] = shape.build(Theirs, asyncio.sleep).compile()
    took: dict[str, list[float]] = {name: [] for name in graphs}

    async def run() -> None:
        for graph in graphs.values():
            await timed(graph, time.perf_counter)  # what is imported and worked out at the first run
        for _ in range(rounds):
            for name, graph in graphs.items():
                took[name].append(await timed(graph, time.perf_counter))

    asyncio.run(run())
    medians = {name: statistics.median(seconds) for name, seconds in took.items()}
    return Figure(
        shape.name, medians.get("langgraph"), medians["barrier"], medians["dataflow"], shape.critical_path_s()
    )


# -- what it costs where it is not asked for -----------------------------------------


def chain(kind: Any, length: int, **options: Any) -> Any:
    """Return a graph of nodes one after the other."""
    graph = kind(State)
    for number in range(length):
        graph.add_node(f"n{number}", lambda state: {"ran": []})
        graph.add_edge(f"n{number - 1}" if number else START, f"n{number}")
    return graph.compile(**options)


def bytecodes(work: Callable[[], Any], of: Iterable[str] = ("",)) -> int:
    """Count the bytecodes that some work executes in files whose paths contain one of some texts."""
    counted, parts = 0, tuple(of)

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal counted
        if not any(part in frame.f_code.co_filename for part in parts):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        counted += event == "opcode"
        return trace

    threading.settrace(trace)
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
        threading.settrace(None)  # type: ignore[arg-type]
    return counted


def of_a_step(kind: Any, of: Iterable[str] = ("",), **options: Any) -> float:
    """Return the bytecodes of one step: of a chain of 60 nodes without those of a chain of 10."""
    counts = []
    for length in (10, 60):
        run = partial(chain(kind, length, **options).invoke, {"ran": []}, {"recursion_limit": 1_000})
        run()
        counts.append(bytecodes(run, of))
    return (counts[1] - counts[0]) / 50


def cost_when_off() -> dict[str, float]:
    """Return the bytecodes of a step, by what is counted."""
    found = {
        "plain": of_a_step(StateGraph),
        "plain, of dataflow": of_a_step(StateGraph, DATAFLOW),
        "dataflow": of_a_step(StateGraph, scheduling="dataflow"),
    }
    if find_spec("langgraph.graph") is not None:
        from langgraph.graph import StateGraph as Theirs

        if not Theirs.__module__.startswith("stategraph"):
            found["langgraph"] = of_a_step(Theirs)
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--docs", action="store_true", help="also write the rows into docs/performance.md")
    arguments = parser.parse_args()
    rows = {}
    print(" | ".join(("row", *docs.HEADINGS["dataflow"][1:])))
    for shape in SHAPES:
        if arguments.only in shape.name:
            rows[shape.name] = measured(shape, arguments.rounds).cells()
            print(" | ".join((shape.name, *rows[shape.name])), flush=True)
    costs = {}
    if arguments.only in "bytecodes of a step":
        found = cost_when_off()
        theirs = found.get("langgraph")
        costs["bytecodes of a step"] = (
            "" if theirs is None else f"{theirs:,.0f}",
            f"{found['plain']:,.0f}",
            f"{found['plain, of dataflow']:,.0f}",
            f"{found['dataflow']:,.0f}",
        )
        print(" | ".join(("row", *docs.HEADINGS["dataflow-off"][1:])))
        print(" | ".join(("bytecodes of a step", *costs["bytecodes of a step"])))
    if arguments.docs:
        docs.write("dataflow", rows)
        docs.write("dataflow-off", costs)


if __name__ == "__main__":
    main()
