"""The HTTP interface of an agent that an adapter serves.

    /                                the bindings of A2A 1.0: JSON-RPC
    /.well-known/agent-card.json     the card, with an ETag
    /health                          200, or 503 while the host drains
    /statistics                      counts, as JSON

While the host drains, the card and new requests are answered with 503, so that routers go elsewhere. With a token, all
but the card and `/health` need `Authorization: Bearer TOKEN`.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes
from a2a.types import (
    AgentCapabilities,
    AgentCard,
    AgentInterface,
    AgentSkill,
    HTTPAuthSecurityScheme,
    SecurityRequirement,
    SecurityScheme,
    StringList,
)
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from stategraph.fleet.adapters.conversations import MOST_OPEN, Conversations
from stategraph.fleet.adapters.executor import Executor
from stategraph.fleet.adapters.port import Adapter
from stategraph.fleet.adapters.statistics import Counter
from stategraph.fleet.adapters.tasks import KeptTasks

CARD_PATH: Final = "/.well-known/agent-card.json"

#: Largest body of a request, in bytes.
MOST_BYTES: Final = 10 * 1024 * 1024

#: Seconds that clients may keep the card without asking.
CARD_MAX_AGE_S: Final = 30

_PUBLIC: Final = frozenset({CARD_PATH, "/health"})


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSettings:
    """Settings of a host.

    Attributes:
        name: The agent's name.
        url: The address by which clients reach it.
        token: What requests have to show; empty: anybody may ask.
        most_conversations: Conversations that are kept open.
    """

    name: str
    url: str
    token: str = ""
    most_conversations: int = MOST_OPEN


class Host:
    """Serves an agent.

    Args:
        adapter: The agent.
        settings: Settings.
        clock: Returns seconds of a clock that only goes forward.

    Attributes:
        app: The ASGI application.
        is_draining: Whether new requests are refused.
        counter: Counts.
    """

    def __init__(
        self, adapter: Adapter, settings: HostSettings, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.is_draining = False
        self.counter = Counter(clock)
        self._adapter = adapter
        self._settings = settings
        self._conversations = Conversations(adapter, settings.most_conversations)
        self._executor = Executor(self._conversations, self.counter)
        card = card_of(adapter, settings)
        self._handler = DefaultRequestHandler(self._executor, KeptTasks(), card)
        routes = [
            *create_agent_card_routes(card, cache_control=f"public, max-age={CARD_MAX_AGE_S}"),
            *create_jsonrpc_routes(self._handler, "/"),
            Route("/health", self._health),
            Route("/statistics", self._statistics),
        ]
        self.app: ASGIApp = _Entrance(Starlette(routes=routes), self, settings.token)

    async def stop(self, reason: str) -> None:
        """End all turns under way as failed.

        Args:
            reason: What their clients are told.
        """
        await self._executor.stop(reason)

    async def close(self) -> None:
        """Let go of conversations and of the agent."""
        await self._handler.aclose()
        await self._conversations.close()
        await self._adapter.close()

    async def _health(self, request: Request) -> JSONResponse:
        del request
        return JSONResponse({"status": "ok", "framework": self._adapter.framework, "version": self._adapter.version})

    async def _statistics(self, request: Request) -> JSONResponse:
        del request
        about = {"agent": self._settings.name, "framework": self._adapter.framework, "version": self._adapter.version}
        counts = self.counter.statistics().to_json()
        return JSONResponse({**about, **counts, "conversations": len(self._conversations)})


def card_of(adapter: Adapter, settings: HostSettings) -> AgentCard:
    """Return the card of an agent."""
    description = adapter.description or f"An agent of {adapter.framework} {adapter.version}".strip()
    skills = adapter.skills or {settings.name: description}  # a card has to have one
    card = AgentCard(
        name=settings.name,
        description=description,
        version=adapter.version or "0",
        supported_interfaces=[AgentInterface(url=settings.url, protocol_binding="JSONRPC", protocol_version="1.0")],
        capabilities=AgentCapabilities(streaming=True, push_notifications=False),
        default_input_modes=["text/plain", "application/json"],
        default_output_modes=["text/plain", "application/json"],
        skills=[
            AgentSkill(id=name, name=name, description=said or name, tags=[adapter.framework])
            for name, said in skills.items()
        ],
    )
    if settings.token:
        bearer = SecurityScheme(http_auth_security_scheme=HTTPAuthSecurityScheme(scheme="bearer"))
        card.security_schemes["bearer"].CopyFrom(bearer)
        card.security_requirements.append(SecurityRequirement(schemes={"bearer": StringList()}))
    return card


class _Entrance:
    """Refuses requests while the host drains, of those who have no token, and that are too large."""

    def __init__(self, app: ASGIApp, host: Host, token: str) -> None:
        self._app = app
        self._host = host
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refused = self._refused(scope, headers)
        if refused is not None:
            await refused(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refused(self, scope: Scope, headers: Headers) -> JSONResponse | None:
        path = scope["path"]
        if self._token and path not in _PUBLIC:
            scheme, _, given = headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self._token):
                answer = _error(401, "A token is needed: Authorization: Bearer TOKEN")
                answer.headers["WWW-Authenticate"] = "Bearer"
                return answer
        if self._host.is_draining and path != "/statistics":
            answer = _error(503, "The agent is stopping")
            answer.headers["Retry-After"] = "5"
            return answer
        length = headers.get("content-length")
        if length is None and scope["method"] == "POST":
            return _error(411, "The body needs a Content-Length")
        if length is not None and (not length.isdecimal() or int(length) > MOST_BYTES):
            return _error(413, f"The body is larger than {MOST_BYTES:,} bytes")
        return None


def _error(status: int, said: str) -> JSONResponse:
    return JSONResponse({"error": said}, status)
