"""Savers by the address of their database, for processes that each open it themselves."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from stategraph.engine.checkpoints.saver_interfaces import Saver
from stategraph.errors import ConfigurationError, MissingPackageError
from stategraph.savers.sqlite.saver import AsyncSqliteSaver
from stategraph.savers.sqlite_files import SCHEME, named, path_in

_SQLITE = SCHEME
_POSTGRES = ("postgresql://", "postgres://")
_NO_TABLES = "has no checkpoints, as no saver has made its tables in it: check the address"


@asynccontextmanager
async def saver_at(url: str, *, create: bool = True, changes: bool = True) -> AsyncIterator[Saver]:
    """Open a saver; in PostgreSQL, on a pool of connections.

    Args:
        url: `sqlite:///relative.db`, with `~` for the home directory, `sqlite:////absolute.db` or `postgresql://...`.
        create: Whether the tables are made, and a file that is not there; if not, they have to be there.
        changes: Whether anything will be changed; if not, nothing is made either.

    Yields:
        The saver.

    Raises:
        ConfigurationError: It is another kind of address, not one that libpq can read, or that of a file which is no
            database or whose folder is not there; or there are no tables, and they are not to be made.
        MissingPackageError: The saver's package is not installed.
        psycopg.OperationalError: The server cannot be reached; the message says why.
    """
    check_address(url)
    if url.startswith(_SQLITE):
        path = path_in(url)
        make_all = create and changes
        async with AsyncExitStack() as opened:
            with named(path):
                name = path if make_all else _name_of_old(path)
                saver = await opened.enter_async_context(AsyncSqliteSaver.from_conn_string(name))
                if not make_all:
                    _look_for_tables(saver.conn, path)
                if not changes:
                    saver.conn.execute("PRAGMA query_only = ON")
                await saver.setup()
            yield saver
    else:
        try:
            from stategraph.savers.postgres.saver import AsyncPostgresSaver  # an extra
        except ImportError as error:
            raise MissingPackageError("stategraph[postgres]", "The store postgresql://...") from error
        async with AsyncPostgresSaver.from_conn_string(url) as on_server:
            if create and changes:
                await on_server.setup()
            else:
                await _ask_for_tables(on_server)
            yield on_server


def check_address(url: str) -> None:
    """Check that an address is of a kind that `saver_at` opens; nothing is opened.

    Raises:
        ConfigurationError: It is of another kind, or names no file.
    """
    if url == _SQLITE or (url.startswith("sqlite:") and not url.startswith(_SQLITE)):
        raise ConfigurationError("An address of SQLite has three slashes and a path behind them: sqlite:///runs.db")
    if not url.startswith((_SQLITE, *_POSTGRES)):
        kind = url.partition(":")[0]
        raise ConfigurationError(f"A store is an address such as sqlite:///runs.db or postgresql://...; found {kind!r}")


def _name_of_old(path: str) -> str:
    """Return the name under which SQLite opens a file that is there, and makes none."""
    if not Path(path).exists():
        raise ConfigurationError(f"There is no database '{os.path.abspath(path)}': check the address")
    return f"{Path(path).absolute().as_uri()}?mode=rw"


def _look_for_tables(connection: sqlite3.Connection, path: str) -> None:
    """Raise if no saver has made its tables in a file."""
    found = connection.execute("SELECT name FROM sqlite_master WHERE name IN ('checkpoints', 'writes')").fetchall()
    if len(found) < 2:
        raise ConfigurationError(f"The database '{path}' {_NO_TABLES}")


async def _ask_for_tables(saver: Any) -> None:
    """Raise if no saver has made its tables in the database of a server."""
    if not await saver.ahas_tables():
        raise ConfigurationError(f"The database of the address {_NO_TABLES}")
