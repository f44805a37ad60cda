"""The process that reconciles is killed at some points; `make resource-kills` takes all of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_a_killed_controller_leaves_nothing_that_the_next_one_does_not_finish() -> None:
    command = [sys.executable, "-m", "tests.resources.kills", "--points", "3", "--seed", "4"]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 trials" in done.stdout
