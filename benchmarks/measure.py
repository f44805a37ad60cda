"""Measuring one row: interleaved rounds on two warm workers, and the median of the per-round ratios."""

from __future__ import annotations

import statistics
import subprocess
from dataclasses import dataclass
from typing import Any

from benchmarks.catalogue import Row
from benchmarks.engines import EngineError, Pair

IMPORT = """
import sys, time
clock = {"wall": time.perf_counter, "cpu": time.process_time}[sys.argv[1]]
begin = clock()
from langgraph.graph import END, START, MessagesState, StateGraph
print(clock() - begin)
"""


class Mismatch(RuntimeError):
    """The two engines did the same work with different results, so their costs cannot be compared."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much time a row may take.

    Attributes:
        rounds: how often both engines are sampled in turn.
        budget_s: how long one sample lasts at least.
        clock: "wall" for elapsed time, "cpu" for processor time.
        one_core: whether the workers are kept on one core.
    """

    rounds: int
    budget_s: float
    clock: str = "wall"
    one_core: bool = False


@dataclass(frozen=True, slots=True)
class Figure:
    """The result of one row.

    Attributes:
        row: what was measured.
        theirs: LangGraph's median: seconds, a growth factor, or for kind "bytes" a growth factor of bytes.
        ours: our median in the same unit.
        value: what the targets are about: the median ratio, or our growth.
        low: the lower quartile of the per-round values.
        high: the upper quartile.
        notes: what else was found, for instance the bytes stored.
    """

    row: Row
    theirs: float
    ours: float
    value: float
    low: float
    high: float
    notes: dict[str, Any]

    @property
    def verdict(self) -> str:
        """Whether the targets are reached: "aim", "must", "no", or "" where there is none."""
        if self.row.must is None or self.row.aim is None:
            return ""
        sign = 1 if self.row.kind in ("ratio", "import") else -1
        for name, target in (("aim", self.row.aim), ("must", self.row.must)):
            if sign * self.value >= sign * target:
                return name
        return "no"


def measure(pair: Pair, row: Row, effort: Effort) -> Figure:
    """Measure one row.

    Raises:
        EngineError: one of the engines failed.
        Mismatch: they disagree about the result.
    """
    pair.revive()
    match row.kind:
        case "ratio":
            return _ratio(pair, row, effort)
        case "growth":
            return _growth(pair, row, effort)
        case "bytes":
            return _bytes(pair, row)
        case "import":
            return _import(pair, row, effort)
        case kind:
            raise ValueError(f"unknown kind {kind!r} of row {row.label!r}")


def _check(pair: Pair, row: Row, workload: str) -> list[dict[str, Any]]:
    """Run the work once on both engines, demand equal results, and return what is not compared."""
    variant = row.variant or "sync"
    found = [p.ask(op="check", workload=workload, variant=variant)["result"] for p in pair.processes]
    compared = [{k: v for k, v in result.items() if not k.startswith("_")} for result in found]
    if compared[0] != compared[1]:
        raise Mismatch(f"results differ in {workload} ({variant}): {compared[0]} and {compared[1]}")
    return [{k[1:]: v for k, v in result.items() if k.startswith("_")} for result in found]


def _rounds(pair: Pair, row: Row, workloads: list[str], effort: Effort) -> list[list[list[float]]]:
    """Sample in turn; returns ``[engine][workload][round]`` in seconds. The engine that goes first alternates."""
    costs: list[list[list[float]]] = [[[] for _ in workloads] for _ in pair.processes]
    for number in range(effort.rounds):
        order = (0, 1) if number % 2 == 0 else (1, 0)
        for index, workload in enumerate(workloads):
            for engine in order:
                request = {"op": "sample", "workload": workload, "variant": row.variant or "sync"}
                answer = pair.processes[engine].ask(**request, budget_s=effort.budget_s, clock=effort.clock)
                costs[engine][index].append(answer["cost_s"])
    for process in pair.processes:
        for workload in workloads:
            process.ask(op="drop", workload=workload, variant=row.variant or "sync")
    return costs


def _figure(row: Row, theirs: list[float], ours: list[float], values: list[float], notes: dict[str, Any]) -> Figure:
    low, _, high = statistics.quantiles(values, n=4) if len(values) > 1 else (values[0],) * 3
    median = statistics.median
    return Figure(row, median(theirs), median(ours), median(values), low, high, notes)


def _ratio(pair: Pair, row: Row, effort: Effort) -> Figure:
    kept = _check(pair, row, row.workload)
    theirs, ours = (by_workload[0] for by_workload in _rounds(pair, row, [row.workload], effort))
    notes = {"langgraph": kept[0], "stategraph": kept[1]} if kept[0] else {}
    return _figure(row, theirs, ours, [a / b for a, b in zip(theirs, ours, strict=True)], notes)


def _growth(pair: Pair, row: Row, effort: Effort) -> Figure:
    workloads = [row.workload, row.base]
    for workload in workloads:
        _check(pair, row, workload)
    growth = [
        [big / small for big, small in zip(*by_workload, strict=True)]
        for by_workload in _rounds(pair, row, workloads, effort)
    ]
    return _figure(row, growth[0], growth[1], growth[1], {})


def _bytes(pair: Pair, row: Row) -> Figure:
    big, small = (_check(pair, row, workload) for workload in (row.workload, row.base))
    totals = [[sum(found["stored"].values()) for found in of_size] for of_size in (big, small)]
    growth = [totals[0][engine] / totals[1][engine] for engine in (0, 1)]
    notes = {"langgraph": totals[0][0], "stategraph": totals[0][1]}
    return _figure(row, [growth[0]], [growth[1]], [growth[1]], notes)


def _import(pair: Pair, row: Row, effort: Effort) -> Figure:
    costs: list[list[float]] = [[], []]
    for number in range(effort.rounds + 1):
        for index, process in enumerate(pair.processes):
            engine = process.engine
            command, env = [engine.python, "-c", IMPORT, effort.clock], engine.environment()
            done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=120)
            if done.returncode:
                raise EngineError(f"{engine.label}: {done.stderr}")
            if number:
                costs[index].append(float(done.stdout))
    return _figure(row, costs[0], costs[1], [a / b for a, b in zip(*costs, strict=True)], {})
