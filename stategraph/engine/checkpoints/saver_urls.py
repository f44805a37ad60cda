"""Savers by the address of their database, for processes that each open it themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from stategraph.engine.checkpoints.saver_interfaces import Saver
from stategraph.engine.checkpoints.serializer import StrictSerializer
from stategraph.errors import ConfigurationError, MissingPackageError

_SQLITE = "sqlite:///"
_POSTGRES = ("postgresql://", "postgres://")


@asynccontextmanager
async def saver_at(url: str) -> AsyncIterator[Saver]:
    """Open a saver.

    Args:
        url: `sqlite:///relative.db`, `sqlite:////absolute.db` or `postgresql://...`.

    Yields:
        The saver, with its tables made.

    Raises:
        ConfigurationError: It is another kind of address.
        MissingPackageError: The saver's package is not installed.
    """
    if url.startswith(_SQLITE):
        try:
            from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver  # an extra
        except ImportError as error:
            raise MissingPackageError("langgraph-checkpoint-sqlite", f"The store {_SQLITE}...") from error
        async with AsyncSqliteSaver.from_conn_string(url.removeprefix(_SQLITE)) as saver:
            saver.serde = StrictSerializer()
            await saver.setup()
            yield saver
    elif url.startswith(_POSTGRES):
        try:
            from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver  # an extra
        except ImportError as error:
            raise MissingPackageError("langgraph-checkpoint-postgres", "The store postgresql://...") from error
        async with AsyncPostgresSaver.from_conn_string(url, serde=StrictSerializer()) as server_saver:
            await server_saver.setup()
            yield server_saver
    else:
        kind = url.partition(":")[0]
        raise ConfigurationError(f"A store is an address such as sqlite:///runs.db or postgresql://...; found {kind!r}")
