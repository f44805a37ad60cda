"""The tenant of a transaction, as policies of PostgreSQL read it.

Two settings, both local to a transaction (`SET LOCAL`): a pool may give the connection to another tenant next, also one
that shares sessions, such as PgBouncer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from stategraph.governance import session as sessions
from stategraph.governance.tenants.keys import label
from stategraph.workers.registry.port import Database, Rows, Session
from stategraph.workers.registry.sql import Sql

T = TypeVar("T")

TENANT_SETTING: Final = "stategraph.tenant"
LABEL_SETTING: Final = "stategraph.tenant_label"

BIND: Final = f"SELECT set_config('{TENANT_SETTING}', %s, true), set_config('{LABEL_SETTING}', %s, true)"


def parameters(tenant: str) -> tuple[str, str]:
    """Return the parameters of `BIND`."""
    return tenant, label(tenant)


def bind(session: Session, sql: Sql, tenant: str) -> None:
    """Tell an open transaction its tenant; databases without row-level security need not know.

    Args:
        session: The transaction.
        sql: The database's statements.
        tenant: The tenant.
    """
    if sql.dialect.name == "postgres":
        session.execute(BIND, parameters(tenant))


class TenantDatabase:
    """The database of a registry, with the tenant of each transaction: that of the session, or always the same one.

    Tables are their owner's to make: statements that would create one do nothing, as an app role has no right to.

    Args:
        database: The database, as an app role sees it.
        tenant: The tenant; None: that of the session which is active, without which no transaction begins.
    """

    def __init__(self, database: Database, tenant: str | None = None) -> None:
        self._database = database
        self._tenant = tenant
        self.sql = database.sql

    @contextmanager
    def transaction(self, *, write: bool = True, durable: bool = False) -> Iterator[Session]:
        """Open a transaction of the tenant; see `stategraph.workers.registry.port.Database`.

        Raises:
            NoSessionError: There is no session, and so no tenant.
        """
        tenant = sessions.current().tenant if self._tenant is None else self._tenant
        with self._database.transaction(write=write, durable=durable) as session:
            bind(session, self.sql, tenant)
            yield session if self.sql.dialect.name == "sqlite" else _AppSession(session)

    async def perform(
        self, function: Callable[..., T], *arguments: object, write: bool = True, quick: bool = False
    ) -> T:
        """Call a function that does operations; see `stategraph.workers.registry.port.Database`."""
        return await self._database.perform(function, *arguments, write=write, quick=quick)

    def once_stored(self, call: Callable[[], object]) -> None:
        """Call something when the transactions of this thread have been committed."""
        self._database.once_stored(call)

    def is_away(self, error: BaseException) -> bool:
        """Return whether an error says that the database is away."""
        return self._database.is_away(error)

    def close(self) -> None:
        """Close every connection."""
        self._database.close()


class _AppSession:
    """A transaction of an app role, which makes no tables."""

    __slots__ = ("_session",)

    def __init__(self, session: Session) -> None:
        self._session = session

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> Rows:
        """Execute a statement and return its rows."""
        return [] if _creates(statement) else self._session.execute(statement, parameters)

    def change(self, statement: str, parameters: Sequence[Any] = ()) -> int:
        """Execute a statement and return how many rows it changed."""
        return 0 if _creates(statement) else self._session.change(statement, parameters)

    def change_many(self, statement: str, parameters: Sequence[Sequence[Any]]) -> None:
        """Execute a statement with each of several parameters."""
        self._session.change_many(statement, parameters)


def _creates(statement: str) -> bool:
    return statement.lstrip()[:7].upper() == "CREATE "
