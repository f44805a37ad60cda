"""The saver that keeps the threads of agents, workflows and networks, on the database of their resources."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.engine.checkpoints.saver_interfaces import Saver
from stategraph.resources.store.opening import MEMORY
from stategraph.savers.urls import saver_at

_LIBSQL = "libsql:"


@asynccontextmanager
async def saver_of(url: str) -> AsyncIterator[Saver]:
    """Open the saver of an address.

    Args:
        url: `memory:`, `sqlite:///app.db`, `libsql:///app.db`, whose file is one of SQLite, or `postgresql://...`.
    """
    if url.startswith(MEMORY):
        yield in_memory_saver()
        return
    async with saver_at(url.replace(_LIBSQL, "sqlite:", 1) if url.startswith(_LIBSQL) else url) as saver:
        yield saver
