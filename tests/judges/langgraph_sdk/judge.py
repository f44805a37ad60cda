"""The integration tests of `langgraph-sdk`, as its sdist has them, and the reference `langgraph dev`.

They are run unchanged (`tests/server/integration.py` says how). Some race by themselves, so what fails is run again, a
few times; what no server passes within these tries is left out of the figures, and named.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.conformance.suite import SuiteError, fetch
from tests.judges.frame import ROOT, Asked, Judge, JudgeError, Verdict, base_python
from tests.server import serving
from tests.server.integration import BUILD, FOLDER, ROUND_S, SDK, TEST_S, outcomes

TRIES = 4


def graphs() -> Mapping[str, str]:
    """Return the graphs of the tests."""
    folder = _suite() / "integration"
    described = json.loads((folder / "langgraph.json").read_text(encoding="utf-8"))
    return {name: str(folder / place) for name, place in described["graphs"].items()}


def _suite() -> Path:
    """Return the folder of the tests, which a Python that has pip fetches."""
    subprocess.run([base_python(), "-m", "tests.server.integration"], cwd=ROOT, stdin=subprocess.DEVNULL, check=False)
    try:
        return fetch(BUILD, SDK)
    except SuiteError as error:
        raise JudgeError(str(error)) from error


def judge(asked: Asked) -> Sequence[Verdict]:
    """Run the tests against a server."""
    found = _round(asked, [], 0)
    for number in range(1, TRIES):
        failed = [test for test, passed in found.items() if not passed]
        if not failed or len(failed) == len(found):
            break
        found |= {test: passed for test, passed in _round(asked, failed, number).items() if passed}
    notes = [f"fails: {test}" for test, passed in found.items() if not passed]
    return [Verdict("langgraph-sdk", sum(found.values()), len(found), notes=notes)]


def _round(asked: Asked, tests: Sequence[str], number: int) -> dict[str, bool]:
    results = asked.scratch / f"results-{number}.xml"
    command = [str(asked.python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "address_plugin"]
    command += [f"--timeout={TEST_S}", f"--junit-xml={results}", "-o", "junit_family=xunit1", *(tests or [FOLDER])]
    variables = {**serving.environment(asked.python, serving.ENGINES[0]), "LANGGRAPH_INTEGRATION_URL": asked.url}
    variables["PYTHONPATH"] = os.fspath(Path(serving.__file__).resolve().parent)
    done = subprocess.run(
        command, cwd=_suite(), env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=ROUND_S
    )
    (asked.scratch / f"printed-{number}.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    if not results.exists():
        raise JudgeError(f"the tests did not run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return dict(outcomes(results))


@contextmanager
def reference(folder: Path, python: Path) -> Iterator[str]:
    """Run `langgraph dev` with the same graphs on LangGraph."""
    try:
        with serving.running(python, serving.ENGINES[0], folder, graphs()) as server:
            yield server.url
    except serving.ServerError as error:
        raise JudgeError(str(error)) from error


JUDGES = [
    Judge(
        name="langgraph-sdk",
        judge=judge,
        graphs=graphs,
        requirements="server",
        server_requirements="server",
        settings=("--protocols", "langgraph"),
        reference=reference,
    )
]
