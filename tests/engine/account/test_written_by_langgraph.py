"""Threads that LangGraph has written are explained as those of this engine are."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
BENCH_PYTHON = Path(os.environ.get("STATEGRAPH_BENCH_PYTHON") or ROOT / ".venv-bench" / "bin" / "python")


@pytest.mark.skipif(not BENCH_PYTHON.exists(), reason="LangGraph's environment is not installed")
def test_a_thread_that_langgraph_has_written_has_the_same_account() -> None:
    command = [str(BENCH_PYTHON), "-W", "ignore", str(HERE / "langgraph_program.py")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    theirs, ours = found["theirs"], found["ours"]
    assert theirs["waits"]["verdicts"] == {
        "ask": ["waits", 0, ["asks"]],
        "look": ["ran", 1, ["edge"]],
        "nested": ["did not run", 0, ["not_run"]],
        "pay": ["did not run", 0, ["not_run"]],
        "refuse": ["did not run", 0, ["elsewhere"]],
    }
    assert [status for status, *_ in theirs["ended"]["verdicts"].values()] == [
        "ran",
        "ran",
        "ran",
        "ran",
        "did not run",
    ]
    assert theirs["ended"]["writers"]["answer"][0] == ["ask"]
    assert theirs["waits alone"]["unknown"]
    assert theirs["diff"]
    for moment in ("waits", "waits alone", "ended", "ended alone"):
        assert theirs[moment] == ours[moment], moment
    assert "pay ran" in theirs["text"]
