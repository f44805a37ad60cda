"""Hold a thread that is changed outside of a run, so that no other process deletes or changes it meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import uuid4

from stategraph.dev.replies import RefusedError
from stategraph.run.abort import to_its_end
from stategraph.run.threads import keeping, rules
from stategraph.run.threads.keeping import now_s
from stategraph.run.threads.port import ThreadIndex
from stategraph.run.threads.rules import Row


@asynccontextmanager
async def claimed(index: ThreadIndex, thread_id: str) -> AsyncIterator[None]:
    """Hold a thread until the block is left, or a run that begins in it holds it.

    Its status stays as it is: if this process dies, the thread is free once its time has run out.

    Raises:
        LookupError: There is no such thread.
        RefusedError: A run, a deletion or another change goes on in it.
    """
    if not index.keeps:
        yield
        return
    holder = f"change@{uuid4().hex}"

    def claim(row: Row | None) -> Row:
        now = now_s()
        if row is None or row.status == "deleting":
            raise LookupError(f"There is no thread '{thread_id}'")
        if row.is_held(now):
            raise RefusedError(409, "A run goes on in this session, in another process: wait for its end")
        return replace(row, holder=holder, held_until=now + rules.HELD_S)

    def release(row: Row | None) -> Row | None:
        return None if row is None or row.holder != holder else replace(row, holder=None, held_until=0.0)

    async def leave() -> None:
        await keeping.change(index, thread_id, release)

    await keeping.change(index, thread_id, claim)
    try:
        yield
    finally:
        await to_its_end(leave())
