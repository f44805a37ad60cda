"""The child process that owns a throw-away PostgreSQL server: prints its address, and stops it when stdin closes.

If the server cannot be run here, a line says why instead, beginning with `unavailable:`. An argument is a port of
127.0.0.1 that it listens on besides.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import postgres

UNAVAILABLE = "unavailable: "


def main(port: int | None = None) -> int:
    """Serve until the parent is gone."""
    with tempfile.TemporaryDirectory(prefix="stategraph-postgres-") as folder:
        try:
            server, address = postgres.serve_on_socket(Path(folder), port)
        except postgres.UnavailableError as error:
            print(UNAVAILABLE + str(error).replace("\n", " | "), flush=True)
            return 1
        try:
            print(address, flush=True)
            sys.stdin.read()
        finally:
            postgres.stop(server)
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
