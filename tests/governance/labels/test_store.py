"""Labels of conversations in a database: they grow, and stay apart."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from stategraph.governance.labels import SqlLabels


@pytest.fixture
def store(url: str) -> Iterator[SqlLabels]:
    made = SqlLabels.from_url(url)
    yield made
    made.close()


def test_labels_grow_and_stay_with_their_tenant_and_conversation(store: SqlLabels) -> None:
    assert store.read("acme", "t") == frozenset()
    store.add("acme", "t", ["internal"])
    store.add("acme", "t", ["secret", "internal", "secret"])
    store.add("acme", "t", [])
    store.add("acme", "other", ["public"])
    store.add("umbrella", "t", ["confidential"])
    assert store.read("acme", "t") == {"internal", "secret"}
    assert store.read("acme", "other") == {"public"}
    assert store.read("umbrella", "t") == {"confidential"}
    store.erase("acme", "t")
    assert store.read("acme", "t") == frozenset()
    assert store.read("umbrella", "t") == {"confidential"}


def test_another_process_finds_them(store: SqlLabels, url: str) -> None:
    store.add("acme", "t", ["secret"])
    other = SqlLabels.from_url(url)
    try:
        assert other.read("acme", "t") == {"secret"}
    finally:
        other.close()


def test_many_threads_add_at_once(store: SqlLabels) -> None:
    threads = [
        threading.Thread(target=store.add, args=("acme", "t", [f"l{n}", "shared"]), daemon=True) for n in range(6)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert store.read("acme", "t") == {"shared", *(f"l{n}" for n in range(6))}
