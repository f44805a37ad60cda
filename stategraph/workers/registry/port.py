"""The interface that the registry needs of a database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeAlias, TypeVar

from stategraph.workers.registry.sql import Sql

T = TypeVar("T")

Rows: TypeAlias = list[tuple[Any, ...]]


class StoreUnavailableError(ConnectionError):
    """The database cannot be reached, or went away in the middle of a transaction.

    Whether that transaction was committed is unknown; what it would have done may be asked for again.
    """


class ConflictError(Exception):
    """Another transaction was faster; nothing has changed, and the operation may be tried again."""


class Session(Protocol):
    """A transaction that is open."""

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> Rows:
        """Execute a statement of `sql` and return its rows; none if it returns no rows."""

    def change(self, statement: str, parameters: Sequence[Any] = ()) -> int:
        """Execute a statement of `sql` that returns no rows, and say how many it changed."""

    def change_many(self, statement: str, parameters: Sequence[Sequence[Any]]) -> None:
        """Execute a statement of `sql` with each of several parameters."""


class Database(Protocol):
    """A database with the registry's tables. Thread-safe."""

    @property
    def sql(self) -> Sql:
        """The statements in this database's words."""

    def transaction(self, *, write: bool = True, durable: bool = False) -> AbstractContextManager[Session]:
        """Open a transaction that is committed at the end of the block, or rolled back if it raises.

        Args:
            write: Whether anything is changed in it.
            durable: Whether it has to be on the disk at the end of the block, also where commits need not be.

        Raises:
            StoreUnavailableError: The database cannot be reached.
            ConflictError: A unique index refused a row, or the transaction was chosen to end a deadlock.
        """

    async def perform(self, function: Callable[..., T], *arguments: Any, write: bool = True, quick: bool = False) -> T:
        """Call a function that does operations in transactions, without holding up the event loop.

        All that it does may become one transaction, together with what other callers ask for. Being cancelled does not
        tear it off.

        Args:
            function: Called in another thread; if it is quick, perhaps in that of the event loop.
            *arguments: Its arguments.
            write: Whether it changes anything.
            quick: Whether it takes microseconds: a few rows by their keys.

        Returns:
            What it returned.
        """

    def once_stored(self, call: Callable[[], object]) -> None:
        """Call something when the transactions that the calling thread has had have been committed.

        Args:
            call: Called in any thread; never raises.
        """

    def is_away(self, error: BaseException) -> bool:
        """Return whether an error of this database's client, raised by a saver for example, says that it is away.

        The operation may succeed later; an error about what was asked for is none of these.
        """

    def close(self) -> None:
        """Close every connection."""
