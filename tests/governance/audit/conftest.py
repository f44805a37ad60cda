"""Audit logs in each kind of storage."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from stategraph.governance.audit.storage import AuditStorage
from stategraph.governance.audit.storages.urls import storage_at
from tests.workers.conftest import server

__all__ = ["server"]


@pytest.fixture
def postgres(server: str) -> Iterator[str]:
    """The address of an empty schema, which is made sooner than a database."""
    psycopg = pytest.importorskip("psycopg")
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
        yield f"{server}&options=-csearch_path%3D{name}"
        connection.execute(f"DROP SCHEMA {name} CASCADE")


@pytest.fixture(params=["sqlite", "jsonl", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a log that is not there yet."""
    if request.param == "postgres":
        address: str = request.getfixturevalue("postgres")
        return address
    return f"{request.param}:///{tmp_path / 'audit'}"


@pytest.fixture
def storage(url: str) -> Iterator[AuditStorage]:
    """A storage without rows."""
    storage = storage_at(url)
    storage.set_up()
    yield storage
    storage.close()
