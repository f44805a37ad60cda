"""SQLite files as errors speak of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from stategraph.errors import ConfigurationError


@contextmanager
def named(path: str) -> Iterator[None]:
    """Name a file that is no database or cannot be opened; errors about locks and disks are passed on.

    Raises:
        ConfigurationError: The file is no database, or cannot be opened.
    """
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", None)
        if code == sqlite3.SQLITE_CANTOPEN:
            raise ConfigurationError(
                f"The database '{path}' cannot be opened: it has to be a file, which may be read and written"
            ) from error
        if code == sqlite3.SQLITE_NOTADB:
            raise ConfigurationError(f"The file '{path}' is no SQLite database; name another one") from error
        raise
