"""``make load``: both engines, and others, with many runs and many token streams at once.

    python -m benchmarks.load --python .venv-bench/bin/python      everything, some minutes
    python -m benchmarks.load --quick                              a few runs of each, to see that it works
    python -m benchmarks.load --only tokens --rounds 3             one table, medians of three

Each figure comes from a process of its own. Exits with 1 if an engine fails or does not do the work, never because of a
figure. Engines that are not installed are named and left out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import docs
from benchmarks.engines import ROOT, Engine

PEERS = ("pydantic-graph", "llama-index-workflows", "burr", "neograph-engine", "agentcore-graph")
LENGTH, APART_S = 50, 0.02


@dataclass(frozen=True, slots=True)
class Case:
    """One table.

    Attributes:
        name: What `--only` chooses by.
        title: What is measured.
        arguments: What `child.measure` is given.
        unit: What `per_s` counts.
    """

    name: str
    title: str
    arguments: dict[str, Any]
    unit: str = "runs"


@dataclass(frozen=True, slots=True)
class Subject:
    """An engine: its name, how its processes are started, and what it is called there."""

    name: str
    engine: Engine
    inside: str = "graph"


def cases(quick: bool) -> list[Case]:
    """Return the tables; the quick ones are too small to say anything."""
    many, some, streams = (20, 10, 5) if quick else (10_000, 2_000, 1_000)
    chain = {"case": "runs", "saver": "none", "number": many}
    about = "runs of 3 nodes at once"
    tokens = {"case": "tokens", "number": streams, "length": LENGTH if not quick else 5, "apart_s": APART_S}
    return [
        Case("runs", f"{many:,} {about}, without a saver", chain),
        Case("memory", f"{many:,} {about}, with InMemorySaver", chain | {"saver": "memory"}),
        Case(
            "sqlite", f"{some:,} {about}, with each engine's SQLite saver", chain | {"saver": "sqlite", "number": some}
        ),
        Case(
            "tokens",
            f"{streams:,} streams of {tokens['length']} tokens, {APART_S * 1000:.0f} ms apart",
            tokens,
            "tokens",
        ),
    ]


def subjects(python: str, activate: str) -> list[Subject]:
    """Return both engines."""
    ours = Subject("stategraph", Engine("stategraph", python, activate))
    return [Subject("LangGraph", Engine("langgraph", python, "none")), ours]


def peers(folder: Path) -> tuple[list[Subject], list[str]]:
    """Return the peers that are installed, and the names of those that are not."""
    found, missing = [], []
    for name in PEERS:
        python = folder / f".venv-load-{name}" / "bin" / "python"
        if python.exists():
            found.append(Subject(name, Engine(name, str(python), "none"), name))
        else:
            missing.append(name)
    return found, missing


def ask(subject: Subject, arguments: dict[str, Any], timeout_s: float) -> dict[str, float]:
    """Measure in a new process.

    Raises:
        RuntimeError: It failed; the message has its last words.
    """
    command = [subject.engine.python, "-m", "benchmarks.load.child", json.dumps(arguments)]
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=subject.engine.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"no answer within {timeout_s:.0f} s") from None
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-2000:])
    answer: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def medians(found: list[dict[str, float]]) -> dict[str, float]:
    """Return the median of each figure."""
    return {name: statistics.median(each[name] for each in found) for name in found[0]}


def seconds(value: float) -> str:
    """Format a time."""
    return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.1f} ms" if value >= 1e-3 else f"{value * 1e6:.1f} us"


class Report:
    """Prints the tables, and keeps the figures and the failures."""

    def __init__(self) -> None:
        self.figures: list[dict[str, Any]] = []
        self.tables: dict[str, dict[str, tuple[str, ...]]] = {}
        self.failures: list[str] = []

    def measured(
        self, table: str, subject: Subject, arguments: dict[str, Any], options: argparse.Namespace
    ) -> dict[str, float] | None:
        """Measure as often as asked for; None if it failed, which is printed."""
        try:
            asked = [ask(subject, arguments, options.timeout) for _ in range(options.rounds)]
        except RuntimeError as error:
            self.failures.append(f"{table}, {subject.name}: {error}")
            print(f"{subject.name:24} FAILED: {str(error).splitlines()[-1][:120]}", flush=True)
            return None
        figure = medians(asked)
        self.figures.append({"table": table, "engine": subject.name, **figure})
        return figure

    def load(self, case: Case, those: list[Subject], options: argparse.Namespace) -> None:
        """Print one table of a load."""
        titles = f"{case.unit}/s", "P50", "P99", "CPU each", "peak RSS"
        if case.name == "tokens":
            titles = "tokens/s", "P50 of the first", "P99 of the gaps", "CPU each", "peak RSS"
        print(f"\n{case.title}\n{'':24}" + "".join(f"{title:>18}" for title in titles), flush=True)
        for subject in those:
            engine = {} if case.name == "tokens" else {"engine": subject.inside}
            found = self.measured(case.name, subject, case.arguments | engine, options)
            if found is not None:
                cells = f"{found['per_s']:,.0f}", seconds(found["p50_s"]), seconds(found["p99_s"])
                cells += seconds(found["cpu_s"]), f"{found['peak_mb']:.0f} MB"
                self.tables.setdefault(case.name, {})[subject.name] = cells
                print(f"{subject.name:24}" + "".join(f"{cell:>18}" for cell in cells), flush=True)

    def chain(self, those: list[Subject], options: argparse.Namespace) -> None:
        """Print what a run costs when it is alone."""
        number = 20 if options.quick else 2_000
        print(
            f"\nOne run of 3 nodes after the other, processor time\n{'':24}{'async API':>18}{'sync API':>18}",
            flush=True,
        )
        for subject in those:
            cells = []
            for case in ("chain", "sync_chain"):
                found = self.measured(
                    case, subject, {"case": case, "engine": subject.inside, "number": number}, options
                )
                cells.append(seconds(found["cpu_s"]) if found else "-")
            self.tables.setdefault("chain", {})[subject.name] = tuple(cells)
            print(f"{subject.name:24}" + "".join(f"{cell:>18}" for cell in cells), flush=True)


def main(argv: list[str] | None = None) -> int:
    """Measure and print.

    Returns:
        The exit code: 1 if something failed.
    """
    parser = argparse.ArgumentParser(description="Both engines, and others, under load.")
    parser.add_argument("--python", default=sys.executable, help="interpreter that has LangGraph and this project")
    parser.add_argument("--peers", type=Path, default=ROOT, help="folder of the environments of other engines")
    parser.add_argument("--only", action="append", default=[], help="runs, memory, sqlite, tokens, chain")
    parser.add_argument("--engine", action="append", default=[], help="engines whose name contains this")
    parser.add_argument("--quick", action="store_true", help="a few runs of each, to see that it works")
    parser.add_argument("--rounds", type=int, default=1, help="how often each figure is measured; medians are shown")
    parser.add_argument("--timeout", type=float, default=600, metavar="S", help="seconds one process may take")
    parser.add_argument("--activate", choices=("flag", "path"), default="flag", help="how our engine is switched on")
    parser.add_argument("--docs", action="store_true", help="also write the figures into docs/performance.md")
    parser.add_argument("--json", metavar="FILE", help="also write the figures there")
    options = parser.parse_args(argv)

    def chosen(those: list[Subject]) -> list[Subject]:
        return [each for each in those if not options.engine or any(name in each.name for name in options.engine)]

    both = chosen(subjects(options.python, options.activate))
    others, missing = peers(options.peers)
    report = Report()
    for case in cases(options.quick):
        if not options.only or case.name in options.only:
            report.load(case, both + (chosen(others) if case.name == "runs" else []), options)
    if not options.only or "chain" in options.only:
        report.chain(both + chosen(others), options)
    for failure in report.failures:
        print(f"\nFAILED {failure}")
    if missing and not options.engine:
        print(f"\nNot installed: {', '.join(missing)}")
    for name, rows in report.tables.items() if options.docs else ():
        docs.write(name, rows)
    if options.json:
        Path(options.json).write_text(json.dumps(report.figures, indent=1) + "\n")
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
