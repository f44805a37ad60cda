"""A host on a port: from its start to the signal that ends it.

The first SIGTERM or SIGINT drains: the card and new requests are answered with 503, and turns under way come to their
end. After `drain_s`, or at the second signal, they are ended as failed.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Final

import uvicorn

from stategraph.fleet.adapters.conversations import MOST_OPEN
from stategraph.fleet.adapters.host import Host, HostSettings
from stategraph.fleet.adapters.port import Adapter, AdapterError
from stategraph.fleet.adapters.ready import READY, TOKEN_VARIABLE

#: Characters of a token, at least.
LEAST_TOKEN: Final = 16

#: Seconds that turns have to end when the host stops.
DRAIN_S: Final = 30.0

#: Seconds that connections have once no turn is under way.
_GRACE_S: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """Settings of a host's process.

    Attributes:
        name: The agent's name.
        host: The address to listen at.
        port: The port; 0: a free one.
        url: The address by which clients reach it; empty: that of the port.
        token: What requests have to show; empty: anybody may ask, from this machine.
        drain_s: Seconds that turns have to end when the host stops.
        with_parent: Whether the host drains when its standard input ends.
        most_conversations: Conversations that are kept open.
    """

    name: str
    host: str = "127.0.0.1"
    port: int = 0
    url: str = ""
    token: str = ""
    drain_s: float = DRAIN_S
    with_parent: bool = False
    most_conversations: int = MOST_OPEN


def serve(adapter: Adapter, serving: Serving, say: Callable[[str], None]) -> None:
    """Serve an agent until the process is told to stop.

    Args:
        adapter: The agent.
        serving: Settings.
        say: Is told the line that begins with `READY` once requests are taken.

    Raises:
        AdapterError: Nothing can listen there, or other machines reach an agent that asks for no token.
    """
    _check(serving)
    with _listening(serving.host, serving.port) as opened:
        shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(serving.host, serving.host)
        place = f"[{shown}]" if ":" in shown else shown
        local = f"http://{place}:{opened.getsockname()[1]}"
        url = serving.url or local
        settings = HostSettings(
            name=serving.name, url=url, token=serving.token, most_conversations=serving.most_conversations
        )
        server = _Server(Host(adapter, settings), serving, say, {"url": url, "local": local})
        with _ending_well():
            server.run([opened])


class _Server(uvicorn.Server):
    def __init__(self, host: Host, serving: Serving, say: Callable[[str], None], places: Mapping[str, str]) -> None:
        super().__init__(
            uvicorn.Config(
                host.app,
                log_level="warning",
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=_GRACE_S,
                server_header=False,
                ws="none",
            )
        )
        self._host = host
        self._serving = serving
        self._say = say
        self._places = places
        self._loop: asyncio.AbstractEventLoop | None = None
        self._draining: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if self._serving.with_parent:
            threading.Thread(target=self._follow_parent, name="stategraph parent", daemon=True).start()
        self._say(READY + json.dumps({**self._places, "pid": os.getpid()}))

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # Not the base's: with `should_exit`, streams would end before their turns do.
        del sig, frame
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop)
        else:
            self.should_exit = True

    def _stop(self) -> None:
        if self._draining is None:
            self._draining = asyncio.create_task(self._drain(), name="stategraph drain")
        else:
            self._hurry.set()

    async def _drain(self) -> None:
        self._host.is_draining = True
        try:
            async with asyncio.timeout(self._serving.drain_s):
                while self._host.counter.active and not self._hurry.is_set():
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._hurry.wait(), 0.05)
        except TimeoutError:
            pass
        await self._host.stop("The agent was stopped before the turn ended")
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        await self._host.close()

    def _follow_parent(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while os.read(sys.stdin.fileno(), 4096):
                pass
        self.handle_exit(signal.SIGTERM, None)


def _check(serving: Serving) -> None:
    if serving.token and len(serving.token) < LEAST_TOKEN:
        raise AdapterError(f"The token of {TOKEN_VARIABLE} is short; expected {LEAST_TOKEN} characters or more")
    if not serving.token and not _is_loopback(serving.host):
        raise AdapterError(
            f"Other machines reach {serving.host!r}, and nothing says who may ask: set {TOKEN_VARIABLE}, or listen at "
            "127.0.0.1"
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listening(host: str, port: int) -> socket.socket:
    opened = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((host, port))
        opened.listen(128)
    except OSError as error:
        opened.close()
        raise AdapterError(f"Nothing can listen at {host}:{port}: {error}. Choose another port") from error
    return opened


@contextlib.contextmanager
def _ending_well() -> Iterator[None]:
    """Let signals that ended the host, which uvicorn raises again, end nothing else: the end was asked for."""

    def ignore(number: int, frame: FrameType | None) -> None:
        del number, frame

    signals = (signal.SIGTERM, signal.SIGINT)
    before = {each: signal.signal(each, ignore) for each in signals}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
