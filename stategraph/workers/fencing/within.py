"""Fenced writes of savers that store within a transaction of their own, together with something else.

Such a saver calls, in the transaction, before it stores: `put_within` (see `stategraph.savers`). The check of the lease
goes there, with whatever belongs to the write.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from stategraph.engine.checkpoints.saver_interfaces import Save
from stategraph.engine.config.procedures import Procedure, aperform, perform
from stategraph.workers.fencing.guard import Fenced, Write
from stategraph.workers.registry.sql import SQLITE, Sql

_SQL = Sql(SQLITE)


class FencedWithin(Fenced):
    """Writes through a `SqliteSaver` of `stategraph.savers`, in the calling thread or in another."""

    def call(self, method: str, thread_id: str, base: str | None, arguments: tuple[object, ...]) -> Any:
        """Call a method of the saver that writes.

        Raises:
            LeaseLost: The run has lost its thread; nothing was written.
        """
        return perform(self._called("", method, thread_id, base, arguments))

    async def acall(self, method: str, thread_id: str, base: str | None, arguments: tuple[object, ...]) -> Any:
        """Call a method of the saver that writes; named without its `a`.

        Raises:
            LeaseLost: The run has lost its thread; nothing was written.
        """
        return await aperform(self._called("a", method, thread_id, base, arguments))

    def together(self, saves: Sequence[Save]) -> int:
        """Store saves in one transaction; as `put_together` of savers.

        Raises:
            LeaseLost: The run has lost its thread; nothing was written.
        """
        return perform(self._stored("", saves))

    async def atogether(self, saves: Sequence[Save]) -> int:
        """Store saves in one transaction; as `aput_together` of savers.

        Raises:
            LeaseLost: The run has lost its thread; nothing was written.
        """
        return await aperform(self._stored("a", saves))

    def _called(
        self, mark: str, method: str, thread_id: str, base: str | None, arguments: tuple[object, ...]
    ) -> Procedure[Any]:
        write = self.guard.write(_SQL, method, thread_id, base, arguments)
        if method == "delete_thread":
            done = yield partial(self._method(mark, "delete_thread_within"), *arguments, partial(_check, write))
        else:
            done = yield partial(self._method(mark, "put_within"), [(method, arguments)], partial(_check, write))
        self.guard.written(write)
        return done

    def _stored(self, mark: str, saves: Sequence[Save]) -> Procedure[int]:
        write = self.guard.write_together(_SQL, saves)
        yield partial(self._method(mark, "put_within"), saves, partial(_check, write))
        self.guard.written(write)
        return len(saves)

    def _method(self, mark: str, name: str) -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(self.saver, mark + name)
        return method


def _check(write: Write, connection: sqlite3.Connection) -> None:
    """Verify that the lease holds, and write what belongs to the write."""
    write.verify(connection.execute(*write.check).fetchone())
    for statement, parameters in write.others:
        connection.execute(statement, parameters)
