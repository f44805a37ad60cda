"""Databases that the tests of workers run on: SQLite in a file, and a PostgreSQL of our own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workers import nats_server
from tests.workers.nats_server import NatsServer
from tests.workers.node_process import node_beside


@pytest.fixture(scope="session")
def server(postgres_server: str) -> str:
    """The address of the process's PostgreSQL."""
    return postgres_server


@pytest.fixture
def postgres(server: str) -> Iterator[str]:
    """The address of an empty database."""
    psycopg = pytest.importorskip("psycopg")
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    try:
        yield server.replace("/postgres?", f"/{name}?")
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database, of either kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'runs.db'}"
    address: str = request.getfixturevalue("postgres")
    return address


@pytest.fixture(scope="session")
def nats_running() -> Iterator[NatsServer]:
    """A NATS server, for all tests of a process."""
    try:
        nats_server.program()
    except nats_server.UnavailableError as error:
        pytest.skip(str(error))
    with nats_server.serving() as server:
        yield server


@pytest.fixture
def nats_url(nats_running: NatsServer) -> str:
    """The address of a NATS server, with a namespace of its own."""
    return f"{nats_running.url}?namespace=test-{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def nats_node(nats_running: NatsServer) -> Iterator[str]:
    """The address of a NATS server with a namespace of its own, in which a node of two workers takes jobs."""
    url = f"{nats_running.url}?namespace=test-{uuid.uuid4().hex[:12]}"
    with node_beside(url, workers=2):
        yield url
