"""Savers by the address of their database, for processes that each open it themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from stategraph.engine.checkpoints.saver_interfaces import Saver
from stategraph.errors import ConfigurationError, MissingPackageError
from stategraph.savers.sqlite.saver import AsyncSqliteSaver
from stategraph.savers.sqlite_files import SCHEME, named, path_in

_SQLITE = SCHEME
_POSTGRES = ("postgresql://", "postgres://")


@asynccontextmanager
async def saver_at(url: str) -> AsyncIterator[Saver]:
    """Open a saver; in PostgreSQL, on a pool of connections.

    Args:
        url: `sqlite:///relative.db`, `sqlite:////absolute.db` or `postgresql://...`.

    Yields:
        The saver, with its tables made.

    Raises:
        ConfigurationError: It is another kind of address, not one that libpq can read, or that of a file which is no
            database or whose folder is not there.
        MissingPackageError: The saver's package is not installed.
        psycopg.OperationalError: The server cannot be reached; the message says why.
    """
    check_address(url)
    if url.startswith(_SQLITE):
        path = path_in(url)
        if not (folder := Path(path).parent).is_dir():
            raise ConfigurationError(
                f"The database '{path}' cannot be opened: there is no folder '{folder}'. Make it first"
            )
        async with AsyncExitStack() as opened:
            with named(path):
                saver = await opened.enter_async_context(AsyncSqliteSaver.from_conn_string(path))
                await saver.setup()
            yield saver
    else:
        try:
            from stategraph.savers.postgres.saver import AsyncPostgresSaver  # an extra
        except ImportError as error:
            raise MissingPackageError("stategraph[postgres]", "The store postgresql://...") from error
        async with AsyncPostgresSaver.from_conn_string(url) as on_server:
            await on_server.setup()
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
