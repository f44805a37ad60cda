"""Servers, and clients for them: with the fake service in the process, or whole at a port of this machine."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.routing import BaseRoute

from stategraph.server.application import create_app
from stategraph.server.errors import HANDLERS
from stategraph.server.service.port import Service
from tests.server.protocols.fake_service import FakeService

#: Whether the server's own application is tested in place of the fake service, over a socket.
IS_WHOLE = bool(os.environ.get("STATEGRAPH_WHOLE_SERVER"))


def app_of(service: Service, *protocols: Callable[[Service], Sequence[BaseRoute]]) -> Starlette:
    """Return an application of protocols."""
    routes = [route for each in protocols for route in each(service)]
    return Starlette(routes=routes, exception_handlers=dict(HANDLERS))


@asynccontextmanager
async def client_of(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client of an application."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://server") as client:
        yield client


@asynccontextmanager
async def serving(
    graphs: Mapping[str, Any], *protocols: Callable[[Service], Sequence[BaseRoute]]
) -> AsyncIterator[httpx.AsyncClient]:
    """Serve graphs with protocols, on the fake service; with `STATEGRAPH_WHOLE_SERVER` on the server's own."""
    if IS_WHOLE:
        with served(graphs) as address:
            async with httpx.AsyncClient(base_url=address, timeout=60) as client:
                yield client
        return
    async with client_of(app_of(FakeService(graphs).service(), *protocols)) as client:
        yield client


@contextmanager
def served(graphs: Mapping[str, Any]) -> Iterator[str]:
    """Serve graphs with all protocols at a port of this machine, in a thread, and return the address."""
    with at_port(create_app(config=graphs)) as address:
        yield address


@contextmanager
def at_port(app: Any, **options: Any) -> Iterator[str]:
    """Serve an application at a port of this machine, in a thread, and return the address."""
    config = uvicorn.Config(app, log_level="error", lifespan="on", timeout_graceful_shutdown=1, **options)
    server = uvicorn.Server(config)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def frames_of(text: str) -> list[tuple[str, str, Any]]:
    """Return the events of a body of server-sent events: id, name, and the data, as JSON if it is that."""
    found = []
    for block in text.split("\n\n"):
        fields: dict[str, str] = {}
        for line in block.splitlines():
            name, _, value = line.partition(": ")
            if name:
                fields[name] = value
        if "data" in fields:
            data = fields["data"]
            loaded = json.loads(data) if data.startswith(("{", "[{")) else data
            found.append((fields.get("id", ""), fields.get("event", ""), loaded))
    return found
