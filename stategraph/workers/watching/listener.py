"""The listener of probes: `/live`, `/ready` and `/metrics` on an address of their own, without credentials.

It is a thread: it answers while the event loop is stuck, and says so. Let only Prometheus and the kubelet reach it.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from stategraph.errors import ConfigurationError

logger = logging.getLogger("stategraph.workers")

LIVE: Final = "/live"
READY: Final = "/ready"
METRICS: Final = "/metrics"

#: A client that says nothing is left after so many seconds.
_IDLE_S: Final = 10.0

Answer = tuple[int, str]
"""A status, and a text."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 32

    def __init__(self, family: socket.AddressFamily, address: tuple[str, int], answers: Mapping[str, object]) -> None:
        self.address_family = family
        self.answers = answers
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # Without the look-up of the own name that `HTTPServer` does: it may take seconds.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()


class _Handler(BaseHTTPRequestHandler):
    timeout = _IDLE_S
    server_version = "stategraph"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer a request."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """Answer a request without the body."""
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        assert isinstance(self.server, _Server)
        path = self.path.partition("?")[0]
        found = self.server.answers.get(path)
        if not callable(found):
            status, text = 404, f"{path} is not here; known are {', '.join(self.server.answers)}\n"
        else:
            try:
                status, text = found()
            except Exception:
                logger.exception("The probe %s failed", path)
                status, text = 500, "The probe failed; the log says why\n"
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep probes out of the log: they come every few seconds."""


@contextmanager
def listening(address: str, answers: Mapping[str, Callable[[], Answer]]) -> Iterator[int]:
    """Answer requests in a thread for a block.

    Args:
        address: `host:port`; port 0: any free one.
        answers: Makes the answer for each path; called in threads.

    Yields:
        The port.

    Raises:
        ConfigurationError: The address is none, or is not free.
    """
    host, number = parsed(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        server = _Server(family, (host, number), answers)
    except OSError as error:
        raise ConfigurationError(
            f"Probes cannot be answered at '{address}': {error.strerror}. Name another address with --probes"
        ) from error
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2}, name="stategraph probes")
    thread.daemon = True
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def parsed(address: str) -> tuple[str, int]:
    """Return the host and the port of an address, such as `0.0.0.0:9464` or `[::]:9464`.

    Raises:
        ConfigurationError: It is none.
    """
    host, _, number = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not number.isascii() or not number.isdigit() or int(number) > 65535:
        raise ConfigurationError(f"'{address}' is no address of probes: expected host:port, such as 127.0.0.1:9464")
    return host, int(number)
