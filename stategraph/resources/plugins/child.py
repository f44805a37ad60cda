"""The process of a plug-in: sets its limits, connects to its host, serves the plug-in, and ends with its host.

Messages are lists in msgpack, each in a frame. Of the host: `begin`, `call`, `cancel`, `event`, `stop`. Of this
process: `ready`, `refused`, `done`, `failed`, `publish`. Values are plain: no class is made of what comes in, on
either side.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import socket
import sys
import threading
from functools import partial
from typing import Any, Final

import ormsgpack

from stategraph.resources.plugins.api import Json
from stategraph.resources.plugins.serving import Served
from stategraph.workers.process import limits
from stategraph.workers.process.frames import FrameCutter, framed

#: Seconds that calls have to end once the host is gone.
_GRACE_S: Final = 0.4

_log = logging.getLogger("stategraph.plugin")


def main(descriptor: int, parent: int, settings: dict[str, Json]) -> None:
    """Serve a plug-in until its host has no more use for it.

    Args:
        descriptor: The file descriptor of the connection.
        parent: The host's process id.
        settings: `name`; `rlimits`, soft limits by the names of the module `resource`; `sandboxed`, whether the sandbox
            ends this process with its host; `message_bytes`, the size of a message.
    """
    for name, most in settings["rlimits"].items():
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))
    connection = limits.connected(descriptor, None if settings["sandboxed"] else parent)
    connection.setblocking(False)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(message)s")
    asyncio.run(_serve(connection, settings))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # a thread of the plug-in that goes on must not keep the process alive


async def _serve(connection: socket.socket, settings: dict[str, Json]) -> None:
    loop = asyncio.get_running_loop()
    leave = asyncio.Event()
    limits.exit_on_hangup(connection, _GRACE_S, partial(loop.call_soon_threadsafe, leave.set))
    loop.add_signal_handler(signal.SIGTERM, leave.set)
    end = _End(settings["name"], settings["message_bytes"], leave)
    await loop.connect_accepted_socket(lambda: end, connection)
    await leave.wait()
    await end.close()


class _End(asyncio.Protocol):
    """This process's end of the connection."""

    def __init__(self, name: str, message_bytes: int, leave: asyncio.Event) -> None:
        self._name = name
        self._most = message_bytes
        self._leave = leave
        self._frames = FrameCutter()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._transport: asyncio.Transport | None = None
        self._served: Served | None = None
        self._calls: dict[int, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave.set()

    def data_received(self, data: bytes) -> None:
        for each in self._frames.feed(data):
            match ormsgpack.unpackb(each):
                case ["begin", target, config, granted]:
                    self._spawn(self._begin(target, config, frozenset(granted)))
                case ["call", number, kind, name, payload]:
                    task = self._calls[number] = self._spawn(self._call(number, kind, name, payload))
                    task.add_done_callback(lambda _, number=number: self._calls.pop(number, None))  # type: ignore[misc]
                case ["cancel", number] if number in self._calls:
                    self._calls[number].cancel()
                case ["event", topic, event] if self._served is not None:
                    self._spawn(self._served.hear(topic, event))
                case ["stop"]:
                    self._leave.set()

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _send(self, *message: Json) -> None:
        data = ormsgpack.packb(message)
        if len(data) > self._most:
            raise ValueError(f"it has {len(data):,} bytes; at most {self._most:,} can be sent")
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(framed(data))

    def _publish(self, topic: str, event: dict[str, Json]) -> None:
        if threading.get_ident() == self._thread:
            self._send("publish", topic, event)
        else:
            self._loop.call_soon_threadsafe(self._send, "publish", topic, event)

    async def _begin(self, target: str, config: dict[str, Json], granted: frozenset[str]) -> None:
        self._served = Served(self._name, granted, self._publish)
        try:
            offers = await self._served.begin(target, config)
            self._send("ready", offers.as_data())
        except Exception as error:  # any error of the plug-in's code
            _log.exception("the plug-in did not start")
            self._send("refused", type(error).__name__, str(error)[:4000])

    async def _call(self, number: int, kind: str, name: str, payload: Json) -> None:
        try:
            assert self._served is not None
            self._send("done", number, await self._served.call(kind, name, payload))
        except asyncio.CancelledError:
            self._send("failed", number, "CancelledError", "the call was cancelled")
        except BaseException as error:  # any error of the plug-in's code, SystemExit too
            if kind != "health":
                _log.exception("the %s '%s' failed", kind, name)
            self._send("failed", number, type(error).__name__, str(error)[:4000])

    async def close(self) -> None:
        """Cancel what runs, stop the plug-in, and send the rest."""
        for task in list(self._tasks):
            task.cancel()
        if self._served is not None:
            try:
                async with asyncio.timeout(2 * _GRACE_S):
                    await self._served.end()
            except Exception:  # any error of the plug-in's code
                _log.exception("the plug-in did not stop as it should")
        if self._transport is not None:
            self._transport.close()
