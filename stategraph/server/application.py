"""The server as one ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from stategraph.dev import loading
from stategraph.dev.application import conversations_with
from stategraph.dev.changes import Changes
from stategraph.dev.conversations import Conversations
from stategraph.dev.protection import Protection
from stategraph.dev.target import Target
from stategraph.errors import ConfigurationError
from stategraph.server import cors, custom, health
from stategraph.server.access.door import Door
from stategraph.server.access.port import Authenticator
from stategraph.server.access.tokens import Token
from stategraph.server.errors import HANDLERS, refusal
from stategraph.server.faults import Faults
from stategraph.server.headers import Headers
from stategraph.server.hosting import Hosting, Opened, opened
from stategraph.server.limits import Rates, Sizes
from stategraph.server.network.announcing import Announcer, directory_at
from stategraph.server.observing import Metrics, Observing
from stategraph.server.openapi import document
from stategraph.server.protocols import Surroundings, beside, close, routes_of
from stategraph.server.queueing import bounded
from stategraph.server.routes import HEALTH, check_open, health_route, routes
from stategraph.server.service.graphs import configuration as langgraph_json
from stategraph.server.service.graphs.configuration import Configuration
from stategraph.server.service.graphs.declared import Declared
from stategraph.server.service.graphs.loading import found_at, usable
from stategraph.server.service.runs.sessions import Sessions
from stategraph.server.settings import Settings
from stategraph.server.streams import Endings, OpenStreams
from stategraph.workers.watching.watch import Watch

#: Paths that need no credentials.
OPEN_PATHS: Final = (HEALTH, health.OK, "/.well-known/*")


def create_app(
    target: Any = None,
    *,
    config: str | Path | Mapping[str, Any] | None = None,
    token: str | None = None,
    store: Any = None,
    files: Sequence[str] | None = None,
    allowed_hosts: Collection[str] = (),
    settings: Settings | None = None,
) -> Starlette:
    """Make the application, for any ASGI server.

    Args:
        target: An agent, agents, a graph, settings of `create_run`, or the import path of one of them, see
            `stategraph.dev.loading.load`: what the Run API talks to, and a graph of the other protocols. None, and no
            `config`: the embedded demo.
        config: The path of a `langgraph.json`, or graphs by their ids, for the protocols.
        token: Every request has it, as `Authorization: Bearer TOKEN`, unless `settings.auth` knows its sender
            otherwise. None: none is needed; then pages of other sites are kept away, as from the development server.
        store: Keeps the threads: a saver or the address of a database. None: the target's own, else memory. Runs of the
            protocols are kept in it if it is an address, else in a file that is deleted at the end.
        files: Kinds of files that may be sent along, such as `("text/*", "image/*")`; None: what the model's profile
            says, and texts.
        allowed_hosts: Without a token, names by which the server may be addressed, beside `localhost` and addresses.
        settings: Further settings.

    Returns:
        The application. Its lifespan opens what it needs; `state.stopping`, set to True, has it refuse what would
        begin.

    Raises:
        ConfigurationError: The target or a graph cannot be used, or the token is short.
        MissingPackageError: A protocol is asked for whose package is not installed.
    """
    loaded = loading.load(target, files) if target is not None or config is None else None
    served = Served(loaded, graphs_of(config), name_of(target, loaded), settings or Settings())
    return application(served, store, token=token, allowed_hosts=allowed_hosts)


def graphs_of(config: str | Path | Mapping[str, Any] | None) -> Configuration | Mapping[str, Any]:
    """Return the graphs of a configuration; none if there is none.

    Raises:
        ConfigurationError: It cannot be read.
    """
    if config is None:
        return {}
    return config if isinstance(config, Mapping) else langgraph_json.read(config)


def name_of(target: Any, loaded: Target | None) -> str:
    """Return the id of a target's graph."""
    if isinstance(target, str):
        return target.rpartition(":")[2]
    if loaded is None:
        return ""
    agents = list(loaded.agents)
    return agents[0] if agents else (getattr(loaded.graph, "name", "") or "agent")


@dataclass(frozen=True, slots=True)
class Served:
    """Graphs and a target that a server serves.

    Attributes:
        target: What the Run API talks to; None: there is no Run API.
        graphs: A configuration with graphs, or graphs by their ids.
        name: The id of the target's graph.
        settings: The server's.
        resources: What is declared, whose graphs are served too; None: nothing is.
    """

    target: Target | None
    graphs: Configuration | Mapping[str, Any]
    name: str
    settings: Settings
    resources: Declared | None = None

    @property
    def http(self) -> Mapping[str, Any]:
        """The section `http` of langgraph.json."""
        return self.graphs.http if isinstance(self.graphs, Configuration) else {}

    def is_secured(self, token: str | None) -> bool:
        """Return whether requests need credentials."""
        own = isinstance(self.graphs, Configuration) and bool(self.graphs.auth.get("path"))
        return bool(self.settings.auth) or token is not None or own

    def told(self, address: str, token: str | None) -> list[str]:
        """Return what a person is told when the server has started."""
        declared = ["what is declared"] if self.resources is not None else []
        names = [self.target.name] if self.target is not None else [*self.graph_ids(), *declared]
        served = "is served" if len(names) == 1 else "are served"
        needs = "Requests need the token." if token else "Requests need credentials."
        free = "No token is needed: only this machine reaches it."
        return [f"{', '.join(names)} {served} at {address}", needs if self.is_secured(token) else free]

    def graph_ids(self) -> list[str]:
        """Return the ids of the graphs that are named."""
        return list(self.graphs.graphs if isinstance(self.graphs, Configuration) else self.graphs)

    def hosting(self, store: Any, **options: Any) -> Hosting | None:
        """Return what the service needs; None: there is nothing to serve but by the Run API.

        Args:
            store: The address of a database, or what is none.
            **options: As of `Hosting`.
        """
        graphs = self.graphs
        if isinstance(graphs, Mapping) and self.target is not None:
            graphs = {**_of_target(self.target, self.name), **graphs}
        if isinstance(graphs, Mapping) and not graphs and self.resources is None:
            return None
        opens = None if self.resources is None else self.resources.open
        return Hosting(graphs=graphs, store=store if isinstance(store, str) else None, resources=opens, **options)


def _of_target(target: Target, name: str) -> Mapping[str, Any]:
    """Return the graph of a target; none if it has settings that only the Run API knows, such as hooks."""
    given = target.graph if target.graph is not None else dict(target.settings)
    try:
        return {name: usable(given, name)}
    except ConfigurationError:
        return {}


def application(
    served: Served,
    store: Any = None,
    *,
    token: str | None = None,
    allowed_hosts: Collection[str] = (),
    studio: bool = False,
    **options: Any,
) -> Starlette:
    """Make the application of what was loaded.

    Args:
        served: What is served.
        store: As for `create_app`.
        token: As for `create_app`.
        allowed_hosts: As for `create_app`.
        studio: Whether LangGraph's Studio needs no credentials where `langgraph.json` names handlers.
        **options: As of `Hosting`.
    """
    settings, metrics = _with_handlers(served, studio=studio), Metrics()
    watch = Watch(metrics.text)
    metrics.more = watch.figures
    chosen = {
        "drain_s": settings.drain_s,
        "webhook_hosts": settings.webhook_hosts,
        "leases": settings.leases,
        "sessions": sessions_of(settings.sessions),
        "watch": watch,
        "nats": settings.nats,
        **options,
    }
    hosting = served.hosting(store, **chosen)
    protocols = [each for each in settings.protocols if each != "runs" and hosting is not None]
    conversations = None
    if served.target is not None and "runs" in settings.protocols:
        conversations = conversations_with(served.target, store, tells_errors=True)
        protocols.append("runs")
    found = _Application(settings, metrics, conversations, hosting, protocols)
    inner = innermost(settings, token, allowed_hosts)
    outer = outermost(settings, metrics, served.http.get("cors"))
    program = served.http.get("app")
    known = authenticators_of(settings, token)
    inner_faults = [Middleware(Faults), *inner]
    app = found.starlette(authenticators=known, middleware=inner_faults if program else [*outer, *inner_faults])
    app.state.watch = watch
    watch.ready = partial(_not_ready, app)
    if not program:
        return app
    assert isinstance(served.graphs, Configuration)
    guards = inner if served.http.get("enable_custom_route_auth") else []
    return _within(found_at(program, served.graphs.folder), app, [*outer, *guards])


def _not_ready(app: Starlette) -> str:
    """Return why a server takes no requests; an empty text: it does."""
    if app.state.stopping:
        return "it is stopping"
    return "" if app.state.is_open else "it is starting"


def _within(program: Any, app: Starlette, outer: Sequence[Middleware]) -> Starlette:
    """Return the application of a program with the server in it."""
    whole = custom.within(program, app)
    for each in reversed(outer):
        whole.add_middleware(each.cls, *each.args, **each.kwargs)
    whole.state.server = app
    return whole


def _with_handlers(served: Served, *, studio: bool) -> Settings:
    """Return the settings with the handlers that `langgraph.json` names (`auth.path`)."""
    graphs, settings = served.graphs, served.settings
    if not isinstance(graphs, Configuration) or not graphs.auth.get("path"):
        return settings
    from stategraph.server.access.handlers import Handlers  # langgraph_sdk: 0.4 s

    auth = found_at(str(graphs.auth["path"]), graphs.folder)
    handlers: Authenticator = Handlers(auth, studio=studio and not graphs.auth.get("disable_studio_auth"))
    return replace(settings, auth=(*settings.auth, handlers))


def sessions_of(given: Sessions | str | None) -> Sessions | None:
    """Return what says in which session runs are executed, imported if a text says where it is.

    Raises:
        ConfigurationError: It is not there, or is something else.
    """
    found = found_at(given, Path.cwd()) if isinstance(given, str) else given
    if found is not None and not (hasattr(found, "issue") and hasattr(found, "session_of")):
        raise ConfigurationError(
            f"The sessions {given!r} are of type {type(found).__name__}; expected a GovernedSessions, or what has its "
            "methods"
        )
    return found


class _Application:
    """Makes the routes and the lifespan of a server."""

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        conversations: Conversations | None,
        hosting: Hosting | None,
        protocols: Sequence[str],
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._conversations = conversations
        self._hosting = hosting
        self._protocols = protocols
        self._authenticators: Sequence[Authenticator] = ()
        self._opened: Opened | None = None
        self._streams = OpenStreams()

    def starlette(self, *, authenticators: Sequence[Authenticator], middleware: Sequence[Middleware]) -> Starlette:
        """Return the application."""
        self._authenticators, secured = authenticators, bool(authenticators)
        served: list[BaseRoute] = [*health.routes(self._check), self._metrics.route()]
        served += [*document.routes(self._protocols, secured=secured), *self._settings.routes]
        served += routes if self._conversations is not None else [health_route]
        app = Starlette(
            routes=served,
            middleware=[*middleware, Middleware(Endings, streams=self._streams)],
            exception_handlers=HANDLERS,
            lifespan=self._lifespan,
        )
        app.state.stopping, app.state.opened, app.state.failure = False, None, None
        app.state.announcer = None
        app.state.streams = self._streams
        app.state.is_open = False
        app.state.changes = self._conversations.changes if self._conversations is not None else Changes()
        app.state.conversations = self._conversations
        if self._conversations is not None:
            self._conversations.check_open = partial(check_open, app)
        return app

    async def _check(self) -> None:
        if self._opened is not None:
            await self._opened.check()

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Open the service and the runtime of the Run API, and add the routes of protocols."""
        app.state.changes.reopen()
        own = list(app.router.routes)
        async with AsyncExitStack() as stack:
            if self._hosting is not None:
                try:
                    found = await stack.enter_async_context(opened(self._hosting))
                except (ConfigurationError, OSError) as error:  # a database that cannot be opened is the latter
                    app.state.failure = error
                    raise
                self._opened = app.state.opened = found
                stack.callback(self._close, app)
                self._metrics.figures |= {
                    "stategraph_runs_waiting": ("Runs that wait for a worker.", lambda: found.waiting),
                    "stategraph_runs_waiting_seconds": ("Age of the oldest of them.", lambda: found.oldest_s),
                }
                service = bounded(found, self._settings.limits.queue, app)
                known = self._authenticators
                around = Surroundings(service, self._settings, self._hosting.store, bool(known), known)
                made = list(routes_of(self._protocols, around))
                app.router.routes.extend(made)
                stack.push_async_callback(close, made)
                try:
                    await stack.enter_async_context(beside(self._protocols, around))
                except ConfigurationError as error:
                    app.state.failure = error
                    raise
                if self._settings.announce is not None and "a2a" in self._protocols:
                    announcer = Announcer(
                        directory_at(self._hosting.store, self._settings.nats),
                        self._settings.announce,
                        found.service.graphs.ids,
                    )
                    stack.push_async_callback(announcer.aclose)
                    announcer.begin()
                    app.state.announcer = announcer
            if self._conversations is not None:
                await stack.enter_async_context(self._conversations.runtime)
            app.state.is_open = True
            try:
                yield
            finally:
                app.state.is_open = False
                app.router.routes[:] = own

    def _close(self, app: Starlette) -> None:
        self._opened = app.state.opened = None


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


def authenticators_of(settings: Settings, token: str | None) -> list[Authenticator]:
    """Return those that are asked who sends a request."""
    return [*settings.auth, *([Token(token)] if token is not None else [])]


def innermost(settings: Settings, token: str | None, allowed_hosts: Collection[str]) -> list[Middleware]:
    """Return what a request passes before it reaches an endpoint of the server."""
    authenticators = authenticators_of(settings, token)
    if not authenticators:
        hosts = {*allowed_hosts, *settings.allowed_hosts}
        origins = cors.pattern_of(settings.cors)
        return [Middleware(Protection, hosts=hosts, origins=origins, refuse=refusal)]
    door = Middleware(Door, authenticators=authenticators, refuse=refusal, open_paths=OPEN_PATHS)
    sockets = Middleware(cors.SocketOrigins, origins=cors.pattern_of(settings.cors))
    return [sockets, door, Middleware(Rates, limits=settings.limits)]
