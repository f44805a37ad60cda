"""Savers whose threads are looked at: in memory, SQLite, PostgreSQL, and one whose database is not known."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver

from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.savers.urls import saver_at
from tests.workers.conftest import postgres as postgres
from tests.workers.conftest import server as server


class UnknownSaver(BaseCheckpointSaver[Any]):
    """A saver of another distribution, with nothing but the interface."""

    def __init__(self) -> None:
        inner = InMemorySaver()
        super().__init__(serde=inner.serde)
        self._inner = inner
        self.aget_tuple = inner.aget_tuple  # type: ignore[method-assign]
        self.alist = inner.alist  # type: ignore[method-assign]
        self.aput = inner.aput  # type: ignore[method-assign]
        self.aput_writes = inner.aput_writes  # type: ignore[method-assign]
        self.adelete_thread = inner.adelete_thread  # type: ignore[method-assign]
        self.get_next_version = inner.get_next_version  # type: ignore[method-assign]


class Savers:
    """Opens the same saver again and again, as several processes would."""

    def __init__(self, kind: str, address: str) -> None:
        self.kind = kind
        self._address = address
        self._saver: Any = in_memory_saver() if kind == "memory" else UnknownSaver()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Any]:
        if self.kind in ("memory", "unknown"):
            yield self._saver
            return
        async with saver_at(self._address) as saver:
            yield saver


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def savers(request: pytest.FixtureRequest, tmp_path: Path) -> Savers:
    if request.param == "postgres":
        return Savers("postgres", request.getfixturevalue("postgres"))
    return Savers(request.param, f"sqlite:///{tmp_path / 'threads.db'}")


@pytest.fixture
async def saver(savers: Savers) -> AsyncIterator[Any]:
    async with savers.open() as opened:
        yield opened
