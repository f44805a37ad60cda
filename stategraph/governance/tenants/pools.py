"""Pools of connections to PostgreSQL whose every use is a transaction of one tenant, for savers and stores.

A connection that is taken from such a pool is in a transaction that knows the tenant of the session that is active, and
is committed, or rolled back, when it is given back. So the next tenant that gets the connection finds nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from stategraph.engine.checkpoints.serializer import StrictSerializer
from stategraph.governance import session as sessions
from stategraph.governance.tenants.binding import BIND, parameters
from stategraph.savers.postgres.connections import pool_settings
from stategraph.savers.postgres.saver import AsyncPostgresSaver


def tenant_of_session() -> str:
    """Return the tenant of the session that is active.

    Raises:
        NoSessionError: There is none, and so no tenant.
    """
    return sessions.current().tenant


class AsyncTenantPool(AsyncConnectionPool[AsyncConnection[Any]]):
    """A pool of `psycopg_pool` for async savers and stores; its arguments are those of `AsyncConnectionPool`.

    Attributes:
        tenant: Returns the tenant of a transaction; that of the session by default.
    """

    tenant: Callable[[], str] = staticmethod(tenant_of_session)

    @asynccontextmanager
    async def connection(self, timeout: float | None = None) -> AsyncIterator[AsyncConnection[Any]]:  # noqa: ASYNC109
        """Take a connection, in a transaction of the tenant.

        Raises:
            NoSessionError: There is no session, and so no tenant.
        """
        async with super().connection(timeout) as connection, connection.transaction():
            await connection.execute(BIND, parameters(self.tenant()))
            yield connection


@asynccontextmanager
async def tenant_saver(url: str, *, serde: StrictSerializer | None = None) -> AsyncIterator[AsyncPostgresSaver]:
    """Open an async saver for the tenants of sessions, each of which finds its own threads alone.

    Args:
        url: The address, with the app role as its user. The tables are there already, see `policies`.
        serde: Serialises values; a `StrictSerializer` if None.
    """
    async with AsyncTenantPool(url, **pool_settings(url)) as pool:
        yield AsyncPostgresSaver(cast("Any", pool), serde=serde)
