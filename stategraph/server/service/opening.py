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
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from stategraph.engine.checkpoints.saver_interfaces import Saver
from stategraph.savers.sqlite.saver import SqliteSaver
from stategraph.savers.sqlite_files import SCHEME, path_in
from stategraph.savers.urls import saver_at
from stategraph.server.service import upkeep
from stategraph.server.service.assistants import AssistantTable
from stategraph.server.service.crons import CronService
from stategraph.server.service.database import Tables
from stategraph.server.service.graphs.served import ServedGraphs
from stategraph.server.service.items import ItemStore
from stategraph.server.service.outgoing import Outgoing
from stategraph.server.service.port import Caller, Service
from stategraph.server.service.runs import hosting
from stategraph.server.service.runs.erasing import Erasing
from stategraph.server.service.runs.service import RegistryRuns
from stategraph.server.service.runs.sessions import Sessions
from stategraph.server.service.runs.webhooks import Webhooks
from stategraph.server.service.states import States
from stategraph.server.service.store import StoreService
from stategraph.server.service.threads import ThreadService
from stategraph.workers.hosted.tails import Tails
from stategraph.workers.leases import LeaseSettings
from stategraph.workers.registry.grouped import GroupedSqlite
from stategraph.workers.registry.operations import RegistryOperations
from stategraph.workers.registry.runs import RunRegistry
from stategraph.workers.wakeups.bus import Bus
from stategraph.workers.wakeups.buses import open_bus
from stategraph.workers.wakeups.sqlite import SqliteBus
from stategraph.workers.watching.watch import Watch
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """Settings of a service.

    Attributes:
        bus: As for `RunRegistry.from_url`. None: PostgreSQL's own, and for SQLite one that hears the processes of this
            machine.
        works: Whether runs are executed in this process; without, some process has to be a worker of these graphs.
        capacity: How many runs are executed here at a time.
        drain_s: Seconds that runs have at the end of the block; what has not ended then is given back.
        leases: How long the lease of a run holds, and how often it is tried; None: as everywhere.
        thread_ttl: How long threads live that nothing else is said of: `ttl` in minutes, `strategy`; None: for good.
        item_ttl: How long items of the store live: `default_ttl` in minutes, `refresh_on_read`; None: for good.
        outgoing: Sends webhooks; None: to public addresses over https alone.
        webhook_secret: Signs webhooks; empty: they are not signed.
        sessions: Say in which session each run is executed; None: runs have none.
        caller_of: Makes the caller of the runs of a schedule, see `CronService`; None: as it is stored.
        watch: Counts what happens to runs that are executed here; None: nobody does.
    """

    bus: Bus | str | None = None
    works: bool = True
    capacity: int = hosting.CAPACITY
    drain_s: float = 30.0
    leases: LeaseSettings | None = None
    thread_ttl: Mapping[str, Any] | None = None
    item_ttl: Any = None
    outgoing: Outgoing | None = None
    webhook_secret: str = field(default="", repr=False)
    sessions: Sessions | None = None
    caller_of: Callable[[Mapping[str, Any]], Caller] | None = None
    watch: Watch | None = None


@asynccontextmanager
async def open_service(
    graphs: ServedGraphs, url: str, settings: ServiceSettings | None = None
) -> AsyncIterator[OpenService]:
    """Open a service for a block.

    Args:
        graphs: What is served; they get the service's saver and store.
        url: The database: `sqlite:///runs.db` or `postgresql://...`.
        settings: Further settings.

    Yields:
        The service.

    Raises:
        ConfigurationError: The address is not understood.
        StoreUnavailableError: The database cannot be reached.
    """
    chosen = settings or ServiceSettings()
    async with AsyncExitStack() as stack:
        registry = open_registry(url, chosen.bus, chosen.leases)
        stack.push_async_callback(registry.aclose)
        await registry.set_up()
        saver = await stack.enter_async_context(saver_at(url))
        await stack.enter_async_context(stored_together(registry, saver))
        tables = Tables(registry.operations)
        await tables.set_up()
        items = ItemStore(tables, chosen.item_ttl)
        graphs.saver, graphs.store = saver, items
        assistants = AssistantTable(tables, graphs)
        await assistants.set_up()
        threads = ThreadService(tables, States(graphs, registry, saver), registry, chosen.thread_ttl)
        erasing = Erasing(registry, saver, threads)
        graphs.erase = erasing.before
        webhooks = Webhooks(registry.operations, chosen.outgoing or Outgoing(), chosen.webhook_secret)
        runs = RegistryRuns(registry, graphs, assistants, threads, erasing, webhooks, chosen.sessions)
        options = {} if chosen.caller_of is None else {"caller_of": chosen.caller_of}
        crons = CronService(tables, assistants, threads, runs, **options)
        await stack.enter_async_context(hosting.tidying(erasing))
        await stack.enter_async_context(webhooks.telling(runs))
        await stack.enter_async_context(_kept_up(crons, threads, items))
        worker = None
        if chosen.works:
            session_of = None if chosen.sessions is None else chosen.sessions.session_of
            working = hosting.working(
                registry,
                saver,
                graphs,
                capacity=chosen.capacity,
                drain_s=chosen.drain_s,
                session_of=session_of,
                watch=chosen.watch,
            )
            worker = await stack.enter_async_context(working)
        service = Service(graphs, runs, assistants, threads, StoreService(items), crons)
        yield OpenService(service, registry, worker)


def open_registry(url: str, bus: Bus | str | None = None, leases: LeaseSettings | None = None) -> RunRegistry:
    """Return the registry of a service or of its workers: with events at hand for readers of the same process.

    One in a file hears the other processes of the machine, and flushes the commits of effects alone to the disk.

    Args:
        url: The database.
        bus: As for `RunRegistry.from_url`; None: that of the database, which a file has here as well.
        leases: How long leases last, and how often a run is tried.
    """
    if url.startswith(SCHEME):
        path = path_in(url)
        opened = open_bus(bus, url) if isinstance(bus, str) else bus or SqliteBus(path)
        registry = RunRegistry(RegistryOperations(GroupedSqlite(path, flushes=False), opened), settings=leases)
    else:
        registry = RunRegistry.from_url(url, bus=bus, settings=leases)
    registry.tails = Tails()
    return registry


@asynccontextmanager
async def stored_together(registry: RunRegistry, saver: Saver) -> AsyncIterator[None]:
    """Store the operations of a registry in a file together with a saver's saves, for a block."""
    database = registry.operations.database
    if not (isinstance(database, GroupedSqlite) and isinstance(saver, SqliteSaver)):
        yield
        return
    database.join(saver)
    try:
        yield
    finally:
        database.leave()


@asynccontextmanager
async def _kept_up(crons: CronService, threads: ThreadService, items: ItemStore) -> AsyncIterator[None]:
    """Begin what is due and delete what is over, for a block."""
    task = asyncio.create_task(upkeep.keep_up(crons, threads, items))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
