"""The protocols, each imported when something below its paths is asked for the first time."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from stategraph import __version__
from stategraph.errors import ConfigurationError, MissingPackageError
from stategraph.server.access.door import identified
from stategraph.server.access.port import Authenticator
from stategraph.server.service.port import Service
from stategraph.server.settings import Settings

if TYPE_CHECKING:
    from stategraph.server.a2a.settings import A2aSettings


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The server around a protocol.

    Attributes:
        service: What is served.
        settings: The server's.
        store: The address of the database; None: it is deleted at the end.
        secured: Whether requests need credentials.
        authenticators: Are asked who sends a request.
    """

    service: Service
    settings: Settings
    store: str | None = None
    secured: bool = False
    authenticators: Sequence[Authenticator] = ()


Routes = Callable[[Surroundings], list[BaseRoute]]


@dataclass(frozen=True, slots=True)
class Protocol:
    """A protocol.

    Attributes:
        load: Imports what makes its routes.
        packages: What that needs.
        paths: Where its routes are; none: at the root, so that it is imported at once.
    """

    load: Callable[[], Routes]
    packages: Sequence[str] = ()
    paths: Sequence[str] = ()


def routes_of(protocols: Sequence[str], around: Surroundings) -> Iterator[BaseRoute]:
    """Yield the routes of protocols.

    Args:
        protocols: Their names; the Run API is none of these.
        around: What is served, and how.

    Raises:
        MissingPackageError: The package of one is not installed.
    """
    for name, protocol in _PROTOCOLS.items():
        if name not in protocols:
            continue
        if any(importlib.util.find_spec(each) is None for each in protocol.packages):
            raise MissingPackageError("stategraph[server]", f"The protocol '{name}'")
        if protocol.paths:
            yield LazyRoutes(protocol, around)
        else:
            yield from protocol.load()(around)


class LazyRoutes(BaseRoute):
    """The routes of a protocol, made when one of its paths is asked for.

    Args:
        protocol: The protocol.
        around: What is served, and how.
    """

    def __init__(self, protocol: Protocol, around: Surroundings) -> None:
        self._protocol = protocol
        self._around = around
        self._made: list[BaseRoute] | None = None

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match a request, see `Route.matches`."""
        path: str = scope.get("path", "")
        if not any(path == each or path.startswith(f"{each}/") for each in self._protocol.paths):
            return Match.NONE, {}
        if self._made is None:
            self._made = self._protocol.load()(self._around)
        partial: tuple[Match, Scope] = Match.NONE, {}
        for route in self._made:
            match, child = route.matches(scope)
            if match is Match.FULL:
                return match, {**child, _ROUTE: route}
            if match is Match.PARTIAL and partial[0] is Match.NONE:
                partial = match, {**child, _ROUTE: route}
        return partial

    async def aclose(self) -> None:
        """End what the routes have begun, such as sessions."""
        for route in self._made or ():
            close = getattr(getattr(route, "endpoint", None), "aclose", None)
            if close is not None:
                await close()

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request that matched."""
        route: BaseRoute = scope[_ROUTE]
        await route.handle(scope, receive, send)


#: Where a scope has the route that matched.
_ROUTE: Final = "stategraph.server.route"


async def close(routes: Sequence[BaseRoute]) -> None:
    """End what routes have begun."""
    for each in routes:
        if isinstance(each, LazyRoutes):
            await each.aclose()


def _langgraph() -> Routes:
    from stategraph.server import langgraph

    return lambda around: langgraph.routes(around.service)


def _agui() -> Routes:
    from stategraph.server.agui.routes import routes

    return lambda around: routes(around.service)


def _vercel() -> Routes:
    from stategraph.server.vercel.routes import routes

    return lambda around: routes(around.service)


def _openai() -> Routes:
    from stategraph.server.openai.routes import routes

    return lambda around: routes(around.service)


def _a2a() -> Routes:
    from stategraph.server.a2a.routes import routes

    return lambda around: routes(around.service, _a2a_settings(around))


def _a2a_settings(around: Surroundings) -> A2aSettings:
    """Return the settings of A2A, filled up from those of the server."""
    from stategraph.server.a2a.push_keys import cipher
    from stategraph.server.a2a.push_store import DatabasePushStore
    from stategraph.server.a2a.settings import A2aSettings

    given: A2aSettings = around.settings.options.get("a2a", A2aSettings())
    store = given.push_store
    if store is None and around.store is not None:
        store = DatabasePushStore.from_url(around.store, cipher=cipher())
    return replace(
        given,
        push_hosts=[*given.push_hosts, *around.settings.webhook_hosts],
        needs_auth=given.needs_auth or around.secured,
        push_store=store,
        grpc_url=given.grpc_url or around.settings.grpc or None,
    )


@asynccontextmanager
async def beside(protocols: Sequence[str], around: Surroundings) -> AsyncIterator[None]:
    """Serve for a block what protocols have beside HTTP: A2A over gRPC, if the settings say where.

    Raises:
        ConfigurationError: Nobody can listen there.
    """
    if "a2a" not in protocols or not around.settings.grpc:
        yield
        return
    from stategraph.server.a2a.routes import grpc_server

    authenticate = partial(identified, around.authenticators) if around.secured else None
    address = around.settings.grpc
    try:
        server = await grpc_server(around.service, address, _a2a_settings(around), authenticate=authenticate)
    except OSError as error:
        raise ConfigurationError(
            f"{error}: is the port in use? Name another address in the settings (`grpc`)"
        ) from error
    try:
        yield
    finally:
        await server.stop(_GRPC_GRACE_S)


#: Seconds that calls have to end when the server stops.
_GRPC_GRACE_S: Final = 5.0


def _mcp() -> Routes:
    from stategraph.server.mcp.routes import routes
    from stategraph.server.mcp.settings import McpSettings

    def made(around: Surroundings) -> list[BaseRoute]:
        hosts = around.settings.allowed_hosts
        given: McpSettings = around.settings.options.get("mcp", McpSettings())
        settings = replace(
            given,
            version=given.version or __version__,
            allowed_hosts=[*given.allowed_hosts, *hosts, *(f"{each}:*" for each in hosts)],
            allowed_origins=[*given.allowed_origins, *around.settings.cors],
            checks_hosts=not around.secured,  # who has credentials is no page that was led here by a name
        )
        return routes(around.service, settings)

    return made


_OPENAI: Final = ("/v1/responses", "/v1/conversations", "/v1/chat", "/v1/models")

#: In the order in which paths are looked for.
_PROTOCOLS: Final[Mapping[str, Protocol]] = {
    "agui": Protocol(_agui, ("ag_ui",), ("/agui",)),
    "vercel": Protocol(_vercel, (), ("/vercel",)),
    "openai": Protocol(_openai, (), _OPENAI),
    "a2a": Protocol(_a2a, ("a2a", "grpc"), ("/a2a", "/.well-known/agent-card.json")),
    "mcp": Protocol(_mcp, ("mcp",), ("/mcp",)),
    "langgraph": Protocol(_langgraph),
}
