"""The API: the endpoints of the development server under a prefix with the API's version, and the server's health."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stategraph.dev.replies import RefusedError, reply
from stategraph.dev.routes import pages, runs, threads
from stategraph.server.ownership import owned

#: Stands before all paths but that of the health; what is incompatible with it gets another one.
PREFIX: Final = "/v1"

HEALTH: Final = "/health"

_OF_PAGE: Final = "/api"


async def health(request: Request) -> Response:
    """Return whether the server takes requests; with status 503 if it is stopping. No token is needed."""
    stopping: bool = request.app.state.stopping
    return reply({"status": "stopping" if stopping else "ok"}, 503 if stopping else 200)


def check_open(app: Starlette) -> None:
    """Raise `RefusedError` if the server is stopping."""
    if app.state.stopping:
        raise RefusedError(503, "The server is stopping: send the request again, it may reach another one")


def _while_open(endpoint: Callable[[Request], Awaitable[Any]]) -> Callable[[Request], Awaitable[Any]]:
    """Return an endpoint that is refused while the server stops, before its body is read."""

    async def refused_at_the_end(request: Request) -> Any:
        check_open(request.app)
        return await endpoint(request)

    return refused_at_the_end


def _versioned(routes: Sequence[Route]) -> list[Route]:
    """Return routes under the prefix of this API; those that may begin something refuse that while the server stops."""
    found = []
    for each in routes:
        path = f"{PREFIX}{each.path.removeprefix(_OF_PAGE)}"
        begins = "POST" in (each.methods or ()) and not path.endswith("/stop")
        endpoint = owned(each.endpoint)
        found.append(type(each)(path, _while_open(endpoint) if begins else endpoint, methods=list(each.methods or ())))
    return found


health_route: Final = Route(HEALTH, health)

routes: Final = [
    health_route,
    *_versioned([Route("/api/info", pages.info), *threads.routes, *runs.routes]),
]
