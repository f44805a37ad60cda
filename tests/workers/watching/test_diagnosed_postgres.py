"""`stategraph diagnose` on a PostgreSQL; the rest of it is in `tests/cli/test_diagnose.py`."""

from __future__ import annotations

import pytest

from stategraph.cli.diagnose import stores
from stategraph.cli.diagnose.findings import exit_code
from stategraph.workers.registry.runs import RunRegistry


def test_a_postgres_is_asked_for_its_clock_and_connections(postgres: str) -> None:
    RunRegistry.from_url(postgres).operations.set_up()
    found = {each.name: each for each in stores.check(postgres)}
    assert found["clock"].level == found["connections"].level == "ok"
    assert "PostgreSQL" in found["server"].found
    assert exit_code(found.values()) == 0


def test_a_clock_and_a_pool_that_are_wrong_are_found(postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    RunRegistry.from_url(postgres).operations.set_up()
    monkeypatch.setattr(stores, "SKEW_S", -1.0)
    monkeypatch.setattr(stores, "SLOW_S", 0.0)
    found = {each.name: each for each in stores.check(postgres)}
    assert found["clock"].level == found["latency"].level == "warn"
