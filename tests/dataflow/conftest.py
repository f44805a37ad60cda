"""A PostgreSQL of our own, and processes that are killed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.dataflow.kills_kit import Lives
from tests.workers.conftest import postgres, server

__all__ = ["lives", "postgres", "server"]


@pytest.fixture(scope="session")
def lives() -> Iterator[Lives]:
    found = Lives()
    yield found
    found.close()
