"""Endpoints in a table of a database, beside the runs of a registry for example: SQLite or PostgreSQL.

Times are by the database's clock, so that machines whose clocks differ agree on who is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Self

from stategraph.fleet.endpoint import AgentEndpoint
from stategraph.fleet.sources import entries
from stategraph.workers.registry.databases import open_database
from stategraph.workers.registry.own_tables import OwnStatements
from stategraph.workers.registry.port import Database

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
        self._statements = OwnStatements(database, [_CREATE])
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
        rows = await self._statements.execute(_READ, write=False)
        return entries.read((row[0] for row in rows), self._bad)

    async def register(self, endpoint: AgentEndpoint, ttl_s: float | None = None) -> None:
        """Register an endpoint, see `Registrable`; rows whose time is over are deleted."""
        await self._statements.change(_PUT, (endpoint.key, entries.written(endpoint), ttl_s))
        await self._statements.change(_SWEEP)

    async def deregister(self, key: str) -> bool:
        """Remove an endpoint, and return whether it was there."""
        return bool(await self._statements.change(_DELETE, (key,)))

    async def close(self) -> None:
        """Close the connections."""
        await self._statements.close()
