"""Connections to SQLite for savers of tests, closed when the test has ended: Python 3.13 warns of open ones."""

from __future__ import annotations

import sqlite3
from typing import Any

_open: list[sqlite3.Connection] = []


def connection(path: Any = ":memory:") -> sqlite3.Connection:
    """Open a connection, for any thread."""
    opened = sqlite3.connect(path, check_same_thread=False)
    _open.append(opened)
    return opened


def close_all() -> None:
    """Close the connections."""
    while _open:
        _open.pop().close()
