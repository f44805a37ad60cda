"""OpenAI's own client: the calls of `tests/server/protocols/test_openai.py`, made to a running server."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.judges.frame import ROOT, Asked, Judge, JudgeError, Verdict
from tests.server.integration import outcomes
from tests.server.serving import DROPPED

CALLS = "tests/server/protocols/test_openai.py"
#: The variable that `ADDRESS` there is read from.
ADDRESS = "STATEGRAPH_OPENAI_ADDRESS"
GRAPHS = ("agent", "branches", "expert", "counting", "asking", "failing", "slow", "deleting")
HERE = Path(__file__).resolve().parent
RUN_S = 600.0


def judge(asked: Asked) -> Sequence[Verdict]:
    """Make the calls."""
    results = asked.scratch / "results.xml"
    command = [str(asked.python), "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider"]
    command += [f"--junit-xml={results}", CALLS]
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(DROPPED)}
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**kept, ADDRESS: asked.url},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )
    if not results.exists():
        raise JudgeError(f"the calls were not made:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    found = [(test.rpartition("::")[2], passed) for test, passed in outcomes(results)]
    notes = [f"fails: {test}" for test, passed in found if not passed]
    return [Verdict("openai", sum(passed for _, passed in found), len(found), notes=notes)]


JUDGES = [
    Judge(
        name="openai",
        judge=judge,
        graphs={name: f"{HERE / 'graphs.py'}:{name}" for name in GRAPHS}
        | {"client-tool": f"{HERE / 'graphs.py'}:client_tool"},
    )
]
