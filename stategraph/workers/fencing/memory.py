"""Fenced writes of the saver that keeps threads in memory.

Its rows are not in the registry's database. The check keeps the thread's fence locked until the write is done; a
process that dies in between takes the threads with it.
"""

from __future__ import annotations

from typing import Any

from stategraph.engine.checkpoints.saver_interfaces import Saver
from stategraph.workers.fencing.guard import Guard
from stategraph.workers.registry.port import Database


class FencedMemory:
    """Writes through an `InMemorySaver`.

    Args:
        saver: The saver.
        guard: The guard.
        database: Where the registry is.
    """

    def __init__(self, saver: Saver, guard: Guard, database: Database) -> None:
        self._saver = saver
        self._guard = guard
        self._database = database

    def call(self, method: str, thread_id: str, base: str | None, arguments: tuple[Any, ...]) -> Any:
        """Call a method of the saver that writes.

        Raises:
            LeaseLost: The run has lost its thread; nothing was written.
        """
        write = self._guard.write(self._database.sql, method, thread_id, base, arguments)
        with self._database.transaction() as session:
            found = session.execute(*write.check)
            write.verify(found[0] if found else None)
            for statement, parameters in write.others:
                session.change(statement, parameters)
            done = getattr(self._saver, method)(*arguments)
        self._guard.written(write)
        return done
