"""A PostgreSQL with the tables of every part, three roles, and things of three tenants in all of them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.governance.tenants.filling import Place, fill, make_tables
from tests.workers.conftest import postgres as postgres
from tests.workers.conftest import server as server


@pytest.fixture(scope="module")
def place(server: str) -> Iterator[Place]:
    """The address of the owner, and the roles of the app and of workers; filled once for a module."""
    psycopg = pytest.importorskip("psycopg")
    suffix = uuid.uuid4().hex[:12]
    name, app, workers = f"tenants_{suffix}", f"app_{suffix}", f"workers_{suffix}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        for role in (app, workers):
            connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    owner = server.replace("/postgres?", f"/{name}?")
    made = Place(owner, app, workers)
    try:
        asyncio.run(_prepared(made))
        yield made
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
            for role in (app, workers):
                connection.execute(f"DROP ROLE {role}")


async def _prepared(place: Place) -> None:
    await make_tables(place)
    await fill(place)


@pytest.fixture
def connections(place: Place) -> Iterator[Any]:
    """Connections to the database, as the owner and as the app role."""
    import psycopg

    with psycopg.connect(place.owner, autocommit=True) as owner, psycopg.connect(place.as_app) as app:
        yield owner, app
