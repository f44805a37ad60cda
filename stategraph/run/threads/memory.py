"""An index beside a saver in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from stategraph.constants import INTERRUPT
from stategraph.run.threads.port import Unlisted
from stategraph.run.threads.rules import Row
from stategraph.run.threads.values import ThreadQuery


class MemoryIndex:
    """A mapping; lives as long as the saver.

    Args:
        storage: What the saver has, by thread, namespace and checkpoint.
        writes: What tasks have written, by thread, namespace and checkpoint.
    """

    keeps = True

    def __init__(self, storage: Any, writes: Any) -> None:
        self._storage = storage
        self._writes = writes
        self._rows: dict[str, Row] = {}

    def check(self) -> None:
        """Do nothing: it keeps all."""

    async def open(self) -> None:
        """Do nothing: there is nothing to make."""

    async def get(self, thread_id: str) -> Row | None:
        """Return a row; None if there is none."""
        return self._rows.get(thread_id)

    async def put(self, row: Row, version: int | None) -> bool:
        """Keep a row in place of that of a version."""
        known = self._rows.get(row.id)
        if (None if known is None else known.version) != version:
            return False
        self._rows[row.id] = replace(row, version=(version or 0) + 1)
        return True

    async def remove(self, row: Row) -> bool:
        """Forget a row of this version."""
        known = self._rows.get(row.id)
        if known is None or known.version != row.version:
            return False
        del self._rows[row.id]
        return True

    async def find(self, query: ThreadQuery) -> Sequence[Row]:
        """Return rows in order."""
        return chosen(self._rows.values(), query)

    async def unlisted(self) -> Sequence[Unlisted]:
        """Return threads of the saver that have no row."""
        found = []
        for thread_id, namespaces in list(self._storage.items()):
            if thread_id not in self._rows and (ids := sorted(namespaces.get("", ()))):
                written = self._writes.get((thread_id, "", ids[-1]), {}).values()
                found.append(Unlisted(thread_id, ids[0], ids[-1], any(each[1] == INTERRUPT for each in written)))
        return found

    async def abandoned(self, now: float) -> Sequence[Row]:
        """Return threads whose deletion was begun, by a process that is gone."""
        return [row for row in self._rows.values() if row.status == "deleting" and not row.is_held(now)]

    async def namespaces(self, thread_id: str, after: str) -> Sequence[str]:
        """Return the namespaces of nested graphs."""
        known = dict(self._storage.get(thread_id, {}))
        return [name for name, ids in known.items() if name and (":" not in name or max(ids, default="") > after)]


def chosen(rows: Any, query: ThreadQuery) -> list[Row]:
    """Return the rows that are looked for, in order: one more than the limit, if there are more."""
    found = sorted((row for row in rows if row.matches(query)), key=lambda row: row.place(query))
    if not query.oldest_first:
        found.reverse()
    if query.after is not None:
        place = query.after
        found = [row for row in found if (row.place(query) > place) is query.oldest_first and row.place(query) != place]
    return found[: query.limit + 1]
