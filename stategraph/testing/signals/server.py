"""The process that imports a graph once, and is forked for each life: `python -m stategraph.testing.signals.server`.

It reads a line of JSON for each request and answers with one; what the user's program prints goes to standard error.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import IO, Any, Final

from stategraph import import_paths
from stategraph.errors import ConfigurationError
from stategraph.testing.signals.life import FAILED, live
from stategraph.testing.signals.spec import Spec

_LOOK_S: Final = 0.002


def main() -> int:
    """Answer requests until standard input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for line in sys.stdin:
        answers.write(f"{json.dumps(_answered(json.loads(line), answers))}\n")
    return 0


def _answered(request: dict[str, Any], answers: IO[str]) -> dict[str, Any]:
    if "target" in request:
        sys.path[:] = request["path"]
        try:
            import_paths.imported(request["target"], "The graph")
        except ConfigurationError as error:
            return {"error": str(error)}
        return {"ready": True}
    if "modules" in request:
        for name in request["modules"]:
            with suppress(Exception):  # the program itself does without it
                importlib.import_module(name)
        return {"ready": True}
    spec = request["spec"]
    if request["spawns"] or threading.active_count() > 1:  # a fork has none of the threads
        body = json.dumps({"path": sys.path, "spec": spec}).encode()
        command = [sys.executable, "-m", "stategraph.testing.signals.life"]
        child = subprocess.Popen(command, stdin=subprocess.PIPE)
        assert child.stdin is not None
        with child.stdin:
            child.stdin.write(body)
        ended = _waited(child.pid, request["deadline_s"])
        child.returncode = ended["code"]  # it was waited for here
        return ended
    pid = os.fork()
    if pid == 0:
        _become(Spec(**spec), answers)
    return _waited(pid, request["deadline_s"])


def _become(spec: Spec, answers: IO[str]) -> None:
    """Live as a fork, and never return."""
    code = FAILED
    try:
        os.close(answers.fileno())
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        code = live(spec)
        sys.stderr.flush()
    finally:
        os._exit(code)


def _waited(pid: int, deadline_s: float) -> dict[str, Any]:
    """Wait for the end of a process; one that takes too long is killed."""
    until = time.monotonic() + deadline_s
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return {"code": os.waitstatus_to_exitcode(status), "timed_out": False}
        if time.monotonic() > until:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return {"code": -signal.SIGKILL, "timed_out": True}
        time.sleep(_LOOK_S)


if __name__ == "__main__":
    sys.exit(main())
