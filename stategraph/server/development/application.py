"""The chat page and LangGraph's API as one ASGI application, over the same threads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from starlette.applications import Starlette

from stategraph.dev import loading
from stategraph.dev.application import application as of_page
from stategraph.dev.target import Target
from stategraph.resources import serving
from stategraph.server import cors, errors, health, langgraph
from stategraph.server.application import Served
from stategraph.server.hosting import Hosting, opened
from stategraph.server.service.graphs import environment
from stategraph.server.service.graphs import loading as graphs
from stategraph.server.service.graphs.configuration import Configuration, read
from stategraph.server.service.graphs.declared import DeclaredGraphs
from stategraph.server.settings import Settings

if TYPE_CHECKING:
    from stategraph.dev.console.console import Console
    from stategraph.workers.registry.runs import RunRegistry

#: Seconds that runs have when the server stops or is started again: others go on with them from their checkpoints.
_DRAIN_S: Final = 1.0


def target_of(config: str | Path, files: Sequence[str] | None = None) -> tuple[Target, Configuration]:
    """Return what the page talks to, the first graph of a `langgraph.json`, and the configuration.

    Args:
        config: The file.
        files: Kinds of files that the page may send along.

    Raises:
        ConfigurationError: The configuration cannot be read, or its first graph holds no conversation.
    """
    found = read(config)
    environment.prepare(found)
    place = next(iter(found.graphs.values()))
    return loading.load(graphs.found_at(place.path, found.folder), files), found


def application(
    loaded: Target,
    store: Any = None,
    *,
    name: str = "agent",
    config: Configuration | None = None,
    origins: Sequence[str] = (),
    console: Console | None = None,
    **page: Any,
) -> Starlette:
    """Make the application of a target that was loaded.

    Args:
        loaded: What the page talks to, and a graph of LangGraph's API.
        store: As for `stategraph.dev.application.application`. The API keeps its threads there too if it is an address,
            else in a file that is deleted at the end.
        name: The id of the target's graph.
        config: Further graphs, in place of the target's.
        origins: Pages of other origins that may use the API, such as `http://localhost:*`.
        console: Shows resources, whose graphs the API serves too; None: there are none.
        **page: Further arguments of `stategraph.dev.application.application`.

    Returns:
        The application; the page alone, if the target has settings that the API does not know, such as hooks.

    Raises:
        ConfigurationError: An origin is none.
    """
    pattern = cors.pattern_of(origins)
    app = of_page(loaded, store, origins=pattern, console=console, **page)
    named: Configuration | Mapping[str, Any] = {} if config is None else config
    hosting = Served(None if config is not None else loaded, named, name, Settings()).hosting(store, drain_s=_DRAIN_S)
    if hosting is not None and console is not None:
        hosting = replace(hosting, resources=partial(_declared, console))
    if hosting is None:  # the target has settings that the API does not know, such as hooks
        return app
    for kind, handler in errors.HANDLERS.items():
        app.exception_handlers.setdefault(kind, handler)
    for each in reversed(cors.middleware(origins)):
        app.add_middleware(each.cls, *each.args, **each.kwargs)
    app.state.stopping = False
    app.router.lifespan_context = _with_api(app, hosting)
    return app


@asynccontextmanager
async def _declared(
    console: Console, url: str, *, registry: RunRegistry, **given: Any
) -> AsyncIterator[DeclaredGraphs]:
    """Yield the graphs of the console's resources, which are opened with the page."""
    del url, registry
    runtime = console.runtime
    yield DeclaredGraphs(await serving.graphs(runtime), serving.RuntimeGraphs(runtime).find)


def _with_api(app: Starlette, hosting: Hosting) -> Any:
    """Return the lifespan of an application with the routes of LangGraph's API in it."""
    of_page_alone = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(given: Starlette) -> AsyncIterator[None]:
        own = list(app.router.routes)
        async with of_page_alone(given), opened(hosting) as found:
            app.router.routes[:] = [*own, *health.routes(found.check), *langgraph.routes(found.service)]
            try:
                yield
            finally:
                app.router.routes[:] = own

    return lifespan


def name_of(target: str | None, loaded: Target) -> str:
    """Return the id of a target's graph: its name in the import path, or that of its first agent."""
    if target is not None:
        return target.rpartition(":")[2]
    return next(iter(loaded.agents), "agent")
