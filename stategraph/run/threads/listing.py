"""The threads of a saver whose database is not known here, by its own list of checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Never

from stategraph.errors import ConfigurationError
from stategraph.run.threads.memory import chosen
from stategraph.run.threads.port import Unlisted
from stategraph.run.threads.rules import Row
from stategraph.run.threads.values import ThreadQuery, time_of


class ListedThreads:
    """Lists what is there, and keeps nothing.

    Args:
        saver: The saver.
    """

    keeps = False

    def __init__(self, saver: Any) -> None:
        self._saver = saver

    async def open(self) -> None:
        """Do nothing: there is nothing to make."""

    async def get(self, thread_id: str) -> Row | None:
        """Return what is known of a thread: when it was used."""
        first = last = None
        async for saved in self._saver.alist({"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}}):
            first = saved.checkpoint["id"]
            last = last or first
        return None if first is None or last is None else _row(thread_id, first, last)

    async def put(self, row: Row, version: int | None) -> bool:
        """Refuse to keep anything."""
        self.check()

    async def remove(self, row: Row) -> bool:
        """Do nothing: the row is the thread itself."""
        return True

    async def find(self, query: ThreadQuery) -> Sequence[Row]:
        """Return the threads that the saver lists: all of its checkpoints are read."""
        seen: dict[str, tuple[str, str]] = {}
        try:
            async for saved in self._saver.alist(None):
                where = saved.config["configurable"]
                if not where.get("checkpoint_ns"):
                    one = saved.checkpoint["id"]
                    first, last = seen.get(where["thread_id"], (one, one))
                    seen[where["thread_id"]] = (min(first, one), max(last, one))
        except (NotImplementedError, TypeError, KeyError, ValueError) as error:
            raise ConfigurationError(
                f"A saver of type {type(self._saver).__name__} does not list its threads ({type(error).__name__}): "
                "give the runtime a 'thread_index', such as that of a SQLite saver, and threads are listed by it"
            ) from error
        return chosen([_row(thread_id, *ids) for thread_id, ids in seen.items()], query)

    async def unlisted(self) -> Sequence[Unlisted]:
        """Return none: all are listed."""
        return ()

    async def abandoned(self, now: float) -> Sequence[Row]:
        """Return none: nothing is kept of a deletion."""
        return ()

    async def namespaces(self, thread_id: str, after: str) -> Sequence[str]:
        """Return the namespaces of nested graphs."""
        found: dict[str, str] = {}
        async for saved in self._saver.alist({"configurable": {"thread_id": thread_id}}):
            name = saved.config["configurable"].get("checkpoint_ns") or ""
            found[name] = max(found.get(name, ""), saved.checkpoint["id"])
        return [name for name, last in found.items() if name and (":" not in name or last > after)]

    def check(self) -> Never:
        """Refuse what needs an index.

        Raises:
            ConfigurationError: In any case.
        """
        raise ConfigurationError(
            f"A saver of type {type(self._saver).__name__} has no place for titles, owners and metadata that is known "
            "here: give the runtime a 'thread_index', such as index_of(a SQLite or PostgreSQL saver)"
        )


def _row(thread_id: str, first: str, last: str) -> Row:
    return Row(thread_id, created_at=time_of(first), updated_at=time_of(last))
