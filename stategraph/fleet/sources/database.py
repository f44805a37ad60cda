"""Endpoints in a table of a database, beside the runs of a registry for example: SQLite or PostgreSQL.

Times are by the database's clock, so that machines whose clocks differ agree on who is there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Self, TypeVar

import anyio.to_thread

from stategraph.fleet.endpoint import AgentEndpoint
from stategraph.fleet.sources import entries
from stategraph.workers.registry.databases import open_database
from stategraph.workers.registry.own_tables import OwnTables
from stategraph.workers.registry.port import ConflictError, Database, Rows

T = TypeVar("T")

#: The table.
TABLE: Final = "sg_agent_endpoint"

_CREATE: Final = """CREATE TABLE IF NOT EXISTS sg_agent_endpoint (
    endpoint_key TEXT PRIMARY KEY,
    document TEXT NOT NULL,
    gone_at {real}
)"""
_PUT: Final = """INSERT INTO sg_agent_endpoint (endpoint_key, document, gone_at)
    VALUES (?, ?, {now} + CAST(? AS {real}))
    ON CONFLICT (endpoint_key) DO UPDATE SET document = excluded.document, gone_at = excluded.gone_at"""
_READ: Final = "SELECT document FROM sg_agent_endpoint WHERE gone_at IS NULL OR gone_at > {now} ORDER BY endpoint_key"
_DELETE: Final = "DELETE FROM sg_agent_endpoint WHERE endpoint_key = ?"
_SWEEP: Final = "DELETE FROM sg_agent_endpoint WHERE gone_at <= {now}"


class DatabaseSource:
    """A table of endpoints.

    Args:
        database: The database, see `from_url`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._tables = OwnTables(database, [self._say(_CREATE)])
        self._bad: set[str | bytes] = set()

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Use the database of an address: `sqlite:///agents.db` or `postgresql://...`.

        Raises:
            ConfigurationError: The address is not understood.
            MissingPackageError: `psycopg` is not installed.
        """
        return cls(open_database(url))

    async def read(self) -> Sequence[AgentEndpoint]:
        """Return the endpoints whose time is not over."""
        rows = await self._in_thread(self._rows)
        return entries.read((row[0] for row in rows), self._bad)

    async def register(self, endpoint: AgentEndpoint, ttl_s: float | None = None) -> None:
        """Register an endpoint, see `Registrable`; rows whose time is over are deleted."""
        document = entries.written(endpoint)

        def put() -> None:
            self._change(_PUT, (endpoint.key, document, ttl_s))
            self._change(_SWEEP, ())

        await self._in_thread(put)

    async def deregister(self, key: str) -> bool:
        """Remove an endpoint, and return whether it was there."""
        return bool(await self._in_thread(lambda: self._change(_DELETE, (key,))))

    async def close(self) -> None:
        """Close the connections."""
        await anyio.to_thread.run_sync(self._database.close)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(work)

    def _rows(self) -> Rows:
        self._tables.set_up()
        with self._database.transaction(write=False) as session:
            return session.execute(self._say(_READ))

    def _change(self, statement: str, parameters: Sequence[Any]) -> int:
        self._tables.set_up()
        said = self._say(statement)
        while True:
            try:
                with self._database.transaction() as session:
                    return session.change(said, parameters)
            except ConflictError:  # another process changed the row; there is nothing of it that this one needs
                continue

    def _say(self, statement: str) -> str:
        dialect = self._database.sql.dialect
        said = statement.format(now=dialect.now, real=dialect.real)
        return said.replace("?", dialect.parameter)
