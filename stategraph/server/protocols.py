"""The protocols, each imported when something below its paths is asked for the first time."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from stategraph.errors import MissingPackageError
from stategraph.server.service.port import Service

Routes = Callable[[Service], list[BaseRoute]]


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


def routes_of(protocols: Sequence[str], service: Service) -> Iterator[BaseRoute]:
    """Yield the routes of protocols.

    Args:
        protocols: Their names; the Run API is none of these.
        service: What is served.

    Raises:
        MissingPackageError: The package of one is not installed.
    """
    for name, protocol in _PROTOCOLS.items():
        if name not in protocols:
            continue
        if any(importlib.util.find_spec(each) is None for each in protocol.packages):
            raise MissingPackageError("stategraph[server]", f"The protocol '{name}'")
        if protocol.paths:
            yield LazyRoutes(protocol, service)
        else:
            yield from protocol.load()(service)


class LazyRoutes(BaseRoute):
    """The routes of a protocol, made when one of its paths is asked for.

    Args:
        protocol: The protocol.
        service: What is served.
    """

    def __init__(self, protocol: Protocol, service: Service) -> None:
        self._protocol = protocol
        self._service = service
        self._made: list[BaseRoute] | None = None

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match a request, see `Route.matches`."""
        path: str = scope.get("path", "")
        if not any(path == each or path.startswith(f"{each}/") for each in self._protocol.paths):
            return Match.NONE, {}
        if self._made is None:
            self._made = self._protocol.load()(self._service)
        partial: tuple[Match, Scope] = Match.NONE, {}
        for route in self._made:
            match, child = route.matches(scope)
            if match is Match.FULL:
                return match, {**child, _ROUTE: route}
            if match is Match.PARTIAL and partial[0] is Match.NONE:
                partial = match, {**child, _ROUTE: route}
        return partial

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request that matched."""
        route: BaseRoute = scope[_ROUTE]
        await route.handle(scope, receive, send)


#: Where a scope has the route that matched.
_ROUTE: Final = "stategraph.server.route"


def _langgraph() -> Routes:
    from stategraph.server.langgraph import assistants, crons, info, runs, store, threads

    modules = (info, assistants, threads, crons, runs, store)  # a schedule's path would be that of a run
    return lambda service: [route for each in modules for route in each.routes(service)]


def _agui() -> Routes:
    from stategraph.server.agui.routes import routes

    return routes


def _vercel() -> Routes:
    from stategraph.server.vercel.routes import routes

    return routes


#: In the order in which paths are looked for.
_PROTOCOLS: Final[Mapping[str, Protocol]] = {
    "agui": Protocol(_agui, ("ag_ui",), ("/agui",)),
    "vercel": Protocol(_vercel, (), ("/vercel",)),
    "langgraph": Protocol(_langgraph),
}
