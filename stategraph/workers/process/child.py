"""The process of a worker: connects to its host, runs jobs, ends when the host says so or is gone."""

from __future__ import annotations

import asyncio
import importlib
import logging
import os
import signal
import socket
import sys
from functools import partial
from typing import Any

from stategraph.workers.process import limits

_log = logging.getLogger(__name__)

#: Seconds that jobs have to clean up once the host is gone, or has sent SIGTERM.
_GRACE_S = 0.4


def main(descriptor: int, parent: int, settings: dict[str, Any]) -> None:
    """Run a worker until its host has no more use for it.

    Args:
        descriptor: The file descriptor of the connection.
        parent: The host's process id.
        settings: Its name, the modules that it may import, and those to import before the first job.
    """
    connection = limits.connected(descriptor, parent)
    connection.setblocking(False)
    asyncio.run(_serve(connection, settings))
    # A job's thread that goes on must not keep the process alive.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


async def _serve(connection: socket.socket, settings: dict[str, Any]) -> None:
    from stategraph.workers.execution import JobWorker  # 0.6 s: langchain-core, after the process is tied to its host
    from stategraph.workers.process.framing import Framed
    from stategraph.workers.references import Targets
    from stategraph.workers.wire import Message

    loop = asyncio.get_running_loop()
    leave = asyncio.Event()

    def receive(message: Message) -> None:
        if message[0] == "stop":
            leave.set()
        else:
            worker.receive(message)

    framed = Framed(receive, leave.set)
    worker = JobWorker(settings["name"], Targets(settings["allow"]), framed.send)
    limits.exit_on_hangup(connection, _GRACE_S, partial(loop.call_soon_threadsafe, leave.set))
    loop.add_signal_handler(signal.SIGTERM, leave.set)
    for module in settings["preload"]:
        _preload(module)
    await loop.connect_accepted_socket(lambda: framed, connection)
    framed.send(("ready", os.getpid()))
    await leave.wait()
    try:
        await asyncio.wait_for(worker.aclose(), _GRACE_S)
    except TimeoutError:
        _log.warning("Worker '%s' ends although a job does not", settings["name"])
    framed.close()


def _preload(module: str) -> None:
    try:
        importlib.import_module(module)
    except Exception:  # any error of its code: the job that needs it will report it
        _log.exception("A worker could not import '%s' ahead of its jobs", module)
