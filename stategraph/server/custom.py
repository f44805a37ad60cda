"""The application of a program (`http.app` of langgraph.json), and the server in it.

Rules (https://docs.langchain.com/langgraph-platform/custom-routes)
-----
* Routes of the program come first; what it has none for is the server's. Pages that FastAPI makes by itself (`/docs`,
  `/openapi.json`, `/redoc`) are the server's.
* Its middleware and its handlers of errors hold for all requests; its lifespan is around the server's.
* Its routes ask for credentials only if `http.enable_custom_route_auth` says so.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

from starlette.applications import Starlette
from starlette.routing import Mount, Route

from stategraph.errors import ConfigurationError

#: Names of the routes that FastAPI makes by itself.
_OF_FASTAPI: Final = frozenset({"openapi", "swagger_ui_html", "swagger_ui_redirect", "redoc_html"})


def within(custom: Any, server: Starlette) -> Starlette:
    """Return the application of a program with the server behind its routes.

    Args:
        custom: An application of Starlette or FastAPI; it is changed.
        server: The server.

    Raises:
        ConfigurationError: It is something else.
    """
    if not isinstance(custom, Starlette):
        raise ConfigurationError(
            f"http.app is of type {type(custom).__name__}; expected an application of FastAPI or Starlette"
        )
    routes = custom.router.routes
    routes[:] = [each for each in routes if not (isinstance(each, Route) and each.name in _OF_FASTAPI)]
    custom.router.redirect_slashes = False
    routes.append(Mount("/", app=server))
    custom.router.lifespan_context = _both(custom.router.lifespan_context, server)
    return custom


def _both(outer: Callable[[Any], AbstractAsyncContextManager[Any]], server: Starlette) -> Any:
    """Return a lifespan of the program's around that of the server."""

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[Any]:
        async with outer(app) as state, server.router.lifespan_context(server):
            yield state

    return lifespan
