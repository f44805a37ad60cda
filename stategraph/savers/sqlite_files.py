"""SQLite files as errors speak of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from stategraph.errors import ConfigurationError


@contextmanager
def named(path: str) -> Iterator[None]:
    """Name a file that is no database; errors about locks and disks are passed on.

    Raises:
        ConfigurationError: The file is no database.
    """
    try:
        yield
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
            raise ConfigurationError(f"The file '{path}' is no SQLite database; name another one") from error
        raise
