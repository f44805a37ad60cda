"""Runs of the server over a database in a file, with assistants and threads that are kept in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from stategraph.savers.urls import saver_at
from stategraph.server.service.graphs.served import ServedGraphs
from stategraph.server.service.port import Assistant, Caller, ConflictError, NotFoundError, Thread
from stategraph.server.service.runs import hosting
from stategraph.server.service.runs.erasing import Erasing
from stategraph.server.service.runs.service import RegistryRuns
from stategraph.workers.registry.runs import RunRegistry
from stategraph.workers.wakeups.local import LocalBus

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Assistants:
    """Each graph is one."""

    def __init__(self, graphs: ServedGraphs, **settings: Any) -> None:
        self._graphs = graphs
        self.settings: dict[str, Any] = {"config": {}, "context": None, **settings}

    async def to_run(self, caller: Caller, assistant_id: str) -> Assistant:
        if assistant_id not in self._graphs.ids():
            raise NotFoundError(f"no assistant {assistant_id}")
        about = {"metadata": {"created_by": "system"}, "name": assistant_id, "description": None, "version": 1}
        return Assistant(
            assistant_id=f"the-{assistant_id}",
            graph_id=assistant_id,
            created_at=NOW,
            updated_at=NOW,
            **about,
            **self.settings,
        )


class Threads:
    """Rows in memory, with owners; states are the saver's."""

    def __init__(self, registry: RunRegistry, saver: Any, graphs: ServedGraphs) -> None:
        self._registry = registry
        self._saver = saver
        self._graphs = graphs
        self.rows: dict[str, dict[str, Any]] = {}
        self.graph_of: dict[str, str] = {}

    async def create(
        self, caller: Caller, *, thread_id: Any = None, metadata: Any = None, if_exists: str = "raise", ttl: Any = None
    ) -> Thread:
        if thread_id in self.rows and if_exists == "raise":
            raise ConflictError("it is there")
        self.rows.setdefault(thread_id, {"owner": caller.identity, **(metadata or {})})
        return Thread(thread_id, NOW, NOW, None, self.rows[thread_id], {}, "idle", None, {})

    async def check(self, caller: Caller, thread_id: str, action: str, value: dict[str, Any]) -> None:
        row = self.rows.get(thread_id)
        if row is None or (caller.identity and row["owner"] != caller.identity):
            raise NotFoundError("no such thread")

    async def admit(self, caller: Caller, thread_id: str, value: dict[str, Any]) -> Callable[[Any], bool]:
        def is_there(session: Any) -> bool:
            row = self.rows.get(thread_id)
            return row is not None and (not caller.identity or row["owner"] == caller.identity)

        return is_there

    def tell(self, thread_id: str) -> None:
        pass

    def use(self, session: Any, thread_id: str, assistant: Assistant, config: Mapping[str, Any]) -> Mapping[str, Any]:
        self.graph_of[thread_id] = assistant.graph_id
        return {}

    async def delete(self, caller: Caller, thread_id: str) -> None:
        if self.rows.pop(thread_id, None) is None:
            raise NotFoundError("no such thread")
        await self._registry.erase_thread(thread_id)
        await self._saver.adelete_thread(thread_id)

    async def has_checkpoint(self, thread_id: str, checkpoint: Mapping[str, Any]) -> bool:
        place = {"configurable": {"thread_id": thread_id, "checkpoint_ns": "", **checkpoint}}
        return await self._saver.aget_tuple(place) is not None

    async def state(self, caller: Caller, thread_id: str, checkpoint: Any = None, *, subgraphs: bool = False) -> Any:
        async with self._graphs.open(self.graph_of[thread_id]) as graph:
            return await graph.aget_state({"configurable": {"thread_id": thread_id}})


@dataclass
class World:
    """Runs with all that is around them."""

    url: str
    registry: RunRegistry
    saver: Any
    graphs: ServedGraphs
    assistants: Assistants
    threads: Threads
    erasing: Erasing
    runs: RegistryRuns
    made: list[str] = field(default_factory=list)

    async def thread(self, name: str = "00000000-0000-4000-8000-000000000001", owner: str = "") -> str:
        await self.threads.create(Caller(owner), thread_id=name)
        return name

    async def history(self, thread_id: str) -> list[Any]:
        async with self.graphs.open(self.threads.graph_of[thread_id]) as graph:
            return [state async for state in graph.aget_state_history({"configurable": {"thread_id": thread_id}})]


@asynccontextmanager
async def world(url: str, graphs: Mapping[str, Any], *, works: bool = True, **settings: Any) -> AsyncIterator[World]:
    """Open runs over a database.

    Args:
        url: The database.
        graphs: The graphs.
        works: Whether a worker executes them.
        **settings: Those of all assistants.
    """
    bus = LocalBus() if url.startswith("sqlite") else None
    registry = RunRegistry.from_url(url, bus=bus)
    await registry.set_up()
    try:
        async with saver_at(url) as saver:
            served = ServedGraphs(graphs, saver=saver)
            assistants = Assistants(served, **settings)
            threads = Threads(registry, saver, served)
            erasing = Erasing(registry, saver, threads)  # type: ignore[arg-type]
            served.erase = erasing.before
            runs = RegistryRuns(registry, served, assistants, threads, erasing)  # type: ignore[arg-type]
            made = World(url, registry, saver, served, assistants, threads, erasing, runs)
            if not works:
                yield made
                return
            async with hosting.tidying(erasing), hosting.working(registry, saver, served, drain_s=0):
                yield made
    finally:
        await registry.aclose()
