"""The endpoint of the protocol, `/mcp`.

The package `mcp` is imported in a thread with the first request, as that takes 1.6 s: a server that nobody speaks to in
this protocol starts without it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import anyio.to_thread
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from stategraph.server.mcp.settings import McpSettings
from stategraph.server.service.port import Service

if TYPE_CHECKING:
    from stategraph.server.mcp.endpoint import Endpoint

PATH: Final = "/mcp"


def routes(service: Service, settings: McpSettings | None = None) -> list[BaseRoute]:
    """Return the routes of the protocol.

    Args:
        service: What is served.
        settings: Of the protocol.
    """
    app = _Lazily(service, settings or McpSettings())
    return [Route(path, app, methods=["GET", "POST", "DELETE"]) for path in (PATH, f"{PATH}/")]


class _Lazily:
    """The endpoint as an ASGI application that is made with the first request."""

    def __init__(self, service: Service, settings: McpSettings) -> None:
        self._service = service
        self._settings = settings
        self._lock = asyncio.Lock()
        self._made: Endpoint | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if self._made is None:
            async with self._lock:
                if self._made is None:
                    self._made = await self._make()
        await self._made(scope, receive, send)

    async def aclose(self) -> None:
        """End all sessions."""
        if self._made is not None:
            made, self._made = self._made, None
            await made.aclose()

    async def _make(self) -> Endpoint:
        def load() -> Any:
            from stategraph.server.mcp import endpoint  # 1.6 s

            return endpoint

        module = await anyio.to_thread.run_sync(load)
        made: Endpoint = module.Endpoint(self._service, self._settings)
        await made.start()
        return made
