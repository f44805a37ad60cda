"""The development server as one ASGI application."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from stategraph.agent.limits.prices import PriceBook
from stategraph.agent.settings.limits import Prices
from stategraph.dev import loading
from stategraph.dev.changes import Changes
from stategraph.dev.conversations import Conversations
from stategraph.dev.hosting import host
from stategraph.dev.inspector import routes as inspecting
from stategraph.dev.inspector.inspector import Inspector
from stategraph.dev.protection import Protection
from stategraph.dev.replies import HANDLERS
from stategraph.dev.routes import pages, runs, threads
from stategraph.dev.target import Target

if TYPE_CHECKING:
    from stategraph.dev.console.console import Console

#: Events that are kept of a run, for readers that come later.
EVENTS_KEPT = 20_000
#: Ended runs whose events are kept.
RUNS_KEPT = 32


def create_app(
    target: Any = None,
    *,
    store: Any = None,
    files: Sequence[str] | None = None,
    allowed_hosts: Collection[str] = (),
    tells_errors: bool = True,
    edit: bool = False,
    console: Console | None = None,
) -> Starlette:
    """Make the application.

    Args:
        target: An agent, agents, a graph, settings of `create_run`, or the import path of one of them, see
            `stategraph.dev.loading.load`. None: the embedded demo.
        store: Keeps the threads: a saver or the address of a database. None: the target's own, else memory.
        files: Kinds of files that may be sent along, such as `("text/*", "image/*")`; None: what the model's profile
            says, and texts.
        allowed_hosts: Names by which the server may be addressed, beside `localhost` and addresses.
        tells_errors: Whether the page is told the texts of errors; of models and tools they may name addresses and
            prompts.
        edit: Whether the inspector may change threads: branch, edit states, run again.
        console: Shows resources; None: there are none.

    Returns:
        The application. Its lifespan opens the runtime.

    Raises:
        ConfigurationError: The target cannot be used.
    """
    loaded = loading.load(target, files)
    return application(
        loaded, store, allowed_hosts=allowed_hosts, tells_errors=tells_errors, edit=edit, console=console
    )


def application(
    loaded: Target,
    store: Any = None,
    *,
    allowed_hosts: Collection[str] = (),
    tells_errors: bool = True,
    edit: bool = False,
    origins: re.Pattern[str] | None = None,
    console: Console | None = None,
) -> Starlette:
    """Make the application of a target that was loaded; the arguments are those of `create_app`.

    `origins` matches origins of other pages that may change something; None: there are none.
    """
    conversations = conversations_with(loaded, store, tells_errors=tells_errors)
    inspector = Inspector(conversations, edits=edit, tells_errors=tells_errors)
    consoles = [] if console is None else _console_routes()
    routes = [*threads.routes, *runs.routes, *inspecting.routes, *consoles, *pages.routes]
    guard = Middleware(Protection, hosts=allowed_hosts, origins=origins)
    app = on(conversations, routes, [guard], inspector.reopen, console=console)
    app.state.inspector = inspector
    return app


def conversations_with(loaded: Target, store: Any, *, tells_errors: bool) -> Conversations:
    """Make the conversations with a target, on a runtime of their own; the arguments are those of `create_app`."""
    loaded, prices = _priced(loaded)
    runtime, loaded = host(loaded, store, runs_kept=RUNS_KEPT, event_log_size=EVENTS_KEPT)
    return Conversations(runtime, loaded, Changes(), prices, tells_errors=tells_errors)


def on(
    conversations: Conversations,
    routes: Sequence[BaseRoute],
    middleware: Sequence[Middleware],
    *reopen: Callable[[], None],
    console: Console | None = None,
) -> Starlette:
    """Make an application on conversations, which endpoints find in its state.

    Args:
        conversations: The conversations. The application's lifespan opens their runtime.
        routes: The application's routes.
        middleware: Its middleware.
        *reopen: Called before it starts, perhaps in another event loop than the time before.
        console: Reconciles resources as long as the application lives; None: there are none.
    """
    changes, runtime = conversations.changes, conversations.runtime

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        for each in (changes.reopen, *reopen):
            each()
        async with runtime, console.open() if console is not None else nullcontext():
            yield

    app = Starlette(routes=routes, middleware=middleware, exception_handlers=HANDLERS, lifespan=lifespan)
    app.state.changes = changes
    app.state.conversations = conversations
    app.state.console = console
    return app


def _console_routes() -> Sequence[BaseRoute]:
    """Return the routes of the console, which import the package of resources."""
    from stategraph.dev.console.routes import routes

    return routes


def _priced(target: Target) -> tuple[Target, PriceBook | None]:
    """Return a target with its prices, or those of the package that knows them; None: there are none."""
    if "prices" not in target.settings and importlib.util.find_spec("genai_prices") is not None:
        target = replace(target, settings={**target.settings, "prices": Prices()})
    prices = target.settings.get("prices")
    return target, None if prices is None else PriceBook.of(Prices.model_validate(prices))
