"""A short form of `make acting-kills`: processes that are killed while they act."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_each_effect_of_a_killed_process_began_in_the_log_and_none_happened_twice() -> None:
    command = [sys.executable, "-m", "tests.governance.executing.kills", "--number", "60", "--seed", "3"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"killed [1-9]\d* times", done.stdout), done.stdout
    assert "0 twice, 0 without action.started" in done.stdout
    assert "0 lost; chain: verified" in done.stdout
