"""Stores for the tests of resources, on each database."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from stategraph.resources.store.database import DatabaseStore
from stategraph.resources.store.opening import open_store
from tests import postgres

SEEDS = Path(__file__).parent / "manifests"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The address of a PostgreSQL, for all tests of a process."""
    with tempfile.TemporaryDirectory() as scratch:
        try:
            server, address = postgres.serve_on_socket(Path(scratch))
        except postgres.UnavailableError as error:
            pytest.skip(str(error))
        try:
            yield address
        finally:
            postgres.stop(server)


@pytest.fixture
def postgres_url(postgres_server: str) -> str:
    """The address of a new database on it."""
    import psycopg

    name = f"resources_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return postgres_server.replace("/postgres?", f"/{name}?")


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
