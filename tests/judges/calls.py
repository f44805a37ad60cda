"""Tests of this project that use a client of others, run against a server that is there already."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping

from tests.judges.frame import ROOT, Asked, JudgeError
from tests.server.integration import outcomes
from tests.server.serving import DROPPED

RUN_S = 600.0


def made(asked: Asked, file: str, variables: Mapping[str, str]) -> list[tuple[str, bool]]:
    """Run a file of tests, and return their names and whether they passed.

    Args:
        asked: Who is asked; the tests run in the judge's environment.
        file: The tests, from the root of the repository.
        variables: By which the tests know where the server is.

    Raises:
        JudgeError: They did not run.
    """
    results = asked.scratch / "results.xml"
    command = [str(asked.python), "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", f"--junit-xml={results}", file]
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(DROPPED)}
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**kept, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )
    if not results.exists():
        raise JudgeError(f"the calls were not made:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return [(test.rpartition("::")[2], passed) for test, passed in outcomes(results)]
