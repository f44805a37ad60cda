"""The server on a port: from its start to the signal that ends it."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

from stategraph.dev import listening
from stategraph.errors import ConfigurationError, MissingPackageError

PORT: Final = 8000

#: Seconds that runs have to end when the server stops.
DRAIN_S: Final = 30.0

#: Seconds that open connections have, once no run goes on.
_GRACE_S: Final = 3

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


def serve(
    target: Any = None,
    *,
    host: str = "127.0.0.1",
    port: int = PORT,
    token: str | None = None,
    store: str | None = None,
    files: Sequence[str] | None = None,
    drain_s: float = DRAIN_S,
    say: Callable[[str], None] = print,
) -> None:
    """Serve the run API until the process is told to stop (SIGTERM, Ctrl-C).

    The first signal has runs come to their end, and readers read it; `/health` says so, and nothing begins any more.
    After `drain_s`, or at the second signal, runs that still go on are stopped, and their threads left unfinished.

    Args:
        target: As for `stategraph.dev.serve`.
        host: The address to listen at.
        port: The port; 0: a free one.
        token: Every request has it, as `Authorization: Bearer TOKEN`; needed if `host` is reached by other machines.
        store: As for `stategraph.dev.serve`.
        files: Kinds of files that may be sent along, such as `image/*`; None: texts, and what the model's profile says.
        drain_s: Seconds that runs have to end when the server stops.
        say: Is told what a person should know, line by line.

    Raises:
        ConfigurationError: The target cannot be used, a token is missing or short, the port is in use, or the host is
            not this machine.
        MissingPackageError: The extra `server` is not installed.
    """
    try:
        import uvicorn

        from stategraph.dev import loading
        from stategraph.dev.serving import store_of
        from stategraph.server.application import application  # Starlette, the engine and LangChain: a second
        from stategraph.server.routes import PREFIX
        from stategraph.server.stopping import ended
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn", "anyio"):
            raise
        raise MissingPackageError("stategraph[server]", "The server") from error

    if token is None and not listening.is_loopback(host):
        raise ConfigurationError(f"Other machines reach {host!r}, so the server needs a token that requests have")
    loaded = loading.load(target, files)
    app = application(loaded, store_of(loaded.settings, store), token=token, allowed_hosts={host})
    conversations = app.state.conversations
    opened = listening.listen(host, (port,))
    address = f"{listening.address_of(host, opened.getsockname()[1])}{PREFIX}"

    class Server(uvicorn.Server):
        hurry: asyncio.Event
        running_in: asyncio.AbstractEventLoop | None = None

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            self.hurry, self.running_in = asyncio.Event(), asyncio.get_running_loop()
            await super().startup(sockets)
            if not self.should_exit:
                say(f"{conversations.target.name} is served at {address}")
                say("Requests need the token." if token else "No token is needed: only this machine reaches it.")

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            if self.should_exit and self.running_in is not None:
                self.running_in.call_soon_threadsafe(self.hurry.set)
            super().handle_exit(signal.SIGTERM, frame)  # uvicorn drops connections at a second SIGINT

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            app.state.stopping = True
            if number := len(conversations.going_on()):
                say(f"Stopping: {_runs(number)} {drain_s:g} s to come to an end; a second signal stops at once.")
            if stopped := await ended(conversations, drain_s, self.hurry):
                say(f"Runs that were stopped: {stopped.runs}. Threads that can be continued: {stopped.unfinished}.")
            app.state.changes.close()
            await super().shutdown(sockets)

    settings = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=_GRACE_S, server_header=False, ws="none"
    )
    with opened, _ending_well():
        Server(settings).run([opened])


def _runs(number: int) -> str:
    return "a run has" if number == 1 else f"{number} runs have"


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
