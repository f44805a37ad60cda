"""A short form of `make cluster`: one of three hosts is killed, one cut off for longer than a lease, one added."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster import network

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 400


def test_nothing_is_lost_or_done_twice_when_a_host_is_killed_and_one_is_cut_off() -> None:
    if why := network.unavailable():
        pytest.skip(f"no cluster: {why}")
    command = [sys.executable, "-m", "tests.cluster", "--runs", "6", "--short", "--scale", "0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S)
    if done.returncode == 2:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 runs of 6 at 3 hosts" in done.stdout
    assert "1 killed, 1 added, 1 links cut" in done.stdout
    assert "cluster: 0 faults" in done.stdout
