"""`python -m tests.runs`: a run of each graph, on this engine and on an installed LangGraph; prints `runs: P of N`.

    python -m tests.runs --python .venv-runs/bin/python --reference .venv-runs-reference/bin/python
    python -m tests.runs --here [--only words] [--json FILE]

The first form starts a process for each engine, which does the second.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 900


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.runs", description=__doc__)
    parser.add_argument("--python", help="the environment with the agent libraries, on this engine")
    parser.add_argument("--reference", help="the same with the original engine")
    parser.add_argument("--here", action="store_true", help="check on the engine of this process")
    parser.add_argument("--only", default="", help="graphs with these words in their names")
    parser.add_argument("--json", type=Path, help="with --here: where to write what was found")
    options = parser.parse_args()
    if options.here:
        _here(options.only, options.json)
        return 0
    found = {}
    for engine, python in (("this engine", options.python), ("LangGraph", options.reference)):
        if python:
            found |= {f"{name} ({engine})": each for name, each in _on(engine, python, options.only).items()}
    passed = [name for name, problems in found.items() if not any(problems.values())]
    for name, problems in found.items():
        marks = ", ".join(f"{check} {'ok' if not each else 'FAILED'}" for check, each in problems.items())
        print(f"{name:60} {marks}")
        for check, each in problems.items():
            for problem in each:
                print(f"    {check}: {problem}")
    print(f"runs: {len(passed)} of {len(found)}")
    return len(passed) != len(found)


def _on(engine: str, python: str, only: str) -> dict[str, dict[str, list[str]]]:
    """Check the graphs in a process of an engine."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "found.json"
        command = [python, "-m", "tests.runs", "--here", "--only", only, "--json", str(target)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
        environment["STATEGRAPH_RUNTIME"] = "true" if engine == "this engine" else "false"
        done = subprocess.run(command, cwd=ROOT, env=environment, timeout=LIMIT_S, capture_output=True, text=True)
        if done.returncode or not target.exists():
            return {"the process": {"start": [done.stderr[-2000:]]}}
        found: dict[str, dict[str, list[str]]] = json.loads(target.read_text(encoding="utf-8"))
        return found


def _here(only: str, target: Path | None) -> None:
    from tests.runs import checks
    from tests.runs.scenarios import SCENARIOS

    warnings.simplefilter("ignore")
    chosen = {name: each for name, each in SCENARIOS.items() if only in name}
    found = {name: asyncio.run(checks.checked(each)) for name, each in chosen.items()}
    with tempfile.TemporaryDirectory() as folder:
        parts = max(map(_parts, chosen.values()), default=0)
        for number in range(parts + 1):
            command = [sys.executable, "-m", "tests.runs.elsewhere", folder, str(number)]
            subprocess.run(command, cwd=ROOT, timeout=LIMIT_S, check=True)
        for name, scenario in chosen.items():
            found[name]["another process"] = asyncio.run(_joined(scenario, Path(folder), name))
    text = json.dumps(found)
    if target is None:
        print(text)
    else:
        target.write_text(text, encoding="utf-8")


def _parts(scenario: Any) -> int:
    from tests.runs import elsewhere

    return elsewhere.parts_of(scenario)


async def _joined(scenario: Any, folder: Path, name: str) -> list[str]:
    """Compare what all processes of a run told with the graph's own stream."""
    from tests.runs import checks, observe

    events: list[Any] = []
    for number in range(_parts(scenario) + 1):
        told = json.loads((folder / f"{name}.{number}.json").read_text(encoding="utf-8"))
        events += [SimpleNamespace(event=event, data=data, metadata=meta) for event, data, meta in told]
    items = [each for part in await checks.own_stream(scenario) for each in part]
    wrong = []
    wanted, found = observe.by_node_of_stream(items), observe.by_node_of_events(events)
    if wanted != found:
        wrong.append(f"the stream has {wanted}, events of all processes {found}")
    results = [one for one in observe.of_events(events) if one[0] == "result"]
    if observe.alike(results) != observe.alike(one for one in observe.of_stream(items) if one[0] == "result"):
        wrong.append(f"results: {results}")
    arguments = observe.arguments_of_stream(items)
    for call_id, args in observe.arguments_of_events(events).items():
        if call_id in arguments and arguments[call_id] != args:
            wrong.append(f"arguments of {call_id}: {args}, in the stream {arguments[call_id]}")
    opened = [each.data["id"] for each in events if each.event == "on_run_step"]
    closed = [each.data["id"] for each in events if each.event == "on_run_step_closed"]
    if sorted(opened) != sorted(closed):
        wrong.append(f"steps opened {opened}, closed {closed}")
    indices = [each.data["index"] for each in events if each.event == "on_run_step"]
    if indices != list(range(len(indices))):
        wrong.append(f"indices of steps are {indices}")
    ends = [each.data["status"] for each in events if each.event == "on_run_end"]
    if ends[-1:] != ["completed"] or "interrupted" not in ends:
        wrong.append(f"executions ended as {ends}")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
