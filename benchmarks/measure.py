"""Measuring one row: interleaved rounds on two warm workers, and the median of the per-round ratios."""

from __future__ import annotations

import statistics
import subprocess
from dataclasses import dataclass, field
from typing import Any

from benchmarks.catalogue import Row
from benchmarks.engines import ROOT, EngineError, Pair

IMPORT = """
import sys, time
cpu, wall = time.process_time(), time.perf_counter()
exec(sys.argv[1])
print(time.process_time() - cpu, time.perf_counter() - wall)
"""


class Mismatch(RuntimeError):
    """The two engines did the same work with different results, so their costs cannot be compared."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much time a row may take.

    Attributes:
        rounds: how often both engines are sampled in turn.
        budget_s: how long one sample lasts at least, in seconds.
        clock: what the table shows: "cpu" for processor time, "wall" for elapsed time. Both are measured.
        one_core: whether the workers are kept on one core.
    """

    rounds: int
    budget_s: float
    clock: str = "cpu"
    one_core: bool = False


@dataclass(frozen=True, slots=True)
class Figure:
    """The result of one row.

    Attributes:
        row: what was measured.
        theirs: LangGraph's median: seconds, bytes, or a growth factor.
        ours: our median in the same unit.
        value: what the targets are about: the median ratio, or our growth.
        low: the lower quartile of the per-round values.
        high: the upper quartile.
        other_clock: the median ratio by the clock that the table does not show; None where there is only one.
        notes: what else was found, for instance the bytes stored.
    """

    row: Row
    theirs: float
    ours: float
    value: float
    low: float
    high: float
    other_clock: float | None = None
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """Whether the targets are reached: "aim", "must", "no", or "" where there is none."""
        if self.row.must is None or self.row.aim is None:
            return ""
        sign = -1 if self.row.kind in ("growth", "bytes") else 1
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
        case "stored":
            return _stored(pair, row)
        case "import":
            return _import(pair, row, effort)
        case "fresh":
            return _fresh(pair, row, effort)
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


def _drop(pair: Pair, row: Row, workload: str) -> None:
    for process in pair.processes:
        process.ask(op="drop", workload=workload, variant=row.variant or "sync")


@dataclass(frozen=True, slots=True)
class _Costs:
    """Costs by engine (LangGraph, ours) and round, in seconds, by both clocks."""

    cpu: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))
    wall: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))

    def add(self, engine: int, answer: dict[str, Any]) -> None:
        self.cpu[engine].append(answer["cpu_s"])
        self.wall[engine].append(answer["wall_s"])

    def shown(self, clock: str) -> tuple[list[float], list[float]]:
        return self.cpu if clock == "cpu" else self.wall

    def figure(self, row: Row, clock: str, notes: dict[str, Any] | None = None) -> Figure:
        """Return the median of the ratios of the rounds."""
        theirs, ours = self.shown(clock)
        others = self.shown("wall" if clock == "cpu" else "cpu")
        # A difference of elapsed times may be below zero, as waiting is part of them: then it says nothing.
        other = statistics.median(_ratios(*others)) if min(map(min, others)) > 0 else None
        return _figure(row, theirs, ours, _ratios(theirs, ours), other, notes)


def _ratios(theirs: list[float], ours: list[float]) -> list[float]:
    return [a / b for a, b in zip(theirs, ours, strict=True)]


def _rounds(pair: Pair, row: Row, workloads: list[str], effort: Effort) -> list[_Costs]:
    """Sample in turn, and return the costs of each workload. The engine that goes first alternates."""
    costs = [_Costs() for _ in workloads]
    for number in range(effort.rounds):
        order = (0, 1) if number % 2 == 0 else (1, 0)
        for index, workload in enumerate(workloads):
            for engine in order:
                request = {"op": "sample", "workload": workload, "variant": row.variant or "sync"}
                costs[index].add(engine, pair.processes[engine].ask(**request, budget_s=effort.budget_s))
    for workload in workloads:
        _drop(pair, row, workload)
    return costs


def _figure(
    row: Row,
    theirs: list[float],
    ours: list[float],
    values: list[float],
    other_clock: float | None = None,
    notes: dict[str, Any] | None = None,
) -> Figure:
    low, _, high = statistics.quantiles(values, n=4) if len(values) > 1 else (values[0],) * 3
    median = statistics.median
    return Figure(row, median(theirs), median(ours), median(values), low, high, other_clock, notes or {})


def _ratio(pair: Pair, row: Row, effort: Effort) -> Figure:
    kept = _check(pair, row, row.workload)
    (costs,) = _rounds(pair, row, [row.workload], effort)
    return costs.figure(row, effort.clock, _stored_by(kept))


def _growth(pair: Pair, row: Row, effort: Effort) -> Figure:
    workloads = [row.workload, row.base]
    for workload in workloads:
        _check(pair, row, workload)
    bigs, smalls = (costs.shown(effort.clock) for costs in _rounds(pair, row, workloads, effort))
    theirs, ours = (_ratios(big, small) for big, small in zip(bigs, smalls, strict=True))
    return _figure(row, theirs, ours, ours)


def _stored_by(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the bytes that each engine stored, by its saver."""
    about = {"savers": [each["saver"] for each in found]} if "saver" in found[0] else {}
    if "stored" in found[0]:
        about |= dict(zip(("langgraph", "stategraph"), (sum(each["stored"].values()) for each in found), strict=True))
    return about | ({"data": found[0]["data"]} if "data" in found[0] else {})


def _bytes(pair: Pair, row: Row) -> Figure:
    big, small = (_stored_by(_check(pair, row, workload)) for workload in (row.workload, row.base))
    growth = [big[engine] / small[engine] for engine in ("langgraph", "stategraph")]
    for workload in (row.workload, row.base):
        _drop(pair, row, workload)
    return _figure(row, [growth[0]], [growth[1]], [growth[1]], notes=big)


def _stored(pair: Pair, row: Row) -> Figure:
    found = _stored_by(_check(pair, row, row.workload))
    _drop(pair, row, row.workload)
    theirs, ours = float(found["langgraph"]), float(found["stategraph"])
    return _figure(row, [theirs], [ours], [theirs / ours], notes=found)


def _child(pair: Pair, engine: int, *command: str) -> tuple[float, float]:
    """Run Python in a new process of an engine; return what it prints: processor and elapsed time in seconds."""
    started_as = pair.processes[engine].engine
    done = subprocess.run(
        [started_as.python, *command],
        cwd=ROOT,
        env=started_as.environment(pair.extra_path),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if done.returncode:
        raise EngineError(f"{started_as.label}: {done.stderr}")
    cpu_s, wall_s = done.stdout.split()
    return float(cpu_s), float(wall_s)


def _import(pair: Pair, row: Row, effort: Effort) -> Figure:
    """Execute the row's code in new processes; the first ones warm up."""
    costs = _Costs()
    for number in range(effort.rounds + 1):
        for engine, code in enumerate((row.code, row.our_code or row.code)):
            cpu_s, wall_s = _child(pair, engine, "-c", IMPORT, code)
            if number:
                costs.add(engine, {"cpu_s": cpu_s, "wall_s": wall_s})
    return costs.figure(row, effort.clock)


def _fresh(pair: Pair, row: Row, effort: Effort) -> Figure:
    """Have each engine prepare a folder in its worker, and do the work on a copy of it in new processes."""
    variant = row.variant or "sync"
    folders = [found["folder"] for found in _check(pair, row, row.workload)]
    costs = _Costs()
    for number in range(effort.rounds + 1):
        for engine, folder in enumerate(folders):
            cpu_s, wall_s = _child(pair, engine, "-m", "benchmarks.once", row.workload, variant, folder)
            if number:
                costs.add(engine, {"cpu_s": cpu_s, "wall_s": wall_s})
    _drop(pair, row, row.workload)
    return costs.figure(row, effort.clock)
