"""The server as one ASGI application."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any, Final

from starlette.applications import Starlette
from starlette.middleware import Middleware

from stategraph.dev import loading
from stategraph.dev.application import conversations_with, on
from stategraph.dev.protection import Protection
from stategraph.dev.target import Target
from stategraph.server import cors, health
from stategraph.server.access.door import Door
from stategraph.server.access.tokens import Token
from stategraph.server.errors import HANDLERS, refusal
from stategraph.server.headers import Headers
from stategraph.server.limits import Rates, Sizes
from stategraph.server.observing import Metrics, Observing
from stategraph.server.routes import HEALTH, check_open, routes
from stategraph.server.settings import Settings

#: Paths that need no credentials.
OPEN_PATHS: Final = (HEALTH, health.OK, "/.well-known/*")


def create_app(
    target: Any = None,
    *,
    token: str | None = None,
    store: Any = None,
    files: Sequence[str] | None = None,
    allowed_hosts: Collection[str] = (),
    settings: Settings | None = None,
) -> Starlette:
    """Make the application, for any ASGI server.

    Args:
        target: An agent, agents, a graph, settings of `create_run`, or the import path of one of them, see
            `stategraph.dev.loading.load`. None: the embedded demo.
        token: Every request has it, as `Authorization: Bearer TOKEN`, unless `settings.auth` knows its sender
            otherwise. None: none is needed; then pages of other sites are kept away, as from the development server.
        store: Keeps the threads: a saver or the address of a database. None: the target's own, else memory.
        files: Kinds of files that may be sent along, such as `("text/*", "image/*")`; None: what the model's profile
            says, and texts.
        allowed_hosts: Without a token, names by which the server may be addressed, beside `localhost` and addresses.
        settings: Further settings.

    Returns:
        The application. Its lifespan opens the runtime; `state.stopping`, set to True, has it refuse what would begin.

    Raises:
        ConfigurationError: The target cannot be used, or the token is short.
    """
    return application(loading.load(target, files), store, token=token, allowed_hosts=allowed_hosts, settings=settings)


def application(
    loaded: Target,
    store: Any = None,
    *,
    token: str | None = None,
    allowed_hosts: Collection[str] = (),
    settings: Settings | None = None,
) -> Starlette:
    """Make the application of a target that was loaded; the arguments are those of `create_app`."""
    settings, metrics = settings or Settings(), Metrics()
    guards = [*outermost(settings, metrics), *innermost(settings, token, allowed_hosts)]
    served = [*health.routes(), metrics.route(), *settings.routes, *routes]
    app = on(conversations_with(loaded, store, tells_errors=True), served, guards)
    app.exception_handlers.update(HANDLERS)
    app.state.stopping = False
    app.state.conversations.check_open = partial(check_open, app)
    return app


def outermost(settings: Settings, metrics: Metrics, given: Any = None) -> list[Middleware]:
    """Return what all requests pass first, whoever sends them.

    Args:
        settings: The server's.
        metrics: Are told of requests.
        given: The section `http.cors` of langgraph.json.
    """
    return [
        Middleware(Observing, metrics=metrics, logs=settings.access_log),
        *cors.middleware(settings.cors, given),
        Middleware(Headers),
        Middleware(Sizes, limits=settings.limits),
    ]


def innermost(settings: Settings, token: str | None, allowed_hosts: Collection[str]) -> list[Middleware]:
    """Return what a request passes before it reaches an endpoint of the server."""
    authenticators = [*settings.auth, *([Token(token)] if token is not None else [])]
    if not authenticators:
        hosts = {*allowed_hosts, *settings.allowed_hosts}
        return [Middleware(Protection, hosts=hosts, origins=cors.pattern_of(settings.cors))]
    door = Middleware(Door, authenticators=authenticators, refuse=refusal, open_paths=OPEN_PATHS)
    return [door, Middleware(Rates, limits=settings.limits)]
