"""The server on a port: from its start to the signal that ends it."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from stategraph.dev import listening
from stategraph.errors import ConfigurationError, MissingPackageError

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from stategraph.server.service.graphs.declared import Declared
    from stategraph.server.settings import Settings

#: Where clients of LangGraph's API look by default.
PORT: Final = 2024

#: Seconds that runs have to end when the server stops.
DRAIN_S: Final = 30.0

#: Seconds that open connections have, once no run goes on.
_GRACE_S: Final = 3

_NOT_ENCRYPTED: Final = (
    "Connections are not encrypted, and tokens are sent as they are: have TLS in front, or give the server a "
    "certificate ([tls] in the settings)."
)

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class OpenServerError(ConfigurationError):
    """Other machines reach a server that asks nobody who they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """Settings of who executes the runs of protocols.

    Attributes:
        capacity: Runs that the server's process executes at a time; 0: others do; None: the default.
        beside: Is called with the address of the database, and runs beside the server, such as processes of workers.
    """

    capacity: int | None = None
    beside: Callable[[str], Awaitable[None]] | None = field(default=None, repr=False)

    def options(self) -> dict[str, Any]:
        """Return the options of the application that say the same."""
        given: dict[str, Any] = {"beside": self.beside}
        return given if self.capacity is None else {**given, "capacity": self.capacity}


def serve(
    target: Any = None,
    *,
    config: str | Path | None = None,
    host: str = "127.0.0.1",
    port: int = PORT,
    token: str | None = None,
    store: str | None = None,
    files: Sequence[str] | None = None,
    drain_s: float | None = None,
    settings: Settings | None = None,
    is_open: bool = False,
    execution: Execution | None = None,
    resources: Declared | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Serve until the process is told to stop (SIGTERM, Ctrl-C).

    The first signal has runs come to their end, and readers read it; `/ok` and `/health` say so, and nothing begins
    any more. After `drain_s`, or at the second signal, runs that still go on are stopped, and their threads left
    unfinished.

    Args:
        target: As for `stategraph.dev.serve`; None, with a `config`: there is no Run API.
        config: A `langgraph.json`.
        host: The address to listen at.
        port: The port; 0: a free one.
        token: Every request has it, as `Authorization: Bearer TOKEN`.
        store: As for `stategraph.dev.serve`.
        files: Kinds of files that may be sent along, such as `image/*`; None: texts, and what the model's profile says.
        drain_s: Seconds that runs have to end when the server stops; None: what the settings say.
        settings: Further settings; authentication is needed if `host` is reached by other machines.
        is_open: Let others reach a server that asks nobody for credentials.
        execution: What executes the runs of protocols.
        resources: What is declared, whose graphs are served too; with it, there is no Run API without a `target`. None:
            what the settings say.
        say: Is told what a person should know, line by line.

    Raises:
        ConfigurationError: The target cannot be used, a token is short, the port is in use, or the host is not this
            machine.
        OpenServerError: Other machines reach the host, and nothing says who may use the server.
        MissingPackageError: The extra `server` is not installed.
    """
    try:
        import uvicorn

        from stategraph.dev import loading
        from stategraph.dev.serving import store_of
        from stategraph.server.application import Served, application, graphs_of, name_of  # a second
        from stategraph.server.network.encryption import options_of
        from stategraph.server.service.graphs.declared import Declared
        from stategraph.server.settings import Settings
        from stategraph.server.stopping import at_the_end
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn", "anyio"):
            raise
        raise MissingPackageError("stategraph[server]", "The server") from error

    chosen = settings or Settings()
    if drain_s is not None:
        chosen = replace(chosen, drain_s=drain_s)
    if resources is None and chosen.resources is not None:
        resources = Declared.said(chosen.resources)
    has_graphs = config is not None or resources is not None
    loaded = loading.load(target, files) if target is not None or not has_graphs else None
    served = Served(loaded, graphs_of(config), name_of(target, loaded), chosen, resources)
    for each in (host, *([host_of(chosen.grpc)] if chosen.grpc else [])):
        _check_reach(each, secured=served.is_secured(token), is_open=is_open)
    encrypted = options_of(chosen.tls)
    kept = store_of(loaded.settings if loaded is not None else {}, store)
    options = (execution or Execution()).options()
    whole = application(served, kept, token=token, allowed_hosts={host}, **options)
    app: Starlette = getattr(whole.state, "server", whole)
    opened = listening.listen(host, (port,))
    address = listening.address_of(host, opened.getsockname()[1], encrypted=chosen.tls is not None)

    class Server(uvicorn.Server):
        hurry: asyncio.Event
        running_in: asyncio.AbstractEventLoop | None = None

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            self.hurry, self.running_in = asyncio.Event(), asyncio.get_running_loop()
            await super().startup(sockets)
            if not self.should_exit:
                plain = not encrypted and not listening.is_loopback(host)
                for line in (*served.told(address, token), *[_NOT_ENCRYPTED] * plain):
                    say(line)

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            if self.should_exit and self.running_in is not None:
                self.running_in.call_soon_threadsafe(self.hurry.set)
            super().handle_exit(signal.SIGTERM, frame)  # uvicorn drops connections at a second SIGINT

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            app.state.stopping = True
            await at_the_end(app, chosen.drain_s, self.hurry, say)
            await super().shutdown(sockets)

    configured = uvicorn.Config(whole, **_options(chosen), **encrypted)
    with opened, _ending_well(), _failing(app), _probed(app, chosen.probes, say):
        Server(configured).run([opened])


def _options(settings: Settings) -> dict[str, Any]:
    """Return the options of uvicorn that the settings of a server say."""
    return {
        "log_level": "warning",
        "access_log": False,
        "timeout_graceful_shutdown": _GRACE_S,
        "timeout_keep_alive": settings.limits.idle_s,
        "h11_max_incomplete_event_size": settings.limits.header_bytes + 16 * 1024,
        "proxy_headers": False,  # who the peer is decides whose headers about certificates are believed
        "server_header": False,
        "ws": "websockets-sansio" if "langgraph" in settings.protocols else "none",
        "ws_max_size": settings.limits.body_bytes,
    }


@contextmanager
def _probed(app: Starlette, address: str, say: Callable[[str], None]) -> Iterator[None]:
    """Answer probes for a block, if there is an address for them."""
    if not address:
        yield
        return
    from stategraph.workers.watching.listener import listening as answering

    with answering(address, app.state.watch.answers()) as port:
        say(f"Probes and metrics are at {listening.address_of(host_of(address), port)}")
        yield


def host_of(address: str) -> str:
    """Return the host of an address such as `127.0.0.1:50051` or `[::1]:50051`."""
    return address.rpartition(":")[0].strip("[]")


def _check_reach(host: str, *, secured: bool, is_open: bool) -> None:
    """Check that a server that asks nobody who they are is reached by nobody else.

    Raises:
        OpenServerError: It is.
    """
    if not (secured or is_open or listening.is_loopback(host)):
        raise OpenServerError(
            f"Other machines reach {host!r}, so the server has to know who may use it: give it a token, or settings "
            "with authenticators. If everybody may, say so with is_open=True"
        )


@contextmanager
def _failing(app: Starlette) -> Iterator[None]:
    """Raise the error of a start that failed, where uvicorn would tell of it and exit."""

    def shown(record: logging.LogRecord) -> bool:
        del record
        return app.state.failure is None

    log = logging.getLogger("uvicorn.error")
    log.addFilter(shown)
    try:
        yield
    except SystemExit:
        if app.state.failure is None:
            raise
    finally:
        log.removeFilter(shown)
    if app.state.failure is not None:
        raise app.state.failure


@contextmanager
def _ending_well() -> Iterator[None]:
    """Let signals that ended the server, which uvicorn raises again, end nothing else: the end was asked for."""

    def ignore(number: int, frame: FrameType | None) -> None:
        del number, frame

    before = {each: signal.signal(each, ignore) for each in _SIGNALS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
