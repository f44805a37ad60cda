"""The signal fuzzer on a store in PostgreSQL."""

from __future__ import annotations

import os

import pytest

from stategraph.testing import fuzz_signals
from tests.workers.conftest import postgres, server

__all__ = ["postgres", "server"]

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the fuzzer forks")


def test_a_graph_survives_on_postgres_and_its_threads_are_deleted(postgres: str) -> None:
    psycopg = pytest.importorskip("psycopg")
    graph = "tests.testing.fuzzed_graphs:builder"
    report = fuzz_signals(graph, {"done": []}, answers=["yes"], trials=1, store=postgres, life_s=300, seconds=300)
    assert report.state == {"done": ["first", "each a", "each b", "third"], "answer": "yes"}
    assert report.trials == 1
    with psycopg.connect(postgres) as connection:
        found = connection.execute("SELECT count(*) FROM checkpoints WHERE thread_id LIKE 'signals-%'").fetchone()
    assert found == (0,)
