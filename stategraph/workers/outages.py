"""Databases that are away for a while: the errors that say so, and calls that are tried again until one is back."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, TypeVar

import anyio

from stategraph.workers.leases import LeaseLost
from stategraph.workers.registry.port import Database, StoreUnavailableError

T = TypeVar("T")

#: Pauses between tries, each of them shortened at random by up to a half, so that workers do not return all at once.
FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 5.0

#: Seconds for which an error that repeats is logged once: an outage, or a full disk, would fill the log otherwise.
REPEATED_S: Final = 30.0


class News:
    """Tells errors that are new from those that repeat.

    Args:
        clock: Returns a time in seconds that goes on evenly.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told: dict[str, float] = {}

    def has(self, text: str) -> bool:
        """Return whether a text was not told within the last `REPEATED_S`; it counts as told from now on if so."""
        now = self._clock()
        self._told = {each: at for each, at in self._told.items() if now - at < REPEATED_S}
        if text in self._told:
            return False
        self._told[text] = now
        return True


def is_outage(error: BaseException, database: Database) -> bool:
    """Return whether an error, or one in it, says that a database is away, and not that a lease is lost."""
    found = list(flat(error))
    if any(isinstance(each, LeaseLost) for each in found):
        return False
    return any(isinstance(each, StoreUnavailableError) or database.is_away(each) for each in found)


def flat(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, those in it if it is a group, and those that it came from, each of them once."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        if each.__cause__ is not None:
            waiting.append(each.__cause__)
        if isinstance(each, BaseExceptionGroup):
            waiting += reversed(each.exceptions)


async def persist(
    act: Callable[[], Awaitable[T]],
    database: Database,
    grace_s: float,
    note: Callable[[Exception], object],
    hurry: anyio.Event | None = None,
) -> T:
    """Call something that may be called again, until the database that it needs is there.

    Args:
        act: The call.
        database: That database.
        grace_s: How long it is tried, in seconds.
        note: Told each error after which it is tried again.
        hurry: Once it is set, a call that fails is not tried again.

    Returns:
        What it returned.

    Raises:
        Exception: What it raised, unless that says that the database is away; and that too when the time is over.
    """
    deadline = anyio.current_time() + grace_s
    hurry = hurry or anyio.Event()
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            return await act()
        except Exception as error:
            wait_s = pause_s * random.uniform(0.5, 1.0)
            if hurry.is_set() or not is_outage(error, database) or anyio.current_time() + wait_s > deadline:
                raise
            note(error)
            with anyio.move_on_after(wait_s):
                await hurry.wait()
                raise
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
