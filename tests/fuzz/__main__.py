"""``make fuzz``: random programs on LangGraph and on this engine, compared.

    python -m tests.fuzz --python .venv-bench/bin/python --count 2000 --seed 7
    python -m tests.fuzz --python .venv-bench/bin/python --seed 7 --case 123     one case: program and both results

Exits with 1 if a program behaves differently in a way that docs/compatibility.md does not list.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path

from tests.fuzz import generate, judge, program, shrink
from tests.interop import plain, processes

DEFAULT_PYTHON = processes.ROOT / ".venv-bench" / "bin" / "python"


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Random programs on LangGraph and on this engine.")
    parser.add_argument("--python", default=str(DEFAULT_PYTHON), help="interpreter with LangGraph (%(default)s)")
    parser.add_argument("--activate", choices=("auto", "flag", "path", "none"), default="auto")
    parser.add_argument("--count", type=int, default=200, help="how many cases (%(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--case", type=int, nargs="+", help="only the cases with these numbers, printed whole")
    parser.add_argument("--first", type=int, default=0, help="number of the first case (%(default)s)")
    parser.add_argument("--keep-going", type=int, default=5, metavar="N", help="stop after N divergences (%(default)s)")
    parser.add_argument("--no-shrink", action="store_true", help="print divergences as they were drawn")
    parser.add_argument("--brief", action="store_true", help="print a line for each divergence, and no program")
    parser.add_argument("--folder", type=Path, help="also write the programs of divergences there")
    parser.add_argument("--record", type=Path, metavar="FILE", help="append a line for each case that is not equal")
    parser.add_argument("--stderr", action="store_true", help="let the workers' stderr through")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the cases.

    Returns:
        The exit code: 0 if nothing differed, 1 if something did, 2 if the harness could not work.
    """
    options = arguments(argv)
    try:
        engines = judge.Engines(options.python, options.activate, quiet=not options.stderr)
    except processes.HarnessError as error:
        print(error, file=sys.stderr)
        return 2
    try:
        if options.case is not None:
            return max([one(engines, options, index) for index in options.case])
        return many(engines, options)
    finally:
        engines.close()


def many(engines: judge.Engines, options: argparse.Namespace) -> int:
    """Run cases until enough of them differ, and print a summary."""
    begin = time.monotonic()
    kinds: Counter[str] = Counter()
    named: Counter[str] = Counter()
    ends: Counter[str] = Counter()
    for index in range(options.first, options.first + options.count):
        case = generate.case(options.seed, index)
        verdict = engines.judge(case)
        kinds[verdict.kind] += 1
        ends.update(verdict.ends)
        if verdict.kind == "known":
            named[verdict.detail] += 1
        if verdict.kind == "stuck":
            print(f"LangGraph hangs: SEED={options.seed} CASE={index}", flush=True)
        if options.record and verdict.kind not in ("equal", "skipped"):
            record(options.record, options.seed, index, verdict)
        if verdict.kind == "different":
            tell(engines, case, verdict, index, options)
            if kinds["different"] >= options.keep_going:
                print(f"stopped after {kinds['different']} divergences")
                break
    spent_s = time.monotonic() - begin
    done = sum(kinds.values())
    print(f"\nsteps ended: {', '.join(f'{name} {number}' for name, number in ends.most_common())}")
    for name, number in named.most_common():
        print(f"known difference, {number} times: {name}")
    print(f"fuzz: {', '.join(f'{number} {kind}' for kind, number in kinds.most_common())}", end="; ")
    print(f"SEED={options.seed}, {done} cases in {spent_s:.0f} s ({done / spent_s:.0f} a second)")
    return 1 if kinds["different"] else 0


def record(file: Path, seed: int, index: int, verdict: judge.Verdict) -> None:
    """Append what became of a case, so that it can be looked at again."""
    line = {"seed": seed, "case": index, "kind": verdict.kind, "detail": verdict.detail[:900]}
    with file.open("a", encoding="utf-8") as out:
        out.write(json.dumps(line) + "\n")


def tell(
    engines: judge.Engines, case: program.Case, verdict: judge.Verdict, index: int, options: argparse.Namespace
) -> None:
    """Print a divergence: the smallest program that shows it, and what it came to on both engines."""
    print(f"\nDIFFERENT: make fuzz SEED={options.seed} CASE={index}\n    {verdict.detail[:900]}", flush=True)
    if options.brief:
        return
    if not options.no_shrink:
        wanted = judge.kind_of(verdict.detail)

        def shows(smaller: program.Case) -> bool:
            again = engines.judge(smaller, repeat=False)
            return again.kind == "different" and judge.kind_of(again.detail) == wanted

        case = shrink.shrink(case, shows)
        verdict = engines.judge(case)
        print(f"    smallest: {verdict.detail[:900]}")
    title = f"SEED={options.seed} CASE={index}: {verdict.detail[:200]}"
    print(program.source(case))
    show(engines, case)
    if options.folder:
        options.folder.mkdir(parents=True, exist_ok=True)
        file = options.folder / f"case_{options.seed}_{index}.py"
        file.write_text(program.standalone(case, title.replace("\n", " ")), encoding="utf-8")
        file.with_suffix(".json").write_text(json.dumps(case), encoding="utf-8")
        print(f"written to {file}")


def show(engines: judge.Engines, case: program.Case) -> None:
    """Print where both engines differ, part by part."""
    engines.digests(case)
    expected, found = engines.reports()
    for label, report, other in (("LangGraph", expected, found), ("here", found, expected)):
        print(f"--- {label}")
        for number, step in enumerate(report.get("steps", ())):
            others = other.get("steps", [])
            same = number < len(others) and others[number] == step
            print(f"{step['step']}: " + ("the same on both" if same else json.dumps(step)))
        for part, value in report.items():
            if part != "steps" and other.get(part) != value:
                print(f"{part}: {plain.difference(other.get(part), value)}")


def one(engines: judge.Engines, options: argparse.Namespace, index: int) -> int:
    """Run one case, and print its program and what it came to."""
    case = generate.case(options.seed, index)
    verdict = engines.judge(case)
    if verdict.kind == "different":
        tell(engines, case, verdict, index, options)
    else:
        print(program.source(case))
        show(engines, case)
        print(f"{verdict.kind} {verdict.detail}")
    return 1 if verdict.kind == "different" else 0


if __name__ == "__main__":
    sys.exit(main())
