"""``make mutants``: how many random single changes of the code the tests notice.

    python -m tests.mutation --count 60 --seed 1            sixty changes of each group
    python -m tests.mutation --groups core --jobs 2         one group, two at a time
    python -m tests.mutation --files stategraph/run/events/run_log.py  all files that are named, in place of a group
    python -m tests.mutation --again                        the survivors of the last run once more, on today's code

It works on copies of the tree below `.cache/mutants`, so the work tree can be edited meanwhile. First every test runs
once, to learn which lines it runs (kept until the code or the tests change). Then each mutated copy runs the tests that
reach the change, those that run the least else first and then the quickest, until one fails or `--budget` seconds of
tests have passed: what only a later test would notice counts as not noticed. Prints every survivor with its diff and a
table. A change that no test can notice, because the program means the same, is listed in
`tests/mutation/equivalent.txt` with the reason, and not drawn. Ends with 1 when a group stands below `--least` per
cent.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.mutation import mutations, trial
from tests.mutation.reach import CLOSEST, Reach, Recorder

ROOT = Path(__file__).resolve().parent.parent.parent
STATE = ROOT / ".cache" / "mutants"
EQUIVALENT = Path(__file__).with_name("equivalent.txt")
GROUPS = ("core", "engine", "agent", "run")
TESTS = ("core", "engine", "graph", "agent", "run", "golden")
COPIED = (
    "stategraph",
    "compat",
    "tests",
    "examples",
    "benchmarks",
    "docs",
    "scripts",
    "pyproject.toml",
    "README.md",
    "requirements",
)
SLACK_S = 60.0
"""How much longer than four times its usual time a trial may take before it counts as endless."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A mutation of a file, with the name that it keeps while the code around it changes."""

    group: str
    file: str
    mutation: mutations.Mutation
    key: str


def main(arguments: list[str]) -> int:
    """Run what the command line asks for, and say whether every group is good enough."""
    options = parse(arguments)
    if options.worker:
        return work(options.worker)
    if options.learn:
        return record(options.learn)
    STATE.mkdir(parents=True, exist_ok=True)
    learn()
    chosen = list(sample(options))
    print(f"{len(chosen)} mutants, seed {options.seed}", flush=True)
    rows = run(chosen, options.jobs, options.budget)
    (STATE / "survivors.json").write_text(json.dumps([row["key"] for row in rows if alive(row)]), encoding="utf-8")
    return 0 if report(rows) >= options.least else 1


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make mutants", description="Count the changes of the code that tests notice."
    )
    parser.add_argument("--count", type=int, default=60, help="mutants of each group (default: 60)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--groups", nargs="*", default=list(GROUPS), choices=GROUPS)
    parser.add_argument("--files", nargs="*", default=[], help="mutate these files in place of groups")
    parser.add_argument("--again", action="store_true", help="the survivors of the last run once more")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--budget", type=float, default=45, help="seconds of tests for each mutant (default: 45)")
    parser.add_argument("--least", type=float, default=0, help="fail below this percentage")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--learn", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


# -- what is mutated


def sample(options: argparse.Namespace) -> Iterator[Mutant]:
    """Choose mutants: each time a kind by chance, then a file that has it, then a place."""
    if options.again:
        wanted = set(json.loads((STATE / "survivors.json").read_text(encoding="utf-8")))
        pool = [mutant for group in GROUPS for mutant in candidates(group, files_of(group))]
        yield from (mutant for mutant in pool if mutant.key in wanted)
        return
    if options.files:
        yield from draw(list(candidates("files", options.files)), options.count, options.seed)
        return
    for group in options.groups:
        yield from draw(list(candidates(group, files_of(group))), options.count, options.seed)


def files_of(group: str) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in sorted((ROOT / "stategraph" / group).rglob("*.py"))]


def candidates(group: str, files: list[str]) -> Iterator[Mutant]:
    for file in files:
        source = (ROOT / file).read_text(encoding="utf-8")
        for name, mutation in mutations.find(source).items():
            yield Mutant(group, file, mutation, f"{file}:{name}")


def draw(pool: list[Mutant], count: int, seed: int) -> list[Mutant]:
    """Draw without replacement; kinds and files with many places come more often, but less than in proportion."""
    chance = random.Random(f"{seed} {pool[0].group if pool else ''}")
    known = equivalents()
    left = [mutant for mutant in pool if mutant.key not in known]
    drawn: list[Mutant] = []
    while left and len(drawn) < count:
        kinds = Counter(mutant.mutation.kind for mutant in left)
        (kind,) = chance.choices(list(kinds), [number**0.5 for number in kinds.values()])
        files = Counter(mutant.file for mutant in left if mutant.mutation.kind == kind)
        (file,) = chance.choices(list(files), [number**0.7 for number in files.values()])
        places = [mutant for mutant in left if mutant.mutation.kind == kind and mutant.file == file]
        mutant = chance.choice(places)
        left.remove(mutant)
        if mutations.is_change((ROOT / file).read_text(encoding="utf-8"), mutant.mutation):
            drawn.append(mutant)
    return drawn


def equivalents() -> dict[str, str]:
    """Read the mutants that no test can notice: a key and, after two blanks and `#`, the reason."""
    if not EQUIVALENT.exists():
        return {}
    lines = [line.partition("  # ") for line in EQUIVALENT.read_text(encoding="utf-8").splitlines()]
    return {key.strip(): reason for key, _, reason in lines if key.strip() and not key.startswith("#")}


# -- which tests reach it


def learn() -> None:
    """Record which lines each test runs: all tests when the code or the recorder changed, else changed files."""
    sources = [path for folder in ("stategraph", "compat") for path in (ROOT / folder).rglob("*.py")]
    code = digest([*sources, Path(__file__).with_name("reach.py")])
    tests = {str(path.relative_to(ROOT)): digest([path]) for name in TESTS for path in test_files(name)}
    learned = STATE / "learned.json"
    known = json.loads(learned.read_text(encoding="utf-8")) if learned.exists() else {"code": "", "tests": {}}
    if known["code"] != code:
        known["tests"] = {}
        for batch in STATE.glob("batch-*"):
            shutil.rmtree(batch)
    changed = [file for file, held in tests.items() if known["tests"].get(file) != held]
    if not changed:
        return
    print(f"running the tests of {len(changed)} files once, to learn what each reaches ...", flush=True)
    tree = copy_tree("learning")
    batch = STATE / f"batch-{time.time_ns()}"
    batch.mkdir()
    (batch / "files.json").write_text(json.dumps(changed), encoding="utf-8")
    command = [sys.executable, "-m", "tests.mutation", "--learn", str(batch)]
    ended = subprocess.run(command, cwd=tree, env=environment(tree)).returncode
    if ended > pytest.ExitCode.TESTS_FAILED or not (batch / "seconds.json").exists():
        shutil.rmtree(batch)
        raise SystemExit("the tests could not be run without a mutation: mend that first")
    learned.write_text(json.dumps({"code": code, "tests": tests}), encoding="utf-8")


def test_files(folder: str) -> list[Path]:
    return sorted((ROOT / "tests" / folder).rglob("test_*.py"))


def digest(paths: Iterable[Path]) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(paths))).hexdigest()


def record(batch: Path) -> int:
    """Be the process that learns: run the tests of a batch under a recorder."""
    files = json.loads((batch / "files.json").read_text(encoding="utf-8"))
    return int(pytest.main([*trial.OPTIONS, *files], plugins=[Recorder(Path.cwd(), batch)]))


def copy_tree(name: str) -> Path:
    tree = STATE / name
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    for part in COPIED:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, tree / part)
    return tree


def environment(tree: Path) -> dict[str, str]:
    """Make the copy what programs import, those that tests start included (the drop-in only re-exports it)."""
    return os.environ | {
        "PYTHONPATH": str(tree),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


# -- trials


def run(chosen: list[Mutant], jobs: int, budget_s: float) -> list[dict[str, Any]]:
    """Hand the mutants to worker processes, each with its own copy of the tree, and collect the results."""
    workers = []
    for number in range(jobs):
        tree = copy_tree(f"tree-{number}")
        tasks = [{"group": m.group, "file": m.file, "key": m.key, "budget": budget_s} for m in chosen[number::jobs]]
        (tree / "tasks.json").write_text(json.dumps(tasks), encoding="utf-8")
        _compile(tree)
        command = [sys.executable, "-m", "tests.mutation", "--worker", str(tree)]
        workers.append((tree, subprocess.Popen(command, cwd=tree, env=environment(tree))))
    for _, process in workers:
        process.wait()
    return [json.loads(line) for tree, _ in workers for line in (tree / "rows.jsonl").read_text().splitlines()]


def _compile(tree: Path) -> None:
    """Write the bytecode of a copy, of the tests with their assertions, which trials read and never write."""
    folders = [f"tests/{name}" for name in TESTS]
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *folders]
    quiet = {"stdout": subprocess.DEVNULL, "env": environment(tree) | {"PYTHONDONTWRITEBYTECODE": ""}}
    subprocess.run(command, cwd=tree, check=True, **quiet)


def work(tree: Path) -> int:
    """Be a worker: try the mutants of a copy one after the other."""
    trial.warm()
    reach = Reach(tree.parent)
    tasks = json.loads((tree / "tasks.json").read_text(encoding="utf-8"))
    with (tree / "rows.jsonl").open("w", encoding="utf-8") as rows:
        for task in tasks:
            row = attempt(tree, reach, task)
            rows.write(json.dumps(row) + "\n")
            rows.flush()
            print(f"{row['result']:9} {row['seconds']:6.1f} s  {row['key']}  {row['by']}", flush=True)
    return 0


def attempt(tree: Path, reach: Reach, task: dict[str, Any]) -> dict[str, Any]:
    """Mutate a file of the copy, run the tests that reach the place, and put the file back."""
    path = tree / task["file"]
    source = path.read_text(encoding="utf-8")
    mutation = mutations.find(source)[task["key"].removeprefix(f"{task['file']}:")]
    changed = mutation.apply(source)
    diff = list(difflib.unified_diff(source.splitlines(), changed.splitlines(), lineterm="", n=0))[2:]
    row = task | {"diff": diff, "line": mutation.begin[0]}
    tests = reach.tests(task["file"], mutation.lines, task.get("budget", 45))
    if not tests:
        return row | {"result": "no test", "by": "", "seconds": 0.0}
    try:
        path.write_text(changed, encoding="utf-8")
        for some in (tests[:CLOSEST], tests[CLOSEST:]):  # the files of the others are read later
            outcome = trial.run(some, SLACK_S + 4 * sum(reach.seconds[test] for test in some), tree)
            if outcome.result != "survived" or len(tests) <= CLOSEST:
                break
    finally:
        path.write_text(source, encoding="utf-8")
    return row | {"result": outcome.result, "by": outcome.by, "seconds": round(outcome.seconds, 1)}


# -- what came of it


def alive(row: dict[str, Any]) -> bool:
    return row["result"] in ("survived", "no test")


def report(rows: list[dict[str, Any]]) -> float:
    """Print the survivors and a table; return the lowest percentage of a group."""
    for row in rows:
        if alive(row):
            print(f"\n== {row['key']} (line {row['line']}): {row['result']}")
            print("\n".join(row["diff"]))
    print(f"\n{'group':8} {'mutants':>8} {'killed':>8} {'timeout':>8} {'survived':>9} {'no test':>8} {'score':>8}")
    lowest = 100.0
    for group in dict.fromkeys(row["group"] for row in rows):
        count = Counter(row["result"] for row in rows if row["group"] == group)
        score = 100 * (count["killed"] + count["timeout"]) / count.total()
        lowest = min(lowest, score)
        cells = (count.total(), count["killed"], count["timeout"], count["survived"], count["no test"])
        print(
            f"{group:8} "
            + " ".join(f"{cell:>{width}}" for cell, width in zip(cells, (8, 8, 8, 9, 8), strict=True))
            + f" {score:>6.1f} %"
        )
    print(f"listed as equivalent and not drawn: {len(equivalents())}")
    return lowest


if __name__ == "__main__":
    begun = time.monotonic()
    code = main(sys.argv[1:])
    print(f"{time.monotonic() - begun:.0f} s", file=sys.stderr)
    sys.exit(code)
