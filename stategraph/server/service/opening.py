"""A service over a database, with workers in its process or without.

```python
async with open_service(graphs, "sqlite:///runs.db") as opened:
    app.routes.extend(langgraph.routes(opened.service))
```

Any number of processes may be opened on one database (with SQLite, on one machine): each serves all runs, whoever
executes them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from stategraph.savers.sqlite_files import SCHEME, path_in
from stategraph.savers.urls import saver_at
from stategraph.server.service import upkeep
from stategraph.server.service.assistants import AssistantTable
from stategraph.server.service.crons import CronService
from stategraph.server.service.database import Tables
from stategraph.server.service.graphs.served import ServedGraphs
from stategraph.server.service.items import ItemStore
from stategraph.server.service.port import Service
from stategraph.server.service.runs import hosting
from stategraph.server.service.runs.erasing import Erasing
from stategraph.server.service.runs.service import RegistryRuns
from stategraph.server.service.states import States
from stategraph.server.service.store import StoreService
from stategraph.server.service.threads import ThreadService
from stategraph.workers.hosted.tails import Tails
from stategraph.workers.registry.operations import RegistryOperations
from stategraph.workers.registry.runs import RunRegistry
from stategraph.workers.registry.sqlite import SqliteDatabase
from stategraph.workers.wakeups.bus import Bus
from stategraph.workers.wakeups.buses import open_bus
from stategraph.workers.wakeups.sqlite import SqliteBus
from stategraph.workers.worker import Worker


@dataclass(frozen=True, slots=True)
class OpenService:
    """A service that is open.

    Attributes:
        service: What protocols call.
        registry: Its runs.
        worker: The worker in this process; `drain` has it claim nothing more. None if there is none.
    """

    service: Service
    registry: RunRegistry
    worker: Worker | None


@asynccontextmanager
async def open_service(
    graphs: ServedGraphs,
    url: str,
    *,
    bus: Bus | str | None = None,
    works: bool = True,
    capacity: int = hosting.CAPACITY,
    drain_s: float = 30.0,
    thread_ttl: Mapping[str, Any] | None = None,
    item_ttl: Any = None,
) -> AsyncIterator[OpenService]:
    """Open a service for a block.

    Args:
        graphs: What is served; they get the service's saver and store.
        url: The database: `sqlite:///runs.db` or `postgresql://...`.
        bus: As for `RunRegistry.from_url`. None: PostgreSQL's own, and for SQLite one that hears the processes of
            this machine.
        works: Whether runs are executed in this process; without, some process has to be a worker of these graphs.
        capacity: How many runs are executed here at a time.
        drain_s: Seconds that runs have at the end of the block; what has not ended then is given back.
        thread_ttl: How long threads live that nothing else is said of: `ttl` in minutes, `strategy`; None: for good.
        item_ttl: How long items of the store live: `default_ttl` in minutes, `refresh_on_read`; None: for good.

    Yields:
        The service.

    Raises:
        ConfigurationError: The address is not understood.
        StoreUnavailableError: The database cannot be reached.
    """
    async with AsyncExitStack() as stack:
        registry = _registry(url, bus)
        registry.tails = Tails()
        stack.push_async_callback(registry.aclose)
        await registry.set_up()
        saver = await stack.enter_async_context(saver_at(url))
        tables = Tables(registry.operations)
        await tables.set_up()
        items = ItemStore(tables, item_ttl)
        graphs.saver, graphs.store = saver, items
        assistants = AssistantTable(tables, graphs)
        await assistants.set_up()
        threads = ThreadService(tables, States(graphs, registry, saver), registry, thread_ttl)
        erasing = Erasing(registry, saver, threads)
        graphs.erase = erasing.before
        runs = RegistryRuns(registry, graphs, assistants, threads, erasing)
        crons = CronService(tables, assistants, threads, runs)
        await stack.enter_async_context(hosting.tidying(erasing))
        await stack.enter_async_context(_kept_up(crons, threads, items))
        worker = None
        if works:
            working = hosting.working(registry, saver, graphs, capacity=capacity, drain_s=drain_s)
            worker = await stack.enter_async_context(working)
        service = Service(graphs, runs, assistants, threads, StoreService(items), crons)
        yield OpenService(service, registry, worker)


def _registry(url: str, bus: Bus | str | None) -> RunRegistry:
    """Return the registry of a service; one in a file flushes the commits of effects alone to the disk."""
    if not url.startswith(SCHEME):
        return RunRegistry.from_url(url, bus=bus)
    path = path_in(url)
    opened = open_bus(bus, url) if isinstance(bus, str) else bus or SqliteBus(path)
    return RunRegistry(RegistryOperations(SqliteDatabase(path, flushes=False), opened))


@asynccontextmanager
async def _kept_up(crons: CronService, threads: ThreadService, items: ItemStore) -> AsyncIterator[None]:
    """Begin what is due and delete what is over, for a block."""
    task = asyncio.create_task(upkeep.keep_up(crons, threads, items))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
