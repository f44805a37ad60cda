"""Tables of a store beside those of the registry, made when the store is first used."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from typing import Final

from stategraph.workers.registry.port import Database

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


def _made_by(statement: str) -> str:
    found = _MADE.match(statement)
    if found is None:
        raise AssertionError(f"This makes no table or index: {statement}")
    return found[1]
