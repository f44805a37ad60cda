"""LangGraph reads a thread in the middle of branches and goes on with it, and the other way round."""

import json
import os
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
BENCH_PYTHON = Path(os.environ.get("STATEGRAPH_BENCH_PYTHON") or HERE.parent.parent / ".venv-bench" / "bin" / "python")


@pytest.mark.skipif(not BENCH_PYTHON.exists(), reason="LangGraph's environment is not installed")
def test_a_thread_in_the_middle_of_branches_changes_the_engine() -> None:
    command = [str(BENCH_PYTHON), "-W", "ignore", str(HERE / "interop_program.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    log = ["a", "yes", "b", "c", "join"]
    assert json.loads(done.stdout) == {
        # What LangGraph cannot know is run again: what was behind the first node of a branch.
        "ours": {"before": ["a", "b", "c"], "after": ["b", "c", "join"], "log": log, "next": []},
        "theirs": {"before": ["a"], "after": ["b", "c", "join"], "log": log, "next": []},
    }
