"""A server on SQLite that is killed while runs are submitted to it."""

from __future__ import annotations

from pathlib import Path

from tests.server.replicas import alone


def test_every_run_that_was_acknowledged_before_a_kill_ends_once(tmp_path: Path) -> None:
    told = alone.tried(tmp_path, 50, "short")
    assert told.acknowledged
    assert told.wrong == []
