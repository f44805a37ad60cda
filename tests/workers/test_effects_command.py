"""`python -m stategraph runs effects`, as operators use it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from stategraph.cli import main
from stategraph.workers.ledger import machine
from stategraph.workers.ledger.book import EffectBook
from stategraph.workers.ledger.machine import Claimant, EffectState
from stategraph.workers.registry.runs import RunRegistry
from tests.workers.test_command_line import Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def book(site: Site) -> Iterator[EffectBook]:
    registry = RunRegistry.from_url(site.url)
    registry.operations.set_up()
    yield EffectBook(registry.operations)
    asyncio.run(registry.aclose())


def commit(book: EffectBook, key: str, *, days: float = 0.0) -> None:
    """Commit an effect so many days ago."""
    book.claim("acme", key, "hash", Claimant("r", 1), None)
    book.tell("acme", key, machine.Settle(Claimant("r", 1), b"a secret"))
    with book._store.database.transaction() as session:
        session.change("UPDATE sg_effect SET settled_at = settled_at - ? WHERE key = ?", (days * 86_400, key))


def leave_in_doubt(book: EffectBook, key: str) -> None:
    book.claim("acme", key, "hash", Claimant("r", 1), None)
    book.tell("acme", key, machine.Doubt(Claimant("r", 1), "no answer"))
    found = book.read("acme", key)
    assert found is not None and found.state is EffectState.IN_DOUBT


def test_effects_in_doubt_are_listed_and_old_committed_ones_are_deleted(site: Site, book: EffectBook) -> None:
    assert site.run("effects") == "No effects are in doubt.\n"
    commit(book, "charge:old", days=100)
    commit(book, "charge:new", days=1)
    leave_in_doubt(book, "charge:doubt")
    with book._store.database.transaction() as session:
        session.change("UPDATE sg_effect SET claimed_at = claimed_at - 1e9")

    listed = site.run("effects")
    assert "charge:doubt" in listed and "charge:old" not in listed and "a secret" not in listed
    assert json.loads(site.run("effects", "--json")) == [
        {"tenant": "acme", "key": "charge:doubt", "run_id": "r", "external_ref": None}
    ]

    assert site.run("effects", "forget", "--older-than", "90d") == "1 effect deleted.\n"
    assert json.loads(site.run("effects", "forget", "--older-than", "90d", "--json")) == {"effects": 0}
    left = [book.read("acme", f"charge:{each}") for each in ("old", "new", "doubt")]
    assert [each is not None for each in left] == [False, True, True]


def test_an_age_without_a_unit_is_refused(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["runs", "effects", "forget", "--store", site.url, "--older-than", "90"])
    assert "'90' is no age: write a number and a unit" in capsys.readouterr().err
