"""Labels of information flow, carried along a conversation.

What a tool brings bears the labels of the policy's verdict. From the moment at which its result is shown to the model,
every action of the conversation is decided about with them, in whichever process, until they are erased.

- Labels are stored before a result is returned, so a crash loses none that a model has read.
- They only ever grow: a model does not forget what it has read, and a summary may hold it still.
- Calls of one answer are made at once. What one of them brings may count for another that begins after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Protocol

import anyio.to_thread

from stategraph.governance.tenants import keys
from stategraph.workers.registry.databases import open_database
from stategraph.workers.registry.own_tables import OwnTables
from stategraph.workers.registry.port import Database

TABLE: Final = "sg_label"

_CREATE: Final = f"""CREATE TABLE IF NOT EXISTS {TABLE} (
    tenant TEXT NOT NULL,
    conversation TEXT NOT NULL,
    label TEXT NOT NULL,
    PRIMARY KEY (tenant, conversation, label)
)"""


class LabelStore(Protocol):
    """Keeps the labels of conversations; its methods block, and may be called from several threads."""

    def read(self, tenant: str, conversation: str, /) -> frozenset[str]:
        """Return the labels of what was read in a conversation; none if nothing is known of it."""

    def add(self, tenant: str, conversation: str, labels: Iterable[str], /) -> None:
        """Add labels, and return when they are stored."""


class SqlLabels:
    """Labels in SQLite or PostgreSQL; thread-safe, for any number of processes.

    Args:
        database: The database, which may be that of the registry of runs.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        dialect = database.sql.dialect
        where = f"tenant = {dialect.parameter} AND conversation = {dialect.parameter}"
        marks = ", ".join([dialect.parameter] * 3)
        self._tables = OwnTables(database, [_CREATE])
        self._read = f"SELECT label FROM {TABLE} WHERE {where}"
        self._add = f"INSERT INTO {TABLE} (tenant, conversation, label) VALUES ({marks}) ON CONFLICT DO NOTHING"
        self._erase = f"DELETE FROM {TABLE} WHERE {where}"

    @classmethod
    def from_url(cls, url: str, *, create: bool = True) -> SqlLabels:
        """Open a store.

        Args:
            url: `sqlite:///labels.db`, or `postgresql://...`.
            create: Whether a file that is not there is made.

        Raises:
            ConfigurationError: The address is not understood.
            MissingPackageError: `psycopg` is not installed.
        """
        return cls(open_database(url, create=create))

    def set_up(self) -> None:
        """Create the table, unless it is there.

        Raises:
            StoreUnavailableError: The database cannot be reached.
        """
        self._tables.set_up()

    def close(self) -> None:
        """Close every connection."""
        self._database.close()

    def read(self, tenant: str, conversation: str, /) -> frozenset[str]:
        """Return the labels of what was read in a conversation; none if nothing is known of it.

        Raises:
            StoreUnavailableError: The database cannot be reached.
        """
        self.set_up()
        with self._database.transaction(write=False) as session:
            return frozenset(row[0] for row in session.execute(self._read, (tenant, conversation)))

    def add(self, tenant: str, conversation: str, labels: Iterable[str], /) -> None:
        """Add labels, and return when they are stored.

        Raises:
            StoreUnavailableError: The database cannot be reached.
        """
        self.set_up()
        rows = [(tenant, conversation, label) for label in sorted(set(labels))]
        if rows:
            with self._database.transaction() as session:
                session.change_many(self._add, rows)

    def erase(self, tenant: str, conversation: str, /) -> None:
        """Forget the labels of a conversation, such as of one that is deleted.

        Raises:
            StoreUnavailableError: The database cannot be reached.
        """
        self.set_up()
        with self._database.transaction() as session:
            session.change(self._erase, (tenant, conversation))


class ThreadLabels:
    """Forgets the labels of threads that are erased: `threads.erase(thread_id, also=[ThreadLabels(labels)])`.

    Args:
        labels: The labels.
        conversation_of: Returns the tenant and the conversation of a thread; None: its id is the tenant's key, as
            `thread_key` and `RequestSessions` make them.
    """

    def __init__(self, labels: SqlLabels, conversation_of: Callable[[str], tuple[str, str]] | None = None) -> None:
        self._labels = labels
        self._conversation_of = conversation_of or keys.parts

    async def erase_thread(self, thread_id: str) -> int:
        """Forget the labels of a thread's conversation.

        Returns:
            0: no run is erased with them.

        Raises:
            ConfigurationError: The thread's id is no key of a tenant.
            StoreUnavailableError: The database cannot be reached.
        """
        await anyio.to_thread.run_sync(self._labels.erase, *self._conversation_of(thread_id))
        return 0
