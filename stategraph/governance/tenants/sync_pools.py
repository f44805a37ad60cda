"""Pools as those of `pools`, for savers and stores of callers without an event loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from psycopg import Connection
from psycopg_pool import ConnectionPool

from stategraph.governance.tenants.binding import BIND, parameters
from stategraph.governance.tenants.pools import tenant_of_session


class TenantPool(ConnectionPool[Connection[Any]]):
    """A pool of `psycopg_pool` for sync savers and stores; its arguments are those of `ConnectionPool`.

    Attributes:
        tenant: Returns the tenant of a transaction; that of the session by default.
    """

    tenant: Callable[[], str] = staticmethod(tenant_of_session)

    @contextmanager
    def connection(self, timeout: float | None = None) -> Iterator[Connection[Any]]:
        """Take a connection, in a transaction of the tenant.

        Raises:
            NoSessionError: There is no session, and so no tenant.
        """
        with super().connection(timeout) as connection, connection.transaction():
            connection.execute(BIND, parameters(self.tenant()))
            yield connection
