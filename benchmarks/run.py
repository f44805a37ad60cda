"""``make bench``: measure both engines side by side and print the table of ratios with their targets.

    python benchmarks/run.py --python .venv-bench/bin/python            everything, some minutes
    python benchmarks/run.py --only sequential_1000                     while working on something
    python benchmarks/run.py --quick --json out.json                    the rows that have targets, for CI

Runs on the standard library alone; the interpreter given by ``--python`` needs LangGraph. Exits with 1 if an engine
fails or if their results differ, never because of a figure.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import platform
import shutil
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks import catalogue, docs, engines, measure, report, sdist  # noqa: E402

DEFAULT_VENV = ROOT / ".venv-bench" / "bin" / "python"


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    default = os.environ.get("STATEGRAPH_BENCH_PYTHON") or (
        str(DEFAULT_VENV) if DEFAULT_VENV.exists() else sys.executable
    )
    parser = argparse.ArgumentParser(description="Both engines side by side.")
    parser.add_argument("--python", default=default, help="interpreter that has LangGraph (default: %(default)s)")
    parser.add_argument(
        "--activate",
        choices=("auto", "flag", "path", "none"),
        default="auto",
        help="how our engine is switched on; none measures LangGraph against itself",
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="rows whose label contains or globs this"
    )
    parser.add_argument("--quick", action="store_true", help="the rows with targets, few short rounds")
    parser.add_argument("--rounds", type=int, help="interleaved rounds a row (default: 7, quick: 3)")
    parser.add_argument("--budget", type=float, metavar="S", help="seconds a sample (default: 0.3, quick: 0.04)")
    parser.add_argument(
        "--clock", choices=("cpu", "wall"), default="cpu", help="show processor time (default) or elapsed time"
    )
    parser.add_argument("--cpu", action="store_const", const="cpu", dest="clock", help="the same as --clock cpu")
    parser.add_argument(
        "--all-cores", action="store_true", help="let the workers change between cores; they are kept on one otherwise"
    )
    parser.add_argument("--timeout", type=float, default=180, metavar="S", help="seconds one answer may take")
    parser.add_argument(
        "--json", metavar="FILE", help="also write the figures there; - means stdout, without the table"
    )
    parser.add_argument("--docs", action="store_true", help="also write the figures into docs/performance.md")
    parser.add_argument("--cache", type=Path, default=ROOT / ".bench", help="where the source distribution is kept")
    parser.add_argument("--list", action="store_true", help="print the rows and leave")
    options = parser.parse_args(argv)
    options.python = str(Path(shutil.which(options.python) or options.python).absolute())
    return options


def chosen(options: argparse.Namespace) -> list[catalogue.Row]:
    """Return the rows that the command line asks for."""
    rows = [row for row in catalogue.ROWS if row.quick or not options.quick]
    if options.only:
        wanted = options.only
        rows = [row for row in catalogue.ROWS if any(w in row.label or fnmatch.fnmatch(row.label, w) for w in wanted)]
    return rows


def stay_on_one_core() -> bool:
    """Keep this process, and the workers that it starts, on one core, if the system can.

    Only one worker works at a time. What differs is the change from one thread to another: to wake a core that has gone
    to sleep takes a virtual machine several times as long as the change itself, and a different time in each hour.

    Returns:
        Whether it can.
    """
    if not hasattr(os, "sched_setaffinity"):
        return False
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    return True


def collect(
    pair: engines.Pair, rows: list[catalogue.Row], effort: measure.Effort, show: Any
) -> tuple[list[measure.Figure], list[tuple[str, str]]]:
    """Measure row by row; a row that fails is reported and the rest goes on."""
    figures, failures = [], []
    for row in rows:
        try:
            figure = measure.measure(pair, row, effort)
        except (engines.EngineError, measure.Mismatch) as error:
            failures.append((row.label, str(error)))
            show(report.failed(row, error))
        else:
            figures.append(figure)
            show(report.line(figure))
    return figures, failures


def main(argv: list[str] | None = None) -> int:
    """Run the benchmarks.

    Returns:
        The exit code: 1 if something failed.
    """
    options = arguments(argv)
    rows = chosen(options)
    if options.list or not rows:
        print("\n".join(row.label for row in rows) or f"no row matches {options.only}")
        return 0 if rows else 2
    begin = time.monotonic()
    extra: tuple[str, ...] = ()
    if any(row.workload.startswith(("upstream:", "own_nodes:")) for row in rows):
        extra = (str(sdist.unpack(sdist.fetch(options.cache), "bench", options.cache / f"langgraph-{sdist.VERSION}")),)
    rounds, budget_s = options.rounds or (3 if options.quick else 7), options.budget or (0.04 if options.quick else 0.3)
    one_core = not options.all_cores and stay_on_one_core()
    effort = measure.Effort(rounds, budget_s, options.clock, one_core)
    table = sys.stderr if options.json == "-" else sys.stdout

    def show(text: str) -> None:
        print(text, file=table, flush=True)

    try:
        pair = engines.open_pair(options.python, options.activate, extra, options.timeout)
    except engines.EngineError as error:
        print(error, file=sys.stderr)
        return 1
    try:
        show(report.heading(pair.descriptions, effort))
        figures, failures = collect(pair, rows, effort, show)
        mixed = pair.processes[1].ask(op="describe")["mixed"] if pair.processes[1].alive() else []
    finally:
        pair.close()
    show(report.summary(figures, failures, mixed, time.monotonic() - begin))
    if options.docs:
        rows_of_docs = {figure.row.label: docs.cells_of(figure) for figure in figures}
        docs.write("bench", rows_of_docs, [row.label for row in catalogue.ROWS])
    if options.json:
        found = {"python": platform.python_version(), "engines": pair.descriptions, **report.as_json(figures, failures)}
        text = json.dumps(found, indent=1)
        if options.json == "-":
            print(text)
        else:
            Path(options.json).write_text(text + "\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
