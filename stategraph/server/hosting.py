"""The service of a server, opened: its database, its graphs, and what executes their runs."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from stategraph.savers.urls import saver_at
from stategraph.server.access.owners import owned_by
from stategraph.server.service.database import Tables
from stategraph.server.service.graphs.configuration import Configuration
from stategraph.server.service.graphs.declared import DeclaredGraphs
from stategraph.server.service.graphs.served import SCHEME, ServedGraphs
from stategraph.server.service.items import ItemStore
from stategraph.server.service.opening import ServiceSettings, open_registry, open_service, stored_together
from stategraph.server.service.outgoing import Outgoing
from stategraph.server.service.port import Service
from stategraph.server.service.runs.erasing import Erasing
from stategraph.server.service.runs.hosting import CAPACITY
from stategraph.server.service.runs.sessions import Sessions
from stategraph.server.service.states import States
from stategraph.server.service.threads import ThreadService
from stategraph.server.service.values import Caller
from stategraph.workers.leases import LeaseSettings
from stategraph.workers.registry.runs import RunRegistry
from stategraph.workers.watching.watch import Watch
from stategraph.workers.worker import RunNotice, Worker, WorkerSettings

#: Has the secret that webhooks are signed with.
WEBHOOK_SECRET_VARIABLE: Final = "STATEGRAPH_WEBHOOK_SECRET"

#: Seconds between two looks at how many runs wait.
_LOOK_S: Final = 1.0

#: The database of a server that forgets all.
_FORGETTING: Final = "runs.db"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosting:
    """Graphs that are served, the database, and how runs are executed.

    Attributes:
        graphs: The configuration that names the graphs, or graphs by their ids.
        store: The address of the database; None: a file that is deleted at the end.
        capacity: Runs that this process executes at a time; 0: others do.
        drain_s: Seconds that runs have at the end.
        leases: How long leases of runs last, and how often a run is tried; None: as everywhere.
        sessions: Say in which session each run is executed; None: runs have none.
        webhook_hosts: Hosts that webhooks may be sent to although they are private, or over http.
        resources: Opens what is declared, with the address of the database and what controllers are given, for as long
            as the server lives: graphs by their ids, beside the others.
        nats: The address of a NATS server that wakes workers and readers; empty: the database's own way.
        beside: Runs as a task beside the service, and is cancelled with it, such as what starts processes of workers.
        watch: Figures and probes of this process; None: it has none.
        queues: The queues that a process without a service claims runs from.
    """

    graphs: Configuration | Mapping[str, Any]
    store: str | None = None
    resources: Callable[..., AbstractAsyncContextManager[DeclaredGraphs]] | None = field(default=None, repr=False)
    capacity: int = CAPACITY
    drain_s: float = 30.0
    leases: LeaseSettings | None = None
    sessions: Sessions | None = None
    webhook_hosts: Collection[str] = ()
    nats: str = field(default="", repr=False)
    beside: Callable[[str], Awaitable[None]] | None = field(default=None, repr=False)
    watch: Watch | None = field(default=None, repr=False)
    queues: Sequence[str] = ("default",)


@dataclass(slots=True)
class Opened:
    """A service, and figures of it.

    Attributes:
        service: The service.
        waiting: How many runs wait, as of a second ago.
        oldest_s: For how many seconds the first of them has.
        check: Asks the database something.
        worker: Executes runs in this process; None: others do.
    """

    service: Service
    check: Callable[[], Awaitable[object]]
    waiting: int = 0
    oldest_s: float = 0.0
    worker: Worker | None = None

    def busy(self) -> int:
        """Return how many runs this process executes."""
        return 0 if self.worker is None else self.worker.health().busy

    def drain(self) -> None:
        """Have this process begin no more runs."""
        if self.worker is not None:
            self.worker.drain()

    def stop(self) -> None:
        """Give the runs back that this process executes; others go on with them from their checkpoints."""
        if self.worker is not None:
            self.worker.stop()


@asynccontextmanager
async def opened(hosting: Hosting) -> AsyncIterator[Opened]:
    """Open the service for a block, and execute runs.

    Raises:
        ConfigurationError: A graph cannot be imported, or the database is none.
    """
    async with AsyncExitStack() as stack:
        url = hosting.store
        if url is None:
            folder = await asyncio.to_thread(tempfile.TemporaryDirectory, prefix="stategraph-server-")
            stack.push_async_callback(asyncio.to_thread, folder.cleanup)
            url = f"sqlite:///{Path(folder.name) / _FORGETTING}"
        graphs = await asyncio.to_thread(_graphs, hosting.graphs, None, None)
        ready = await stack.enter_async_context(_declared(hosting, url, graphs))
        service = await stack.enter_async_context(
            open_service(
                graphs,
                url,
                ServiceSettings(
                    bus=hosting.nats or None,
                    works=bool(hosting.capacity),
                    capacity=hosting.capacity,
                    drain_s=hosting.drain_s,
                    leases=hosting.leases,
                    sessions=hosting.sessions,
                    item_ttl=_ttl_of_items(hosting),
                    outgoing=Outgoing(hosting.webhook_hosts),
                    webhook_secret=os.environ.get(WEBHOOK_SECRET_VARIABLE, ""),
                    caller_of=caller_of_cron,
                    watch=hosting.watch,
                ),
            )
        )
        ready.set()
        registry = service.registry
        found = Opened(
            service.service, check=lambda: asyncio.to_thread(registry.operations.waiting), worker=service.worker
        )
        await stack.enter_async_context(_beside(_looking(found, registry)))
        if hosting.watch is not None:
            await stack.enter_async_context(hosting.watch.watching(registry.operations))
        if hosting.beside is not None:
            await stack.enter_async_context(_beside(hosting.beside(url)))
        yield found


async def executing(
    hosting: Hosting,
    run: Callable[[Worker], Awaitable[None]],
    observer: Callable[[RunNotice], None] | None = None,
) -> None:
    """Execute runs of a server's graphs, without its service.

    Args:
        hosting: Which graphs, and where runs are kept; an address is needed.
        run: Runs the worker.
        observer: Is told of each run.

    Raises:
        ConfigurationError: A graph cannot be imported, or the database is none.
    """
    url = hosting.store or ""
    registry = open_registry(url, hosting.nats or None, hosting.leases)
    try:
        await registry.set_up()
        async with AsyncExitStack() as stack:
            saver = await stack.enter_async_context(saver_at(url))
            await stack.enter_async_context(stored_together(registry, saver))
            tables = Tables(registry.operations)
            await tables.set_up()
            store = ItemStore(tables, _ttl_of_items(hosting))
            graphs = await asyncio.to_thread(_graphs, hosting.graphs, saver, store)
            ready = await stack.enter_async_context(_declared(hosting, url, graphs))
            threads = ThreadService(tables, States(graphs, registry, saver), registry)
            graphs.erase = Erasing(registry, saver, threads).before
            ready.set()
            settings = WorkerSettings([SCHEME], tuple(hosting.queues), hosting.capacity, drain_s=hosting.drain_s)
            session_of = None if hosting.sessions is None else hosting.sessions.session_of
            if hosting.watch is not None:
                await stack.enter_async_context(hosting.watch.watching(registry.operations))
            await run(Worker(registry, saver, settings, observer, session_of, graphs))
    finally:
        await registry.aclose()


def _ttl_of_items(hosting: Hosting) -> Any:
    return (hosting.graphs.store.get("ttl") or None) if isinstance(hosting.graphs, Configuration) else None


@dataclass(frozen=True, slots=True)
class _ServedWhenReady:
    """Finds served graphs for Workers that are declared, which run before the server does; a `GraphSource`."""

    graphs: ServedGraphs
    ready: asyncio.Event

    async def find(self, target: str) -> Any:
        """Return what makes the graph of a run, once the server is open; see `GraphSource.find`."""
        await self.ready.wait()
        return await self.graphs.find(target)


@asynccontextmanager
async def _declared(hosting: Hosting, url: str, graphs: ServedGraphs) -> AsyncIterator[asyncio.Event]:
    """Reconcile what is declared for a block, and serve its graphs; with a registry of its own on the same database.

    Yields:
        What is to be set once the graphs are equipped: runs of served graphs that declared Workers claim wait for it.
    """
    ready = asyncio.Event()
    if hosting.resources is None:
        yield ready
        return
    registry = open_registry(url, hosting.nats or None, hosting.leases)
    try:
        session_of = None if hosting.sessions is None else hosting.sessions.session_of
        served = _ServedWhenReady(graphs, ready)
        async with hosting.resources(url, registry=registry, served=served, session_of=session_of) as declared:
            graphs.add(declared.graphs)
            graphs.find_other = declared.find
            yield ready
    finally:
        await registry.aclose()


def _graphs(given: Configuration | Mapping[str, Any], saver: Any, store: Any) -> ServedGraphs:
    if isinstance(given, Configuration):
        return ServedGraphs.from_configuration(given, saver=saver, store=store)
    return ServedGraphs(given, saver=saver, store=store)


def caller_of_cron(stored: Mapping[str, Any]) -> Caller:
    """Return the caller of a schedule: its runs may see what its maker could."""
    caller = Caller(stored["identity"], stored["user"], tuple(stored["permissions"]))
    return replace(caller, authorize=owned_by(caller.identity)) if caller.identity else caller


async def _looking(found: Opened, registry: RunRegistry) -> None:
    """Look from time to time how many runs wait."""
    while True:
        try:
            found.waiting, found.oldest_s = await asyncio.to_thread(registry.operations.waiting)
        except Exception:  # the database is away; readiness says so
            found.waiting = 0
        await asyncio.sleep(_LOOK_S)


@asynccontextmanager
async def _beside(work: Awaitable[None]) -> AsyncIterator[None]:
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
