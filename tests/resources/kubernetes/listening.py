"""An API server at an address of this machine, which can go away and come back."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import uvicorn

if TYPE_CHECKING:
    from pathlib import Path

    from tests.resources.kubernetes.api_server import ApiServer
    from tests.resources.kubernetes.certificates import Issued


class Listener:
    """Serves an API server at one address.

    Args:
        server: The API server.
        shows: Its certificate; None: no TLS.
        clients: The authority whose certificates clients have to show; None: none.

    Attributes:
        shows: The certificate that it shows from the next `up` on.
    """

    def __init__(self, server: ApiServer, shows: Issued | None = None, clients: Path | None = None) -> None:
        self._server = server
        self._clients = clients
        self._port = 0
        self._running: uvicorn.Server | None = None
        self._task: asyncio.Task[None] | None = None
        self._listening: socket.socket | None = None
        self.shows = shows

    @property
    def address(self) -> str:
        """Its address."""
        return f"{'http' if self.shows is None else 'https'}://127.0.0.1:{self._port}"

    async def up(self) -> None:
        """Begin to serve, at the address of before."""
        self._listening = socket.create_server(("127.0.0.1", self._port))
        self._port = self._listening.getsockname()[1]
        shows = self.shows
        config = uvicorn.Config(
            self._server.application(),
            log_level="error",
            lifespan="off",
            timeout_graceful_shutdown=1,
            ws="none",
            ssl_certfile=None if shows is None else shows.certificate,
            ssl_keyfile=None if shows is None else str(shows.key),
            ssl_ca_certs=None if self._clients is None else str(self._clients),
            ssl_cert_reqs=ssl.CERT_NONE if self._clients is None else ssl.CERT_REQUIRED,
        )
        self._running = uvicorn.Server(config)
        self._running.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        self._task = asyncio.create_task(self._running.serve([self._listening]))

    async def down(self) -> None:
        """Go away: connections are cut."""
        assert self._running is not None and self._task is not None and self._listening is not None
        self._running.should_exit = True
        self._running.force_exit = True
        await self._task
        self._listening.close()


@asynccontextmanager
async def listening(
    server: ApiServer, shows: Issued | None = None, clients: Path | None = None
) -> AsyncIterator[Listener]:
    """Serve, and yield what serves."""
    found = Listener(server, shows, clients)
    await found.up()
    try:
        yield found
    finally:
        await found.down()


@asynccontextmanager
async def serving(server: ApiServer) -> AsyncIterator[str]:
    """Serve, and yield the address."""
    async with listening(server) as found:
        yield found.address
