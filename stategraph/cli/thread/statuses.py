"""The statuses of threads whose last run only a checkpoint tells of.

A run that the runtime or `stategraph run` executes says in the index how it ended. A graph that a program invoked by
itself does not, but its saver has the errors of the tasks that failed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from stategraph.cli.thread.opened import Opened

if TYPE_CHECKING:
    from stategraph.run.threads.values import Thread

#: Threads that are read at a time.
_PAGE = 100


async def with_status(opened: Opened, thread: Thread) -> Thread:
    """Return a thread that is listed as idle as failed if a task of its newest checkpoint has failed."""
    if thread.status == "idle" and await error_of(opened, thread.id) is not None:
        return replace(thread, status="failed")
    return thread


async def error_of(opened: Opened, thread_id: str) -> str | None:
    """Return the error that a task of a thread's newest checkpoint failed with; None: none did."""
    from stategraph.constants import ERROR
    from stategraph.run.threads.conversation import thread_config

    saved = await opened.saver.aget_tuple(thread_config(thread_id))
    failed = [value for _, channel, value in (saved and saved.pending_writes) or () if channel == ERROR]
    return str(failed[0]) if failed else None


async def in_status(opened: Opened, status: str, **asked: Any) -> AsyncGenerator[Thread, None]:
    """Yield the threads in a status, those used last first.

    Args:
        opened: The database.
        status: The status. For `idle` and `failed` the newest checkpoint of every idle thread is read.
        **asked: Other arguments of `Threads.list`.
    """
    after: str | None = None
    of_index = None if status in ("idle", "failed") else status
    while True:
        page = await opened.threads.list(status=of_index, limit=_PAGE, after=after, **asked)  # type: ignore[arg-type]
        for each in page.threads:
            thread = await with_status(opened, each)
            if thread.status == status:
                yield thread
        if page.next is None:
            return
        after = page.next
