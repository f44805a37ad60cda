"""``make instrumentation``: what instrumentations tell of a program, on LangGraph and on this engine, side by side.

    python tests/instrumentation/run.py --python .venv-instrumentation/bin/python \\
        --mlflow-python .venv-mlflow/bin/python [sentry ...]

Rules
-----
* Each instrumentation runs twice, in processes of their own that differ in one thing: ``STATEGRAPH_RUNTIME``.
* Spans are compared as trees: names, parents, status, attributes. Ids, times and addresses are projected away, and
  spans with the same parent are put in order, as parallel tasks have none.
* Of a stack trace the frames of the program count, and what is said of the error; of a config's `configurable` what an
  engine keeps there for itself counts by its key.
* Which module a class of the engine lives in, and whether its base class is called ``Pregel`` or ``StateGraphEngine``,
  is no part of what is compared; see docs/drop-in.md.

Runs on the standard library alone. Exits with 1 if any spans differ, or if an instrumentation fails.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("opentelemetry", "openinference", "sentry", "ddtrace", "ddtrace-llm", "newrelic", "mlflow")
SECONDS = 300

_PASSING = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"  # UUIDs
    r"|\b[0-9a-f]{16,32}\b"  # ids of traces and spans
    r"|0x[0-9a-f]+"  # addresses
    r"|\b\d{12,}\b|\b\d+\.\d+(e-?\d+)?\b"  # times
)
_FRAME = re.compile(r'(^  File ".*\n(?:    .*\n)*(?:  \[Previous line repeated \d+ more times?\]\n)?)', re.MULTILINE)
_PROGRAM = "tests/instrumentation/program.py"
_PLACE = re.compile(r"(?:\b|(?<=\\n))(?:stategraph|langgraph)(?:\.[a-z_]+)*\.(?=[A-Z])")
_UNTOLD = ("thread.", "process_id", "system.pid", "language", "duration", "timestamp")


def main() -> int:
    parser = argparse.ArgumentParser(description="Spans on both engines.")
    parser.add_argument("--python", default=sys.executable, help="interpreter that has LangGraph and instrumentations")
    parser.add_argument("--mlflow-python", help="one that has MLflow (default: the same)")
    parser.add_argument("--verbose", action="store_true", help="print the spans that differ")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)} (default: all)")
    options = parser.parse_args()
    unknown = set(options.names) - set(NAMES)
    if unknown:
        parser.error(f"no such instrumentation: {', '.join(sorted(unknown))}")
    names = options.names or NAMES
    pythons = {"mlflow": options.mlflow_python or options.python}
    different = [n for n in names if not compare(pythons.get(n, options.python), n, verbose=options.verbose)]
    return 1 if different else 0


def compare(python: str, name: str, *, verbose: bool) -> bool:
    """Run one instrumentation on both engines and print how they compare, a line for each scene that differs."""
    theirs, ours = (run(python, name, ours=flag) for flag in (False, True))
    if theirs is None or ours is None:
        side = "LangGraph" if theirs is None else "this engine"
        print(f"{name:16} FAILED on {side}")
        return False
    counted = sum(map(len, theirs.values()))
    if not counted:
        print(f"{name:16} made no spans on LangGraph: nothing was compared")
        return False
    differing = {scene: list(difference(theirs[scene], ours[scene])) for scene in theirs}
    wrong = {scene: lines for scene, lines in differing.items() if lines}
    verdict = "equal" if not wrong else f"DIFFERENT in {', '.join(wrong)}"
    print(f"{name:16} {len(theirs):3} scenes {counted:5} spans  {verdict}", flush=True)
    if verbose:
        for scene, lines in wrong.items():
            print(f"--- {scene}", *lines, sep="\n    ")
    return not wrong


def run(python: str, name: str, *, ours: bool) -> dict[str, list[dict[str, Any]]] | None:
    """Run the program under an instrumentation; None, with what it printed, if that failed."""
    environment = {key: value for key, value in os.environ.items() if key != "MOSS_AGENT_RUNTIME"}
    environment["STATEGRAPH_RUNTIME"] = "true" if ours else "false"
    environment["PYTHONHASHSEED"] = "0"
    with tempfile.TemporaryDirectory(prefix="instrumentation-") as folder:
        told = Path(folder) / "spans.json"
        command = [python, "-m", "tests.instrumentation.probes", name, str(told)]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=SECONDS)
        if done.returncode or not told.exists():
            print(done.stdout[-2000:], done.stderr[-4000:], file=sys.stderr)
            return None
        spans: dict[str, list[dict[str, Any]]] = json.loads(told.read_text(encoding="utf-8"))
        return spans


def difference(theirs: list[dict[str, Any]], ours: list[dict[str, Any]]) -> Iterator[str]:
    """The lines in which two lists of spans differ, drawn as trees."""
    return difflib.unified_diff(list(tree(theirs)), list(tree(ours)), "LangGraph", "here", lineterm="", n=1)


def tree(spans: list[dict[str, Any]]) -> Iterator[str]:
    """Draw spans as an indented tree without what changes from run to run."""
    known = {span["id"] for span in spans}
    children: dict[Any, list[dict[str, Any]]] = {}
    for span in spans:
        children.setdefault(span["parent"] if span["parent"] in known else None, []).append(span)

    def drawn(parent: Any, indent: str) -> list[list[str]]:
        branches = []
        for span in children.get(parent, ()):
            below = [line for branch in drawn(span["id"], indent + "  ") for line in branch]
            branches.append([f"{indent}{projected(span)}", *below])
        return sorted(branches)

    return (line for branch in drawn(None, "") for line in branch)


def projected(span: dict[str, Any]) -> str:
    """A span in one line."""
    kept = {k: _comparable(v) for k, v in span["attributes"].items() if not any(word in k.lower() for word in _UNTOLD)}
    line = f"{span['name']} [{span['status']}] {json.dumps(kept, sort_keys=True)}"
    return _PLACE.sub("", _PASSING.sub("*", line)).replace("StateGraphEngine", "Pregel")


def _comparable(value: Any) -> Any:
    """Leave out of an attribute what tells the engine only: its objects in a config, its frames in a stack trace."""
    if isinstance(value, dict):
        return {key: "*" if key.startswith("__pregel_") else _comparable(below) for key, below in value.items()}
    if isinstance(value, list):
        return [_comparable(below) for below in value]
    if isinstance(value, str) and "Traceback (most recent call last):" in value:
        return "".join(frame for frame in _FRAME.split(value) if not _FRAME.match(frame) or _PROGRAM in frame)
    return value


if __name__ == "__main__":
    sys.exit(main())
