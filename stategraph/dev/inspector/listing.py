"""Threads in a list, with how much their newest states hold."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

from langchain_core.messages import AIMessage

from stategraph.dev.inspector.values import Json
from stategraph.run.json_safe import to_json
from stategraph.run.threads.threads import Threads
from stategraph.run.threads.values import STATUSES, Thread, ThreadPage, ThreadStatus

#: Threads whose sizes are remembered, until something is done with them.
_KNOWN: Final = 2_000

#: Pages of a search that are looked through at once for threads in a status.
_PAGES: Final = 20


class Listing:
    """Lists threads.

    Args:
        threads: The threads of a runtime.
    """

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self._sizes: OrderedDict[tuple[str, str, str], dict[str, Any]] = OrderedDict()

    async def page(self, text: str, status: ThreadStatus | None, after: str | None, limit: int) -> Json:
        """Return a page of threads, those used last first.

        Args:
            text: In the title or metadata, or the id of a thread; empty: any.
            status: In this status; None: in any.
            after: The `next` of the page before; None: the first page.
            limit: How many; a search in a status may return fewer although there are more.
        """
        found = await self._found(text, status, after, limit)
        threads = list(found.threads)
        if text and after is None and (named := await self._named(text, status)) is not None:
            threads = [named, *(each for each in threads if each.id != named.id)]
        rows = [await self._row(each) for each in threads]
        return {"threads": [row for row in rows if row is not None], "next": found.next}

    async def _found(self, text: str, status: ThreadStatus | None, after: str | None, limit: int) -> ThreadPage:
        if not text:
            return await self._threads.list(status=status, after=after, limit=limit)
        page = await self._threads.search(text, after=after, limit=limit)
        for _ in range(_PAGES):
            chosen = tuple(each for each in page.threads if status in (None, each.status))
            if chosen or page.next is None:
                break
            page = await self._threads.search(text, after=page.next, limit=limit)
        return ThreadPage(chosen, page.next)

    async def _named(self, thread_id: str, status: ThreadStatus | None) -> Thread | None:
        """Return the thread of an id; None if there is none."""
        if len(thread_id) > 255 or "\0" in thread_id:
            return None
        try:
            found = await self._threads.info(thread_id)
        except LookupError:
            return None
        return found if status in (None, found.status) else None

    async def _row(self, thread: Thread) -> Json | None:
        """Return a thread with its size as JSON; None if it was deleted after the list was read."""
        try:
            return {**thread.to_json(), **await self._size(thread)}
        except LookupError:
            return None

    async def _size(self, thread: Thread) -> Json:
        """Return the messages, tokens and characters of the newest state."""
        key = (thread.id, thread.updated_at.isoformat(), thread.status)
        if thread.status == "running" or key not in self._sizes:
            view = await self._threads.get(thread.id)
            used = [each.usage_metadata for each in view.messages if isinstance(each, AIMessage)]
            self._sizes[key] = {
                "messages": len(view.messages),
                "tokens": sum(each["total_tokens"] for each in used if each is not None),
                "size": len(to_json(view.values)) if view.checkpoint_id is not None else 0,
            }
            while len(self._sizes) > _KNOWN:
                self._sizes.popitem(last=False)
        return self._sizes[key]


def status_of(text: str) -> ThreadStatus | None:
    """Return the status that a text names; None: it is empty, or names none."""
    return next((each for each in STATUSES if each == text), None)
