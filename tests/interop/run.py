"""``make interop``: threads that change the engine in the middle, compared with threads that never do.

    python tests/interop/run.py --python .venv-bench/bin/python               all cases, SQLite and Postgres
    python tests/interop/run.py --only interrupt --savers sqlite --details    while working on something

Every case runs once from end to end on LangGraph. Then it runs again for every point between two of its steps, and in
both directions: up to that point on one engine, from there on the other; and changing the engine before every step.
What every step returns, which nodes ran, and the state and history after it must be what they were. Right after a
switch, both engines must see the very same thread, ids included.

`sqlite` and `postgres` are the savers of langgraph-checkpoint on both engines. With `-plain` behind it this engine has
this project's saver on the same tables; with `-compact` both engines have it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

HERE = Path(__file__).resolve().parent
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))

import plain  # noqa: E402
import processes  # noqa: E402

DEFAULT_VENV = HERE.parent.parent / ".venv-bench" / "bin" / "python"
COMPARED = ("result", "effects", "state", "history")


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a case runs: which saver, sync or async."""

    saver: str
    mode: str

    @property
    def label(self) -> str:
        """The title of its column."""
        return f"{self.saver} {self.mode}"


@dataclass(frozen=True, slots=True)
class Plan:
    """Which engine does which step: ``ours[index]`` says whether ours does step ``index``."""

    label: str
    ours: tuple[bool, ...]


@dataclass(slots=True)
class Outcome:
    """What was found about one case in one setting; ``problems`` is empty if it passed.

    Attributes:
        runs: how many switched runs there were.
        stored_alike: how many of them left the same in the database, byte for byte apart from ids and order.
        problems: by the label of the run, what differed first.
    """

    runs: int = 0
    stored_alike: int = 0
    stored_difference: str = ""
    problems: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Bench:
    """The workers and the databases."""

    theirs: processes.Worker
    ours: processes.Worker
    directory: Path
    postgres: str | None

    def request(self, name: str, setting: Setting) -> dict[str, Any]:
        """Make the request of a fresh thread."""
        scratch = self.directory / "scratch" / uuid4().hex
        scratch.mkdir(parents=True)
        sqlite = str(self.directory / f"{setting.label.replace(' ', '-')}.sqlite")
        database = sqlite if setting.saver.startswith("sqlite") else self.postgres
        common = {"case": name, "saver": setting.saver, "mode": setting.mode}
        return {**common, "database": database, "thread": str(uuid4()), "scratch": str(scratch)}


def advance(worker: processes.Worker, request: dict[str, Any], index: int) -> dict[str, Any]:
    """Perform one step; where the process dies in it, look at what it left behind from a new process."""
    report = worker.ask({**request, "op": "step", "index": index})
    if "died" in report:
        return {"result": "the process died", "effects": [], **worker.ask({**request, "op": "look"})}
    return report


def compare(expected: dict[str, Any], found: dict[str, Any]) -> str | None:
    """Say how a step on a switched thread differs from the same step on a thread that never switched."""
    if "error" in found:
        return headlined("no report", found["error"])
    for part in COMPARED:
        sides = [plain.blot(plain.settle(report[part])) for report in (expected, found)]
        if problem := plain.difference(*sides, part):
            trace = found.get("traceback")
            return headlined(problem, trace) if trace else problem
    return None


def headlined(headline: str, trace: str) -> str:
    """A problem on one line, and its traceback after that."""
    return f"{headline}: {trace.strip().splitlines()[-1]}\n{trace}"


def switched(bench: Bench, name: str, setting: Setting, expected: list[Any], plan: Plan) -> Iterator[Any]:
    """Run a case on the engines that the plan names.

    Yields:
        Per step the report, or a string that says what differs; nothing more after that.
    """
    request = bench.request(name, setting)
    before: dict[str, Any] | None = None
    for index, wanted in enumerate(expected):
        worker = bench.ours if plan.ours[index] else bench.theirs
        if before is not None and plan.ours[index] != plan.ours[index - 1]:
            seen = worker.ask({**request, "op": "look"})
            if "error" in seen or "died" in seen:
                headline = f"before step {index}, {worker.engine.label} cannot look at the thread"
                yield headlined(headline, seen.get("error") or seen["died"])
                return
            for part in ("state", "history"):
                if problem := plain.difference(before[part], seen[part], part):
                    yield f"before step {index}, the engines see different threads: {problem}"
                    return
        found = advance(worker, request, index)
        if problem := compare(wanted, found):
            yield f"step {index} on {worker.engine.label}: {problem}"
            return
        before = found
        yield found


def plans(steps: int, every_point: bool) -> Iterator[Plan]:
    """Every way in which a case changes the engine: once, at any point, both ways; back and forth; and never."""
    for ours_first in (False, True):
        direction = "to" if ours_first else "from"
        for point in range(1 if every_point else steps - 1, steps):
            ours = tuple((index < point) == ours_first for index in range(steps))
            yield Plan(f"{direction} LangGraph before step {point}", ours)
        if steps > 2 and every_point:
            ours = tuple((index % 2 == 0) == ours_first for index in range(steps))
            yield Plan(f"{direction} LangGraph, and back and forth", ours)
    yield Plan("ours alone", (True,) * steps)


def judge(bench: Bench, name: str, setting: Setting, steps: int, every_point: bool) -> Outcome:
    """Run one case in one setting: the baseline, then every plan."""
    outcome = Outcome()
    request = bench.request(name, setting)
    expected = [advance(bench.theirs, request, index) for index in range(steps)]
    for index, report in enumerate(expected):
        if "error" in report or "traceback" in report:
            outcome.problems["baseline"] = f"step {index}: {report.get('error') or report['traceback']}"
            return outcome
    for plan in plans(steps, every_point):
        last = None
        for last in switched(bench, name, setting, expected, plan):
            if isinstance(last, str):
                outcome.problems[plan.label] = last
        outcome.runs += 1
        if last is not None and not isinstance(last, str):
            unlike = plain.difference(expected[-1]["stored"], last["stored"], "stored")
            outcome.stored_alike += unlike is None
            outcome.stored_difference = outcome.stored_difference or (f"{plan.label}: {unlike}" if unlike else "")
    return outcome


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    default = os.environ.get("STATEGRAPH_BENCH_PYTHON") or (
        str(DEFAULT_VENV) if DEFAULT_VENV.exists() else sys.executable
    )
    parser = argparse.ArgumentParser(description="Threads that move between LangGraph and our engine.")
    parser.add_argument(
        "--python", default=default, help="interpreter with LangGraph and the savers (default: %(default)s)"
    )
    parser.add_argument("--ours-python", help="interpreter of our engine's worker (default: the same)")
    parser.add_argument(
        "--activate",
        choices=("auto", "flag", "path", "none"),
        default="auto",
        help="how our engine is switched on; none runs LangGraph on both sides, to test the harness",
    )
    savers = "sqlite,postgres,sqlite-plain,postgres-plain,sqlite-compact,postgres-compact"
    parser.add_argument("--savers", default=savers, help="comma-separated (default: %(default)s)")
    parser.add_argument("--modes", default="sync,async", help="comma-separated (default: %(default)s)")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="cases whose name contains this")
    parser.add_argument("--quick", action="store_true", help="switch only before the last step of every case")
    parser.add_argument(
        "--details", action="store_true", help="print all differences in full, those of the database too"
    )
    parser.add_argument("--strict", action="store_true", help="fail also if the database differs")
    parser.add_argument("--stderr", action="store_true", help="let the workers' stderr through")
    parser.add_argument("--json", metavar="FILE", help="also write the outcomes there")
    parser.add_argument("--list", action="store_true", help="print the cases and leave")
    options = parser.parse_args(argv)
    for name in ("python", "ours_python"):
        if given := getattr(options, name):
            setattr(options, name, str(Path(shutil.which(given) or given).absolute()))
    return options


def cell(outcome: Outcome | None, strict: bool) -> str:
    """One cell of the table."""
    if outcome is None:
        return "-"
    if passed(outcome, strict):
        return "ok"
    return "FAILED"


def passed(outcome: Outcome, strict: bool) -> bool:
    """Whether a case passed in one setting."""
    return not outcome.problems and (not strict or outcome.stored_alike == outcome.runs)


def run_cases(bench: Bench, options: argparse.Namespace) -> dict[str, dict[str, Outcome]]:
    """Run the chosen cases in the chosen settings and print a line for each."""
    plan = bench.theirs.description["cases"]
    chosen = [name for name in plan if not options.only or any(part in name for part in options.only)]
    settings = [Setting(saver, mode) for saver in options.savers.split(",") for mode in options.modes.split(",")]
    titles = "".join(f"{setting.label:>23}" for setting in settings)
    print(f"{'case':48}{titles}", flush=True)
    found: dict[str, dict[str, Outcome]] = {}
    for name in chosen:
        if "error" in plan[name]:
            found[name] = {"-": Outcome(problems={"baseline": plan[name]["error"]})}
            print(f"{name:48} cannot be built on LangGraph", flush=True)
            continue
        found[name] = {}
        cells = []
        for setting in settings:
            outcome = None
            if setting.mode in plan[name]["modes"]:
                outcome = judge(bench, name, setting, plan[name]["steps"], not options.quick)
                found[name][setting.label] = outcome
            cells.append(cell(outcome, options.strict))
        print(f"{name:48}{''.join(f'{text:>23}' for text in cells)}", flush=True)
    return found


def print_problems(found: dict[str, dict[str, Outcome]], details: bool) -> None:
    """Print what differed, per case."""
    for name, outcomes in found.items():
        for setting, outcome in outcomes.items():
            shown = list(outcome.problems.items())
            for run, problem in shown if details else shown[:2]:
                text = problem if details else problem.splitlines()[0][:600]
                print(f"\n{name} ({setting}), {run}:\n    {text.strip()}")
            if not details and len(shown) > 2:
                print(f"    and {len(shown) - 2} more; --details prints all")
            if details and outcome.stored_difference:
                print(f"\n{name} ({setting}), database, {outcome.stored_difference}")


def main(argv: list[str] | None = None) -> int:
    """Run the cases.

    Returns:
        The exit code: 0 if all passed, 1 if not, 2 if the harness itself could not work.
    """
    options = arguments(argv)
    begin = time.monotonic()
    directory = Path(tempfile.mkdtemp(prefix="interop-"))
    try:
        with ExitStack() as stack:
            start = partial(processes.Worker, quiet=not options.stderr)
            theirs = start(processes.Engine("LangGraph", options.python, "none"))
            stack.callback(theirs.close)
            if theirs.description.get("engine") != "langgraph":
                raise processes.HarnessError(f"{options.python} has no LangGraph: {theirs.description}")
            if options.list:
                print("\n".join(theirs.description["cases"]))
                return 0
            ours = processes.start_ours(options.ours_python or options.python, options.activate, start=start)
            stack.callback(ours.close)
            if "error" in ours.description:
                raise processes.HarnessError(f"our engine cannot load the cases:\n{ours.description['error']}")
            for worker in (theirs, ours):
                if problems := worker.description["problems"]:
                    print(f"{worker.engine.label} cannot import all cases:\n{problems}", file=sys.stderr)
            with_postgres = "postgres" in options.savers
            uri = stack.enter_context(processes.postgres(options.python)) if with_postgres else None
            found = run_cases(Bench(theirs, ours, directory, uri), options)
    except processes.HarnessError as error:
        print(error, file=sys.stderr)
        return 2
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print_problems(found, options.details)
    return summary(found, options, time.monotonic() - begin)


def summary(found: dict[str, dict[str, Outcome]], options: argparse.Namespace, spent_s: float) -> int:
    """Print the totals and return the exit code."""
    found = {name: outcomes for name, outcomes in found.items() if outcomes}
    good = [
        name for name, all_of in found.items() if all(passed(outcome, options.strict) for outcome in all_of.values())
    ]
    outcomes = [outcome for all_of in found.values() for outcome in all_of.values()]
    runs = sum(outcome.runs for outcome in outcomes)
    bad = sum(len(outcome.problems) for outcome in outcomes)
    alike = sum(outcome.stored_alike for outcome in outcomes)
    print(f"\n{runs - bad} of {runs} runs as if never switched; {alike} left the same in the database; {spent_s:.0f} s")
    print(f"interop: {len(good)} of {len(found)} cases, both directions")
    if options.json:
        text = {
            name: {
                setting: {"runs": o.runs, "stored_alike": o.stored_alike, "problems": o.problems}
                for setting, o in s.items()
            }
            for name, s in found.items()
        }
        Path(options.json).write_text(json.dumps({"passed": len(good), "cases": text}, indent=1) + "\n")
    return 0 if len(good) == len(found) and found else 1


if __name__ == "__main__":
    sys.exit(main())
