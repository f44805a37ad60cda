"""`langgraph dev` on loopback, for as long as a block lasts.

Rules:

* It listens on 127.0.0.1, on a port that was free, without a browser, a tunnel or a reloader, so that the process that
  was started is the server; it is stopped by its pid.
* It keeps to this machine: no licence or key is in its environment, analytics and the look for newer versions are off,
  and whatever would call out all the same is sent to a proxy that is not there.
* It keeps nothing: its folder is a scratch one, its persistence is off.
* What it prints goes to a file, whose end is part of the error when it does not start or does not live.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
STARTING_S = 120.0
STOPPING_S = 20.0
JOBS = 10
"""Runs that a server executes at once; the default would let one that waits hold up all others."""

FLAG = "STATEGRAPH_RUNTIME"
DROPPED = ("LANGSMITH_", "LANGCHAIN_", "LANGGRAPH_", "STATEGRAPH_", "MOSS_AGENT_", "PYTHON")
SET = {
    "LANGGRAPH_CLI_NO_ANALYTICS": "1",
    "LANGGRAPH_NO_VERSION_CHECK": "true",
    "LANGSMITH_TRACING": "false",
    "BG_JOB_SHUTDOWN_GRACE_PERIOD_SECS": "1",
    "PYTHONUNBUFFERED": "1",
    "NO_PROXY": f"{HOST},localhost",
    "HTTP_PROXY": f"http://{HOST}:9",
    "HTTPS_PROXY": f"http://{HOST}:9",
}


class ServerError(Exception):
    """The server did not start, or ended by itself; the message has the end of what it printed."""


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine below the server.

    Attributes:
        label: Its name in the report.
        flag: Whether the drop-in's flag is set.
        owner: Part of the path of the `langgraph.pregel` that must be loaded.
    """

    label: str
    flag: bool
    owner: str


ENGINES = (Engine("LangGraph", False, "site-packages"), Engine("stategraph", True, "compat"))


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs."""

    engine: Engine
    url: str
    log: Path
    process: subprocess.Popen[bytes]

    def printed(self, lines: int = 40) -> str:
        """Return the end of what it printed."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def environment(python: Path, engine: Engine) -> dict[str, str]:
    """Return the environment variables of a process of an engine."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(DROPPED)}
    kept = {name: value for name, value in kept.items() if not name.upper().endswith("_PROXY")}
    kept["PATH"] = f"{python.parent}{os.pathsep}{kept.get('PATH', '')}"
    return {**kept, **SET, **({FLAG: "true"} if engine.flag else {})}


@contextmanager
def running(python: Path, engine: Engine, folder: Path, graphs: Mapping[str, str]) -> Iterator[Server]:
    """Run a server around a block.

    Args:
        python: The Python of the environment that has the server.
        engine: Which engine the graphs run on.
        folder: A scratch folder of its own.
        graphs: By name, where a graph is: `file.py:variable`.

    Raises:
        ServerError: It does not start.
    """
    check_engine(python, engine)
    folder.mkdir(parents=True)
    config = {"dependencies": ["."], "graphs": dict(graphs), "env": {}, "disable_persistence": True}
    (folder / "langgraph.json").write_text(json.dumps(config), encoding="utf-8")
    port = free_port()
    command = [str(python.parent / "langgraph"), "dev", "--host", HOST, "--port", str(port), "--no-browser"]
    command += ["--no-reload", "--n-jobs-per-worker", str(JOBS), "--config", "langgraph.json"]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment(python, engine),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Server(engine, f"http://{HOST}:{port}", folder / "server.log", process)
    try:
        wait_until_it_answers(server)
        yield server
    finally:
        stop(process)


def check_engine(python: Path, engine: Engine) -> None:
    """Make sure that the flag brings in the engine that is meant."""
    code = "import importlib.util; print(importlib.util.find_spec('langgraph.pregel').origin)"
    done = subprocess.run([python, "-c", code], env=environment(python, engine), capture_output=True, text=True)
    if engine.owner not in Path(done.stdout.strip()).parts:
        raise ServerError(f"{engine.label}: langgraph.pregel comes from {done.stdout.strip() or done.stderr}")


def wait_until_it_answers(server: Server) -> None:
    """Return when the server answers.

    Raises:
        ServerError: It ended, or took too long.
    """
    end = time.monotonic() + STARTING_S
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < end and server.process.poll() is None:
        try:
            with opener.open(f"{server.url}/ok", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    why = "ended" if server.process.poll() is not None else f"did not answer within {STARTING_S:.0f} s"
    raise ServerError(f"`langgraph dev` on {server.engine.label} {why}; it printed:\n{server.printed()}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a server by its pid: it is asked twice, then killed."""
    for ask in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        process.send_signal(ask)
        try:
            process.wait(STOPPING_S / 4)
        except subprocess.TimeoutExpired:
            continue
    process.wait(STOPPING_S)


def free_port() -> int:
    """Return a port of loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
