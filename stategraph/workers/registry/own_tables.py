"""Tables of a store beside those of the registry, made when the store is first used, and statements on them."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import anyio.to_thread

from stategraph.workers.registry.port import ConflictError, Database, Rows, Session

T = TypeVar("T")

_MADE: Final = re.compile(r"\s*CREATE (?:TABLE|(?:UNIQUE )?INDEX) (?:IF NOT EXISTS )?(\w+)")


class OwnTables:
    """Makes the tables and indexes of a store, unless they are there; thread-safe, for any number of processes.

    Where all of them are there nothing is executed but that question, as an app role on PostgreSQL may make none.

    Args:
        database: The database.
        statements: Statements that make them, in its words.
    """

    def __init__(self, database: Database, statements: Sequence[str]) -> None:
        self._database = database
        self._statements = {_made_by(statement): statement for statement in statements}
        self._lock = threading.Lock()
        self._are_there = False

    def set_up(self) -> None:
        """Make what is not there.

        Raises:
            StoreUnavailableError: The database cannot be reached.
        """
        if self._are_there:
            return
        sql = self._database.sql
        with self._lock, self._database.transaction() as session:
            if not self._are_there:
                missing = [name for name in self._statements if not session.execute(sql.exists, (name,))]
                if missing and sql.schema_lock is not None:
                    session.execute(sql.schema_lock)
                for name in missing:
                    if not session.execute(sql.exists, (name,)):  # another process may have been quicker
                        session.change(self._statements[name])
        self._are_there = True


class OwnStatements:
    """Executes statements on tables of a store, each in a transaction of its own; thread-safe.

    Statements are written once for both databases: `?` stands for an argument, and `{now}`, `{real}` and `{blob}` for
    what they spell differently, see `Dialect`.

    Args:
        database: The database.
        tables: Statements that make the tables and indexes.
    """

    def __init__(self, database: Database, tables: Sequence[str]) -> None:
        self._database = database
        self._tables = OwnTables(database, [self._spelled(each) for each in tables])

    async def execute(self, statement: str, parameters: Sequence[Any] = (), *, write: bool = True) -> Rows:
        """Execute a statement in a thread and return its rows.

        Raises:
            StoreUnavailableError: The database cannot be reached.
        """
        return await self._in_thread(lambda session, said: session.execute(said, parameters), statement, write)

    async def change(self, statement: str, parameters: Sequence[Any] = ()) -> int:
        """Execute a statement that returns no rows in a thread, and return how many it changed.

        Raises:
            StoreUnavailableError: The database cannot be reached.
        """
        return await self._in_thread(lambda session, said: session.change(said, parameters), statement, True)

    async def close(self) -> None:
        """Close every connection to the database."""
        await anyio.to_thread.run_sync(self._database.close)

    async def _in_thread(self, work: Callable[[Session, str], T], statement: str, write: bool) -> T:
        return await anyio.to_thread.run_sync(self._do, work, self._spelled(statement), write)

    def _do(self, work: Callable[[Session, str], T], said: str, write: bool) -> T:
        self._tables.set_up()
        while True:
            try:
                with self._database.transaction(write=write) as session:
                    return work(session, said)
            except ConflictError:  # another transaction was faster, and this one has changed nothing
                continue

    def _spelled(self, statement: str) -> str:
        dialect = self._database.sql.dialect
        said = statement.format(now=dialect.now, real=dialect.real, blob=dialect.blob)
        return said.replace("?", dialect.parameter)


def _made_by(statement: str) -> str:
    found = _MADE.match(statement)
    if found is None:
        raise AssertionError(f"This makes no table or index: {statement}")
    return found[1]
