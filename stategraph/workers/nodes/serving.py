"""The process of a worker for nodes: runs one node after the other in its main thread, until it is told to stop.

SIGTERM is raised as an exception where the function of the node is, so that it can clean up; SIGKILL follows.
"""

from __future__ import annotations

import contextvars
import importlib
import logging
import os
import signal
import socket
import sys
import threading
from functools import partial
from typing import Any, NoReturn

from stategraph.workers.process import limits

_log = logging.getLogger(__name__)

#: Seconds that a node has to clean up once the host is gone.
_GRACE_S = 0.4


def main(descriptor: int, parent: int, settings: dict[str, Any]) -> None:
    """Run a worker until its host has no more use for it.

    Args:
        descriptor: The file descriptor of the connection.
        parent: The host's process id.
        settings: Its name, the modules that it may import, and those to import before the first node.
    """
    connected = limits.connected(descriptor, parent)
    try:
        signal.signal(signal.SIGTERM, _stop)
        hurry = partial(signal.pthread_kill, threading.main_thread().ident or 0, signal.SIGTERM)
        limits.exit_on_hangup(connected, _GRACE_S, hurry)
        _serve(connected, settings)
    except limits.Stopped:
        pass
    except BaseException:  # the host sees an exit status, and the reason stands here
        _log.exception("Worker '%s' ends", settings["name"])
        _leave(1)
    # A thread of a node that goes on must not keep the process alive.
    _leave(0)


def _stop(*_: object) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one would end what cleans up
    raise limits.Stopped(0)


def _leave(status: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _serve(connected: socket.socket, settings: dict[str, Any]) -> None:
    from stategraph.workers.nodes.child import run_attempt  # 0.6 s: langchain-core, after the tie to the host
    from stategraph.workers.nodes.port import Connection, HungUp, NodePort
    from stategraph.workers.references import Targets
    from stategraph.workers.wire import Codec

    for module in settings["preload"]:
        try:
            importlib.import_module(module)
        except Exception:  # any error of its code: the node that needs it will report it
            _log.exception("A worker could not import '%s' ahead of its nodes", module)
    connection, targets = Connection(connected), Targets(settings["allow"])
    codec = Codec(targets)
    connection.write(("ready", os.getpid()))
    while True:
        try:
            message = connection.read()
        except HungUp:
            return
        match message:
            case ("allow", modules):
                targets.allow(modules)
            case ("node", name, trace, content):
                port = NodePort(connection, targets, codec, name)
                # In a context of its own: nothing that one node sets is seen by the next.
                contextvars.Context().run(run_attempt, port, settings["name"], name, trace, content)
            case _:  # ("stop",)
                return
