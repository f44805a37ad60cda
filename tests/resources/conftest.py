"""Stores for the tests of resources, on each database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from stategraph.resources.store.database import DatabaseStore
from stategraph.resources.store.opening import open_store
from tests.workers.conftest import postgres as postgres
from tests.workers.conftest import server as server

SEEDS = Path(__file__).parent / "manifests"


@pytest.fixture
def postgres_url(postgres: str) -> str:
    """The address of a new database of PostgreSQL."""
    return postgres


@pytest.fixture(params=["memory", "sqlite", "libsql", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a new store, of each kind."""
    if request.param == "memory":
        return "memory:"
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    return f"{request.param}:///{tmp_path}/resources.db"


Opened = Callable[[str], DatabaseStore]


@pytest.fixture
async def stores() -> AsyncIterator[Opened]:
    """Opens stores that are closed at the end of the test."""
    opened: list[DatabaseStore] = []

    def open_one(address: str) -> DatabaseStore:
        opened.append(open_store(address))
        return opened[-1]

    yield open_one
    for each in opened:
        await each.close()
