"""The index of threads, and who else keeps something of a thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from stategraph.run.threads.rules import Row
from stategraph.run.threads.values import ThreadQuery


@dataclass(frozen=True, slots=True)
class Unlisted:
    """A thread of a saver that has no row.

    Attributes:
        id: The thread.
        first: The id of its first checkpoint.
        last: The id of its last one.
        waits: Whether that waits for a person.
    """

    id: str
    first: str
    last: str
    waits: bool


@runtime_checkable
class ThreadIndex(Protocol):
    """Keeps rows of threads, for several processes: a row is changed only from the state that was read."""

    @property
    def keeps(self) -> bool:
        """False for an index that only lists what a saver has, without titles."""

    def check(self) -> None:
        """Check that it keeps titles, owners and metadata.

        Raises:
            ConfigurationError: It does not.
        """

    async def open(self) -> None:
        """Make what is needed, unless it is there; may be repeated."""

    async def get(self, thread_id: str) -> Row | None:
        """Return a row; None if there is none."""

    async def put(self, row: Row, version: int | None) -> bool:
        """Keep a row in place of that of a version; None: if there is none.

        Returns:
            False if another process was faster: nothing has changed.
        """

    async def remove(self, row: Row) -> bool:
        """Forget a row of this version; False if there is none."""

    async def find(self, query: ThreadQuery) -> Sequence[Row]:
        """Return rows in order: one more than the limit, if there are more."""

    async def unlisted(self) -> Sequence[Unlisted]:
        """Return threads of the saver that have no row."""

    async def abandoned(self, now: float) -> Sequence[Row]:
        """Return threads whose deletion was begun, by a process that is gone."""

    async def namespaces(self, thread_id: str, after: str) -> Sequence[str]:
        """Return namespaces of nested graphs: those with newer checkpoints than one, and those of lasting graphs."""


@runtime_checkable
class ErasesThreads(Protocol):
    """Keeps something of a thread, and can forget it: runs by their ids, events, rows of a registry."""

    async def erase_thread(self, thread_id: str) -> int:
        """Forget all about a thread; return how many runs that were.

        Raises:
            ConfigurationError: A run of it goes on.
        """
