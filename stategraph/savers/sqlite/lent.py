"""The file of a connection of `aiosqlite`, over a connection of the saver's own.

That package uses a connection in one thread only, and offers no transaction to others. So a saver that is given one
looks up its file, and how it was opened, and opens the file once more, at its first call.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from pathlib import Path
from typing import Any, Final

from stategraph.errors import ConfigurationError
from stategraph.savers import sqlite_files
from stategraph.savers.sqlite.connections import connect, lock_of
from stategraph.savers.sqlite.database import Database, Work
from stategraph.savers.sqlite.schema import Mode

_PACKAGE: Final = "aiosqlite"


def is_lent(connection: object) -> bool:
    """Return whether a connection is one of `aiosqlite`."""
    return type(connection).__module__.partition(".")[0] == _PACKAGE


class LentDatabase(Database):
    """The database of a connection of `aiosqlite`.

    Args:
        lent: The connection, which may not be open yet.
        mode: As for the savers.
    """

    def __init__(self, lent: Any, mode: Mode | None) -> None:
        unopened = sqlite3.connect(":memory:", check_same_thread=False)
        super().__init__(unopened, mode)
        self.lock = threading.Lock()  # of nobody else; the connection that is opened then has one
        unopened.close()
        self._lent = lent
        self._is_open = False
        self._opening = asyncio.Lock()

    async def hand_over(self, work: Work) -> Any:
        """Have something done in another thread; as in a `Database`."""
        if not self._is_open:
            async with self._opening:
                if not self._is_open:
                    await self._open()
        return await super().hand_over(work)

    def do(self, work: Work) -> Any:
        """Do something; as in a `Database`.

        Raises:
            ConfigurationError: No async method was called before.
        """
        if not self._is_open:
            raise ConfigurationError(
                "A saver with a connection of aiosqlite opens its file in async code: await its setup(), or another "
                "async method, before the first sync one; or open the saver with from_conn_string(path)"
            )
        return super().do(work)

    def __del__(self) -> None:
        if getattr(self, "_is_open", False) and os.getpid() == self._process:
            self.close_unheld()

    async def _open(self) -> None:
        lent = self._lent
        try:
            rows = await lent.execute_fetchall("PRAGMA database_list")
        except ValueError:  # it is not open yet
            await lent
            rows = await lent.execute_fetchall("PRAGMA database_list")
        path = next((str(row[2] or "") for row in rows if row[1] == "main"), "")
        if not path:
            raise ConfigurationError(
                "A saver cannot share the database in memory of a connection of aiosqlite: open it with "
                "from_conn_string(':memory:'), or name a file"
            )
        ((waits_ms,),) = await lent.execute_fetchall("PRAGMA busy_timeout")
        name = path if await self._writes() else f"{Path(path).as_uri()}?mode=ro"
        with sqlite_files.named(path):
            self.connection = connect(name)
            self.connection.execute(f"PRAGMA busy_timeout = {int(waits_ms)}")
        self.lock = lock_of(self.connection)
        self.path, self._is_open = path, True

    async def _writes(self) -> bool:
        """Return whether the file was opened to be written to, by statements that change nothing."""
        lent = self._lent
        if lent.in_transaction:
            return True
        ((waits_ms,),) = await lent.execute_fetchall("PRAGMA busy_timeout")
        ((version,),) = await lent.execute_fetchall("PRAGMA user_version")
        await lent.execute_fetchall("PRAGMA busy_timeout = 0")
        try:
            # A script has no transaction around it, which others would be in as well.
            for statement in ("UPDATE checkpoints SET type = type WHERE 0", f"PRAGMA user_version = {int(version)}"):
                try:
                    await lent.executescript(statement)
                    return True
                except sqlite3.OperationalError as error:
                    if sqlite_files.is_readonly(error):
                        return False
        finally:
            await lent.execute_fetchall(f"PRAGMA busy_timeout = {int(waits_ms)}")
        return True
