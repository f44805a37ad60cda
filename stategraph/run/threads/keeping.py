"""Threads in which something goes on: a row says so from its beginning to its end.

A row is there before the first checkpoint of its thread. If the database of the index fails, a run goes on: what is
missing then is found by the next `Threads.repair`. Only a thread that is being deleted refuses its run.

However a run or a deletion is cancelled, the end is written to its row: one that says `running` when nothing runs keeps
its thread from being deleted. A run that is cancelled before it begins, or whose answer is refused, leaves the status
that there was.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

from stategraph.engine.config import environment
from stategraph.errors import ConfigurationError, InvalidAnswerError, UnknownInterruptError, is_invalid_resume
from stategraph.run.abort import to_its_end, was_stopped
from stategraph.run.ports import ExecutionStatus, Settle
from stategraph.run.threads import rules
from stategraph.run.threads.port import ThreadIndex
from stategraph.run.threads.rules import Row, Stored

_STORED: Final[Mapping[ExecutionStatus, Stored]] = {
    "completed": "idle",
    "cancelled": "idle",
    "failed": "failed",
    "interrupted": "interrupted",
}

_log = logging.getLogger(__name__)


def now_s() -> float:
    """Return the time in seconds since the epoch, by the clock of the run; in microseconds, as dates have them."""
    return round(environment.current().clock.time(), 6)


async def change(index: ThreadIndex, thread_id: str, how: Callable[[Row | None], Row | None]) -> Row | None:
    """Change a row, again and again until no other process was faster.

    Args:
        index: The index.
        thread_id: The thread.
        how: Makes the new row of the one that there is; None: it is left as it is. What it raises is raised.

    Returns:
        The new row; None if it was left as it is.
    """
    while True:
        row = await index.get(thread_id)
        new = how(row)
        if new is None or await index.put(new, None if row is None else row.version):
            return new


@asynccontextmanager
async def executing(
    index: ThreadIndex, thread_id: str, run_id: str, waits: Callable[[], bool]
) -> AsyncIterator[Settle]:
    """Say that a run goes on in a thread, until the block is left, or says how it ended.

    Args:
        index: The index.
        thread_id: The thread.
        run_id: The run.
        waits: Tells at its end whether it waits for a person.

    Yields:
        A function that says how it ended, of which the block may tell others once it has been awaited.

    Raises:
        ConfigurationError: The thread is being deleted.
    """
    holder = f"{run_id}@{environment.current().unique()}"
    holding: asyncio.Task[None] | None = None
    has_begun = is_settled = False
    before: Stored = "idle"
    status: Stored = "failed"

    def begin(row: Row | None) -> Row:
        nonlocal before
        before = "idle" if row is None or row.status == "deleting" else row.status
        return rules.begun(row, thread_id, holder, now_s())

    async def end() -> None:
        nonlocal is_settled
        if not is_settled:
            await _stopped(holding)
            await _kept(index, thread_id, lambda row: rules.ended(row, holder, status, now_s()))
            is_settled = True

    async def settle(how: ExecutionStatus, error: BaseException | None) -> None:
        nonlocal status
        status = before if error is not None and _is_refusal(error) else _STORED[how]
        await to_its_end(end())

    try:
        await _kept(index, thread_id, begin)
        holding = asyncio.create_task(_hold(index, thread_id, holder), name=f"hold thread {thread_id}")
        has_begun = True
        yield settle
        status = "interrupted" if waits() else "idle"
    except BaseException as error:
        status = "idle" if was_stopped(error) else "failed"
        if not has_begun or _is_refusal(error):
            status = before
        raise
    finally:
        await to_its_end(end())


def _is_refusal(error: BaseException) -> bool:
    """Return whether an answer was refused: the thread is as it was, and waits if it did."""
    return isinstance(error, UnknownInterruptError | InvalidAnswerError) or is_invalid_resume(error)


@asynccontextmanager
async def deleting(index: ThreadIndex, thread_id: str) -> AsyncIterator[None]:
    """Keep runs of all processes out of a thread while it is deleted, and forget its row after that.

    Raises:
        ConfigurationError: A run goes on in it.
    """
    if not index.keeps:
        yield
        return
    holder = f"deletion@{environment.current().unique()}"
    holding: asyncio.Task[None] | None = None

    async def give_up() -> None:
        # Whoever tries again, or repairs the index, need not wait.
        await _stopped(holding)
        await _kept(index, thread_id, lambda row: rules.given_up(row, holder))

    async def forget() -> None:
        await _stopped(holding)
        row = await index.get(thread_id)
        if row is not None and row.holder == holder:
            await index.remove(row)

    try:
        await change(index, thread_id, lambda row: rules.deleting(row, thread_id, holder, now_s()))
        holding = asyncio.create_task(_hold(index, thread_id, holder), name=f"delete thread {thread_id}")
        yield
    except BaseException:
        await to_its_end(give_up())
        raise
    await to_its_end(forget())


async def _stopped(holding: asyncio.Task[None] | None) -> None:
    if holding is not None:
        holding.cancel()
        await asyncio.gather(holding, return_exceptions=True)


async def _hold(index: ThreadIndex, thread_id: str, holder: str) -> None:
    """Say again and again that a thread is held."""
    while True:
        await asyncio.sleep(rules.RENEW_S)
        await _kept(index, thread_id, lambda row: rules.renewed(row, holder, now_s()))


async def _kept(index: ThreadIndex, thread_id: str, how: Callable[[Row | None], Row | None]) -> None:
    try:
        await change(index, thread_id, how)
    except ConfigurationError:
        raise
    except Exception as error:
        _log.warning(
            "The index of threads could not be told of thread '%s' (%s: %s); Threads.repair() will find it",
            *(thread_id, type(error).__name__, error),
        )
