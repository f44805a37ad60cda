"""Fenced writes of savers that store within a transaction of their own, together with something else.

Such a saver has `put_within`: what it is given there, a call on SQLite and statements on PostgreSQL, comes before what
it stores. The check of the lease goes there, with whatever belongs to the write.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

from stategraph.engine.checkpoints.saver_interfaces import Save
from stategraph.engine.config.procedures import Procedure, aperform, perform
from stategraph.workers.fencing.guard import Fenced, Write
from stategraph.workers.registry.sql import SQLITE, Sql


class FencedWithin(Fenced):
    """Writes through a `SqliteSaver` of `stategraph.savers`, in the calling thread or in another."""

    _sql: ClassVar[Sql] = Sql(SQLITE)

    def can(self, mark: str) -> bool:
        """Return whether the saver has sync methods, or, if the mark is "a", async ones."""
        return hasattr(self.saver, mark + "put_within")

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
        write = self.guard.write(self._sql, method, thread_id, base, arguments)
        if method == "delete_thread":
            return (yield from self._written(write, mark + "delete_thread_within", *arguments))
        return (yield from self._written(write, mark + "put_within", [(method, arguments)]))

    def _stored(self, mark: str, saves: Sequence[Save]) -> Procedure[int]:
        write = self.guard.write_together(self._sql, saves)
        yield from self._written(write, mark + "put_within", saves)
        return len(saves)

    def _written(self, write: Write, name: str, *arguments: object) -> Procedure[Any]:
        try:
            done = yield partial(getattr(self.saver, name), *arguments, self._addition(write))
        except BaseException as error:
            self._look_at(error, write)
            raise
        self.guard.written(write)
        return done

    def _addition(self, write: Write) -> object:
        """Return what the saver does in the transaction of a write, before it stores."""
        return partial(_check, write)

    def _look_at(self, error: BaseException, write: Write) -> None:
        """Raise the loss of the lease if that is what an error of the database says."""


def _check(write: Write, connection: sqlite3.Connection) -> None:
    """Verify that the lease holds, and write what belongs to the write."""
    write.verify(connection.execute(*write.check).fetchone())
    for statement, parameters in write.others:
        connection.execute(statement, parameters)
