"""Commands as processes that begin where their imports have been made.

Rules
-----
* Importing takes several times as long as most commands do. So one process imports what they share, and is forked for
  each of them.
* A fork is a process of its own, with the folder, variables, streams and end that it would have anyway.
* What an interpreter reads as it starts, and what is decided while this package is imported, a fork cannot be given:
  `must_start_anew` says so.

This file is also the program of the process that is forked; its argument is the socket on which it is asked.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

#: What commands import.
SHARED = (
    "langgraph.checkpoint.memory",
    "stategraph.cli.output",
    "stategraph.graph.state",
    "stategraph.resources.loading",
    "stategraph.resources.runtime",
    "stategraph.run.run",
    "stategraph.testing.chat_model",
    "stategraph.workers.registry.runs",
)

_AT_START = ("PYTHON", "LANG", "LC_", "TZ", "STATEGRAPH_RUNTIME", "MOSS_AGENT_RUNTIME")
_MESSAGE = 1 << 17
_IN_PIPE = 1 << 15
"""Bytes that a pipe takes before anybody reads them."""


def must_start_anew(given: str, variables: Mapping[str, str]) -> bool:
    """Return whether a command with this input, and with these variables of its own, cannot be a fork."""
    return (
        sys.platform != "linux"
        or len(given.encode()) > _IN_PIPE
        or any(name.startswith(_AT_START) for name in variables)
    )


class Forks:
    """The process that is forked, for those who have commands run."""

    def __init__(self) -> None:
        self._asking, asked = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with asked:
            fd = asked.fileno()
            without = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(fd)], stdin=subprocess.DEVNULL, pass_fds=(fd,), env=without
            )
        atexit.register(self.close)

    def close(self) -> None:
        """End it."""
        self._asking.close()
        self._process.wait()

    def run(
        self, folder: Path, words: Sequence[str], given: str, variables: Mapping[str, str], limit_s: float
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end.

        Args:
            folder: Where.
            words: Its arguments.
            given: Its standard input.
            variables: All its variables.
            limit_s: Seconds after which it is killed.

        Raises:
            TimeoutExpired: It was.
        """
        pipes = [os.pipe() for _ in range(4)]
        their_input, our_input = pipes[0]
        ours, theirs = [end for end, _ in pipes[1:]], [their_input, *(end for _, end in pipes[1:])]
        request = json.dumps([str(folder), list(words), dict(variables)]).encode()
        try:
            socket.send_fds(self._asking, [request], theirs)
            os.write(our_input, given.encode())
            for fd in (*theirs, our_input):
                os.close(fd)
            out, err, told = _read(ours, limit_s)
        finally:
            for fd in ours:
                os.close(fd)
        return subprocess.CompletedProcess(list(words), int(told.split()[1]), out, err)


def _read(fds: Sequence[int], limit_s: float) -> list[str]:
    """Return what comes out of pipes until all are closed; the last tells first which process it is.

    Raises:
        TimeoutExpired: They are not closed in time; the process is killed.
    """
    read = {fd: bytearray() for fd in fds}
    until = time.monotonic() + limit_s
    with selectors.DefaultSelector() as selector:
        for fd in fds:
            selector.register(fd, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(0.0, until - time.monotonic()))
            if not ready:
                if read[fds[-1]]:
                    os.kill(int(read[fds[-1]].split()[0]), signal.SIGKILL)
                raise subprocess.TimeoutExpired("stategraph", limit_s, *(bytes(read[fd]) for fd in fds[:2]))
            for key, _ in ready:
                if more := os.read(key.fd, 1 << 16):
                    read[key.fd] += more
                else:
                    selector.unregister(key.fd)
    return [bytes(each).decode() for each in read.values()]


@lru_cache
def forks() -> Forks:
    """Return the process's own."""
    return Forks()


# -- the process that is forked ----------------------------------------------


def _serve(asked: socket.socket) -> list[str] | None:
    """Fork for each request; returns a command's arguments in the process that is to run it, and None at the end."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # those who wait for commands are waited for by nobody
    while True:
        request, fds, _, _ = socket.recv_fds(asked, _MESSAGE, 4)
        if not request:
            return None
        if os.fork() == 0:
            asked.close()
            return _attend(request, *fds)
        for fd in fds:
            os.close(fd)


def _attend(request: bytes, given: int, out: int, err: int, told: int) -> list[str]:
    """Fork once more: the one returns to run the command, and the other tells how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if child := os.fork():
        for fd in (given, out, err):
            os.close(fd)
        os.write(told, b"%d " % child)
        os.write(told, b"%d" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        os._exit(0)
    os.close(told)
    for number, fd in enumerate((given, out, err)):
        os.dup2(fd, number)
        os.close(fd)
    folder, words, variables = json.loads(request)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    sys.path.insert(0, folder)
    return [str(each) for each in words]


def _main() -> None:
    del sys.path[0]  # this file's folder
    for name in SHARED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    try:
        words = _serve(socket.socket(fileno=int(sys.argv[1])))
    except KeyboardInterrupt:
        return
    if words is not None:
        sys.argv[1:] = words
        runpy.run_module("stategraph", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()
