"""A whole service over a database for tests, with a worker in the process or without one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from stategraph.savers.urls import saver_at
from stategraph.server.langgraph import routes
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
from stategraph.server.service.values import ANYONE, Caller, ServiceError
from stategraph.workers.registry.runs import RunRegistry
from stategraph.workers.wakeups.local import LocalBus


@dataclass(slots=True)
class Assembly:
    """The parts of a service.

    Attributes:
        assistants: Its assistants.
        threads: Its threads.
        runs: Its runs.
        crons: Its schedules.
        items: Its store, as graphs have it.
        store: The same for callers.
        tables: Its tables.
        registry: The registry of runs.
        saver: Keeps checkpoints.
        graphs: Its graphs.
        service: All of it, as protocols have it.
    """

    assistants: AssistantTable
    threads: ThreadService
    runs: RegistryRuns
    crons: CronService
    items: ItemStore
    store: StoreService
    tables: Tables
    registry: RunRegistry
    saver: Any
    graphs: ServedGraphs
    service: Service

    def app(self, caller: Caller = ANYONE) -> Starlette:
        """Return the LangGraph API for one caller."""
        found = Starlette(routes=routes(self.service), exception_handlers={ServiceError: failed})

        async def known(scope: Any, receive: Any, send: Any) -> None:
            scope["stategraph.server.caller"] = caller
            await found(scope, receive, send)

        return known  # type: ignore[return-value]

    def client(self, caller: Caller = ANYONE) -> httpx.AsyncClient:
        """Return a client of the LangGraph API for one caller."""
        transport = httpx.ASGITransport(self.app(caller))
        return httpx.AsyncClient(transport=transport, base_url="http://service", timeout=60)


async def failed(request: Request, error: Exception) -> Response:
    """Answer an error of the service."""
    assert isinstance(error, ServiceError)
    return JSONResponse({"detail": str(error)}, error.status)


@asynccontextmanager
async def assembled(
    url: str, graphs: Mapping[str, Any], *, works: bool = False, **options: Any
) -> AsyncIterator[Assembly]:
    """Open a service over the database at an address for a block.

    Args:
        url: The address.
        graphs: The graphs by their ids.
        works: Whether runs are executed.
        **options: Of the threads.
    """
    async with AsyncExitStack() as opened:
        saver = await opened.enter_async_context(saver_at(url))
        registry = RunRegistry.from_url(url, bus=LocalBus() if url.startswith("sqlite") else None)
        opened.push_async_callback(registry.aclose)
        await registry.set_up()
        tables = Tables(registry.operations)
        items = ItemStore(tables)
        served = ServedGraphs(graphs, saver=saver, store=items)
        assistants = AssistantTable(tables, served)
        threads = ThreadService(tables, States(served, registry, saver), registry, **options)
        erasing = Erasing(registry, saver, threads)
        served.erase = erasing.before
        runs = RegistryRuns(registry, served, assistants, threads, erasing)
        crons = CronService(tables, assistants, threads, runs)
        store = StoreService(items)
        service = Service(graphs=served, runs=runs, assistants=assistants, threads=threads, store=store, crons=crons)
        if works:
            await opened.enter_async_context(hosting.tidying(erasing))
            await opened.enter_async_context(hosting.working(registry, saver, served, drain_s=0))
        yield Assembly(assistants, threads, runs, crons, items, store, tables, registry, saver, served, service)
