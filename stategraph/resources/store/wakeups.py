"""A bus for a store in a file: at once within the process, within 30 ms from other processes of the machine."""

from __future__ import annotations

import sqlite3
from typing import Final

from stategraph.workers.wakeups.sqlite import SqliteBus

#: Pause between two questions to the file, in seconds; a question takes some microseconds.
ASK_S: Final = 0.03


class FileBus(SqliteBus):
    """Wakes those who watch a store, also for what other processes write to its file.

    Args:
        path: The file.
    """

    def _look(self, connection: sqlite3.Connection) -> None:
        known = connection.execute("PRAGMA data_version").fetchone()
        self._wake_all()
        while not self._closing.wait(ASK_S):
            version = connection.execute("PRAGMA data_version").fetchone()
            if version != known:
                known = version
                self._wake_all()
