"""A process that dies inside a save; `make crashes` does it a thousand times."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills processes that were forked")
def test_nothing_that_was_stored_is_lost_when_the_process_is_killed() -> None:
    command = [sys.executable, "-m", "tests.savers.crashes", "--number", "60", "--seed", "7"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing lost" in done.stdout
