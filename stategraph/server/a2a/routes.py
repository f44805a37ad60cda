"""The routes of the protocol, and its gRPC server.

    /.well-known/agent-card.json                     the card of the default assistant, or of `?assistant_id=`
    /a2a/{assistant_id}/.well-known/agent-card.json  of one assistant
    /a2a/{assistant_id}                              JSON-RPC
    /a2a/{assistant_id}/message:send ...             REST

The package `a2a-sdk` is imported in a thread with the first request, as that takes 1.8 s: a server that nobody speaks
to in this protocol starts without it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

import anyio.to_thread
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from stategraph.server.a2a.settings import A2aSettings
from stategraph.server.service.port import Caller, NotFoundError, Service

if TYPE_CHECKING:
    from stategraph.server.a2a.bindings import Bindings, GrpcServer

_CARD: Final = "/.well-known/agent-card.json"


def routes(service: Service, settings: A2aSettings | None = None) -> list[BaseRoute]:
    """Return the routes of the protocol.

    Args:
        service: What is served.
        settings: Of the protocol.
    """
    lazily = _Lazily(service, settings or A2aSettings())
    return [
        Route(_CARD, lazily.card, methods=["GET"]),
        Route(f"/a2a/{{assistant_id}}{_CARD}", lazily.card, methods=["GET"]),
        Route("/a2a/{assistant_id}", _App(lazily), methods=["POST"]),
        Route("/a2a/{assistant_id}/{rest:path}", _App(lazily), methods=["GET", "POST", "DELETE"]),
    ]


async def grpc_server(
    service: Service,
    address: str,
    settings: A2aSettings | None = None,
    *,
    authenticate: Callable[[HTTPConnection], Awaitable[Caller]] | None = None,
    credentials: Any = None,
) -> GrpcServer:
    """Start the gRPC server.

    Args:
        service: What is served.
        address: `host:port` to listen on; port 0 takes a free one, `server.port` says which.
        settings: Of the protocol, as for `routes`.
        authenticate: Finds out who calls, by the metadata as headers; raises if it does not know. None: anybody may.
        credentials: Of the server, as `grpc.ssl_server_credentials` makes them; None: it is not encrypted.

    Returns:
        The server, which has begun; `await server.stop(grace_s)` ends it.

    Raises:
        OSError: Nobody can listen there.
    """
    bindings = await _bindings(service, settings or A2aSettings())
    return await bindings.grpc_server(address, authenticate, credentials)


class _Lazily:
    """Makes the bindings when the first request comes."""

    def __init__(self, service: Service, settings: A2aSettings) -> None:
        self._service = service
        self._settings = settings
        self._lock = asyncio.Lock()
        self._made: Bindings | None = None

    async def bindings(self) -> Bindings:
        """Return the bindings."""
        if self._made is None:
            async with self._lock:
                if self._made is None:
                    self._made = await _bindings(self._service, self._settings)
        return self._made

    async def aclose(self) -> None:
        """Stop telling clients of tasks."""
        if self._made is not None:
            made, self._made = self._made, None
            await made.aclose()

    async def card(self, request: Request) -> Response:
        """Answer with the card of an assistant."""
        assistant_id = request.path_params.get("assistant_id") or request.query_params.get("assistant_id", "")
        bindings = await self.bindings()
        try:
            return await bindings.card_answer(request, assistant_id)
        except NotFoundError as error:
            return JSONResponse({"detail": str(error)}, 404)


class _App:
    """The requests of an assistant as an ASGI application."""

    def __init__(self, lazily: _Lazily) -> None:
        self._lazily = lazily

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        bindings = await self._lazily.bindings()
        await bindings.http(scope, receive, send)

    async def aclose(self) -> None:
        """Stop telling clients of tasks."""
        await self._lazily.aclose()


async def _bindings(service: Service, settings: A2aSettings) -> Bindings:
    def load() -> Any:
        from stategraph.server.a2a import bindings  # 1.8 s

        return bindings

    module = await anyio.to_thread.run_sync(load)
    made: Bindings = module.Bindings(service, settings)
    await made.start()
    return made
