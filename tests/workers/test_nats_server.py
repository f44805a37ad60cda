"""The NATS server of the tests: its port is its own, whatever else runs on this machine."""

from __future__ import annotations

import errno
import socket
import sys
from pathlib import Path

import pytest

from tests.workers.nats_server import NatsServer, UnavailableError, serving


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not keep a port for a server")
def test_a_port_stays_the_servers_while_it_is_stopped() -> None:
    with serving(jetstream=False) as server:
        server.stop()
        with socket.socket() as other, pytest.raises(OSError, match="in use") as taken:
            other.bind(("127.0.0.1", server.port))
        assert taken.value.errno == errno.EADDRINUSE
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port))

        server.start()
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            assert client.recv(4) == b"INFO"


def test_another_server_on_the_port_is_not_taken_for_ones_own(tmp_path: Path) -> None:
    with serving(jetstream=False) as other:
        late = NatsServer(tmp_path, other.port, jetstream=False)
        with pytest.raises(UnavailableError, match=r"(?s)nats-server did not start: .*address already in use"):
            late.start()
