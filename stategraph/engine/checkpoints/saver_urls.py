"""Savers by the address of their database, for processes that each open it themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from stategraph.engine.checkpoints.saver_interfaces import Saver
from stategraph.engine.checkpoints.serializer import StrictSerializer
from stategraph.engine.checkpoints.sqlite_files import named
from stategraph.errors import ConfigurationError, MissingPackageError

_SQLITE = "sqlite:///"
_POSTGRES = ("postgresql://", "postgres://")

#: Connections to a PostgreSQL at most. A pool replaces those that were lost when the server was restarted.
CONNECTIONS: Final = 8

#: Time limit for a connection of a pool.
CONNECT_S: Final = 5.0

#: Options of libpq that end a connection whose server vanished without a word, as in a failover, within ten seconds.
#: Without them a statement waits for as long as the system sends it again, which is a quarter of an hour.
VANISHED: Final = {
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}

#: Time that a write waits for SQLite's one write lock.
_BUSY_MS: Final = 30_000


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
    if url.startswith(_SQLITE):
        try:
            from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver  # an extra
        except ImportError as error:
            raise MissingPackageError("stategraph[sqlite]", f"The store {_SQLITE}...") from error
        path = unquote(url.removeprefix(_SQLITE))
        if not (folder := Path(path).parent).is_dir():
            raise ConfigurationError(
                f"The database '{path}' cannot be opened: there is no folder '{folder}'. Make it first"
            )
        async with AsyncExitStack() as opened:
            with named(path):
                saver = await opened.enter_async_context(AsyncSqliteSaver.from_conn_string(path))
                saver.serde = StrictSerializer()
                await saver.conn.execute_fetchall(f"PRAGMA busy_timeout={_BUSY_MS}")
                await saver.setup()
            yield saver
    elif url.startswith(_POSTGRES):
        try:
            from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver  # an extra
            from psycopg.rows import dict_row
            from psycopg_pool import AsyncConnectionPool
        except ImportError as error:
            raise MissingPackageError("stategraph[postgres]", "The store postgresql://...") from error
        as_the_saver_wants: dict[str, Any] = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
        as_the_saver_wants |= unless_given(VANISHED, url)
        connections: AsyncConnectionPool[Any] = AsyncConnectionPool(
            url,
            min_size=1,
            max_size=CONNECTIONS,
            timeout=CONNECT_S,
            reconnect_timeout=CONNECT_S,
            check=AsyncConnectionPool.check_connection,
            kwargs=as_the_saver_wants,
            open=False,
        )
        await _look_for_server(url)
        async with connections as pool:
            server_saver = AsyncPostgresSaver(pool, serde=StrictSerializer())
            await server_saver.setup()
            yield server_saver
    else:
        kind = url.partition(":")[0]
        raise ConfigurationError(f"A store is an address such as sqlite:///runs.db or postgresql://...; found {kind!r}")


def unless_given(options: Mapping[str, int], url: str) -> dict[str, Any]:
    """Return the options of libpq that an address does not set."""
    import psycopg  # an extra
    from psycopg.conninfo import conninfo_to_dict

    try:
        given = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        return {}  # connecting says what is wrong
    return {name: value for name, value in options.items() if name not in given}


async def _look_for_server(url: str) -> None:
    """Make one connection without the pool: its error says at once what is wrong, where a pool's time runs out."""
    import psycopg  # an extra

    try:
        connection = await psycopg.AsyncConnection.connect(url, connect_timeout=int(CONNECT_S))
    except psycopg.ProgrammingError:
        # The message quotes the address.
        raise ConfigurationError(
            "The store's address is not one that libpq can read: write 'postgresql://user@host:5432/database'"
        ) from None
    await connection.close()
