"""`ag-ui-validate` on AG-UI, a run for each feature; the reference is `ag-ui-langgraph` on LangGraph."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.judges import servers
from tests.judges.frame import Asked, Judge, JudgeError, Verdict
from tests.server.serving import DROPPED, HOST, free_port

HERE = Path(__file__).resolve().parent
GRAPHS = ("chat", "backend", "frontend", "human", "generative", "shared", "predictive", "subgraphs")


def judge(asked: Asked) -> Sequence[Verdict]:
    """Have the validator look at each feature."""
    command = [str(asked.python), str(HERE / "drive.py"), asked.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise JudgeError(f"ag-ui-validate did not run: {done.stderr[-2000:]}")
    reports = json.loads(done.stdout)
    good = [each for each in reports if not each["errors"] and not each["warnings"]]
    events, errors = sum(each["events"] for each in reports), sum(each["errors"] for each in reports)
    warnings = sum(each["warnings"] for each in reports)
    notes = [f"{each['feature']}: {note}" for each in reports for note in each["notes"]]
    says = f"{len(good)}/{len(reports)} runs, {events} events, {errors} errors, {warnings} warnings"
    return [Verdict("ag-ui", len(good), len(reports), notes=notes, says=says)]


@contextmanager
def reference(folder: Path, python: Path) -> Iterator[str]:
    """Serve the graphs with LangGraph."""
    folder.mkdir(parents=True)
    port = free_port()
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(DROPPED)}
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [str(python), str(HERE / "reference.py"), str(port)],
            cwd=HERE,
            env=kept,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    url = f"http://{HOST}:{port}"
    try:
        end = time.monotonic() + servers.STARTING_S
        while not servers.answers(url):
            if process.poll() is not None or time.monotonic() > end:
                raise JudgeError(f"the reference did not start:\n{(folder / 'server.log').read_text()[-2000:]}")
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(30)


JUDGES = [
    Judge(
        name="ag-ui",
        judge=judge,
        graphs={name: f"{HERE / 'graphs.py'}:{name}" for name in GRAPHS},
        requirements="judges-ag-ui",
        reference=reference,
    )
]
