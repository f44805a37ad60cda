"""What LangGraph came to with random programs, recorded: they can be compared where it is not installed.

    python -m tests.fuzz.recorded --python .venv-bench/bin/python --count 800      record again

A line of `recorded.jsonl` is one program: its seed and number, a digest of it, and digests of each step's result and of
what ran in it, of the thread's state, of its history and of its checkpoints. Recorded are programs whose tasks run one
after the other, and of which both engines made the same each time.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from tests.fuzz import generate, judge
from tests.fuzz.program import Case
from tests.fuzz.reports import Report
from tests.interop import processes

FILE = Path(__file__).with_name("recorded.jsonl")
SEED = 1729
DIGITS = 12
MOST_CHARACTERS = 40_000
"""How much a program may come to: many small ones notice more than few large ones."""


def entries() -> list[dict[str, Any]]:
    """Return the lines of the recording."""
    return [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]


def entry(seed: int, number: int, case: Case, found: Report) -> dict[str, Any]:
    """Return the line of a program."""
    parts = {name: digest(value) for name, value in found.items() if name != "steps"}
    for step in found.get("steps", ()):
        parts[step["step"]] = f"{digest(step['found'])} {digest(step['ran'])}"
    return {"seed": seed, "case": number, "program": digest(case), "parts": dict(sorted(parts.items()))}


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:DIGITS]


def main(argv: list[str] | None = None) -> int:
    """Record the programs of a seed.

    Returns:
        The exit code: 0, or 2 if the harness could not work.
    """
    parser = argparse.ArgumentParser(description="Record what LangGraph comes to with random programs.")
    parser.add_argument("--python", default=str(processes.ROOT / ".venv-bench" / "bin" / "python"))
    parser.add_argument("--activate", choices=("auto", "flag", "path", "none"), default="auto")
    parser.add_argument("--count", type=int, default=800, help="how many programs to try (%(default)s)")
    options = parser.parse_args(argv)
    try:
        engines = judge.Engines(options.python, options.activate, quiet=True)
    except processes.HarnessError as error:
        print(error, file=sys.stderr)
        return 2
    lines = []
    try:
        for number in range(options.count):
            case = generate.case(SEED, number)
            if (found := _settled(engines, case)) is not None:
                lines.append(entry(SEED, number, case, found))
    finally:
        engines.close()
    FILE.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    print(f"recorded {len(lines)} of {options.count} programs in {FILE.name}")
    return 0


def _settled(engines: judge.Engines, case: Case) -> Report | None:
    """Return what LangGraph comes to with a program, if it always does, and this engine too."""
    if not case.get("sequential", True):
        return None
    seen = {found.get("digest") for _ in range(2) for found in engines.digests(case)}
    if len(seen) > 1 or None in seen:
        return None
    report = engines.reports()[0]
    return report if "steps" in report and len(json.dumps(report)) < MOST_CHARACTERS else None


if __name__ == "__main__":
    sys.exit(main())
