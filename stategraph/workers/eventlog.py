"""Events of runs, as numbered rows that any process can read: before, during and after a change of worker.

Rules
-----
* The events of a run are numbered from 1 without holes, over all its attempts. A number is given once: only the owner
  of the lease adds rows, and it checks the lease in the transaction that adds them.
* Events are stored in batches: with the checkpoint or write that follows them, or after a moment if none follows.
* A later attempt goes on where the rows end. What an attempt told and did not store is told again, with the numbers
  that were free; `run.attempt` stands between two attempts.
* The last event is `run.end`.
* A run that ended long ago may be deleted, its oldest events first (`registry.pruning`). Readers then see a hole in the
  numbers, or that the run is gone, and raise.
* Readers look for rows when the registry's bus says that there are some, and from time to time in any case.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from stategraph.errors import ConfigurationError
from stategraph.workers.registry.operations import ATTEMPT_EVENT, END_EVENT
from stategraph.workers.registry.runs import FEW_EVENTS, RunRegistry
from stategraph.workers.registry.values import Claimed, Event, UnknownRunError
from stategraph.workers.wakeups.bus import Wakes
from stategraph.workers.wakeups.signals import Signal, SignalKind

#: How often a reader looks for new rows, in seconds: at first, and at most after it found nothing for a while.
LOOK_S: Final = 0.02
LONGEST_LOOK_S: Final = 0.5

#: The same while the registry's bus tells of new rows.
LIVE_LOOK_S: Final = 5.0

#: How many rows a reader fetches at a time, where there are more than a few.
PAGE: Final = 500

#: An event that is larger is not stored; in its place is one that says so.
LARGEST_BYTES: Final = 1_048_576

OVERSIZE_EVENT: Final = "run.oversize"

#: Those that the registry writes itself, as JSON.
_OF_REGISTRY: Final = frozenset({ATTEMPT_EVENT, END_EVENT})


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """An event with its number.

    Attributes:
        run_id: The run.
        seq: 1 for the first event of a run, then without holes.
        attempt: The attempt that told it.
        type: What happened.
        data: Its payload.
    """

    run_id: str
    seq: int
    attempt: int
    type: str
    data: Any


class EventBuffer:
    """The events of one attempt on their way into the log; an `Outbox` for the writes of its checkpoints.

    It is used from one event loop; writes may take rows from it in other threads.

    Args:
        registry: Serialises payloads.
        claimed: The run, whose log is continued.
    """

    def __init__(self, registry: RunRegistry, claimed: Claimed) -> None:
        self._registry = registry
        self._claimed = claimed
        self._last = claimed.last_seq
        self._waiting: deque[tuple[int, Event]] = deque()
        #: Set when there are events that are not stored, and at the end; as all of this it belongs to one event loop.
        self.some = asyncio.Event()
        self._tail = None if registry.tails is None else registry.tails.begin(claimed.lease.run_id, claimed.last_seq)

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, type: str, data: Any) -> int:
        """Tell an event; return its number.

        Raises:
            TypeError: The payload cannot be stored.
        """
        stored = self._registry.dump(data)
        if stored is not None and len(stored) > LARGEST_BYTES:
            type, stored = OVERSIZE_EVENT, self._registry.dump({"type": type, "bytes": len(stored)})
        self._last += 1
        self._waiting.append((self._last, Event(type, stored)))
        self.some.set()
        return self._last

    def waiting(self) -> list[tuple[int, Event]]:
        """List the events that are not stored, with their numbers."""
        return list(self._waiting)

    def stored(self, seq: int) -> None:
        """Take note that all events up to a number are stored, and wake their readers."""
        while self._waiting and self._waiting[0][0] <= seq:
            number, event = self._waiting.popleft()
            if self._tail is not None:
                self._tail.add((number, self._claimed.attempt, event.type, event.data))
        self._wake()

    def close(self) -> None:
        """Have readers of this process read the rest from the database: the attempt is over."""
        if self._tail is not None and self._registry.tails is not None:
            self._registry.tails.end(self._claimed.lease.run_id, self._tail)
            self._wake()

    def _wake(self) -> None:
        self._registry.bus.publish((Signal(SignalKind.EVENTS, self._claimed.lease.run_id, self._claimed.tenant),))

    async def flush(self) -> None:
        """Store what waits; a write that stores the same rows meanwhile does no harm.

        Raises:
            LeaseLost: Another owner has the run.
        """
        if rows := self.waiting():
            await self._registry.add_events(self._claimed.lease, self._claimed.attempt, rows)
            self.stored(rows[-1][0])


def logged(registry: RunRegistry, run_id: str, row: tuple[int, int, str, bytes | None]) -> LoggedEvent:
    """Read an event from its row, as `RunRegistry.events_after` returns it."""
    seq, attempt, kind, data = row
    return LoggedEvent(
        run_id, seq, attempt, kind, json.loads(data or b"null") if kind in _OF_REGISTRY else registry.load(data)
    )


def _near(registry: RunRegistry, run_id: str, after_seq: int) -> Iterator[LoggedEvent]:
    """Return the events after a number that are at hand in this process."""
    tail = None if registry.tails is None else registry.tails.get(run_id)
    if tail is None:
        return
    for row in tail.behind(after_seq) or ():
        if row[0] not in tail.read:
            tail.read[row[0]] = logged(registry, run_id, row)
        yield tail.read[row[0]]


def _is_near(registry: RunRegistry, run_id: str, after_seq: int) -> bool:
    """Return whether a reader has all that was told, by an attempt that goes on in this process."""
    tail = None if registry.tails is None else registry.tails.get(run_id)
    return tail is not None and tail.last == after_seq


async def attach(registry: RunRegistry, run_id: str, after_seq: int = 0) -> AsyncGenerator[LoggedEvent, None]:
    """Read the events of a run from any process, as they come, until its end.

    Args:
        registry: Where the run is.
        run_id: The run.
        after_seq: The number of the last event that the reader has; 0: none.

    Yields:
        Every event after that one, once, in order.

    Raises:
        ConfigurationError: `after_seq` is no whole number of 0 or more.
        UnknownRunError: There is no such run, or it was pruned before all of its events were read.
    """
    if isinstance(after_seq, bool) or not isinstance(after_seq, int) or after_seq < 0:
        raise ConfigurationError(
            f"after_seq is {after_seq!r}; expected the number of the last event that the reader has, 0 for all"
        )
    with registry.bus.watch([(SignalKind.EVENTS, run_id)]) as wakes:
        async with aclosing(_look(registry, run_id, after_seq, wakes)) as events:
            async for event in events:
                yield event


async def _look(registry: RunRegistry, run_id: str, after_seq: int, wakes: Wakes) -> AsyncGenerator[LoggedEvent, None]:
    ended = told_end = False
    wait_s = LOOK_S
    page = FEW_EVENTS
    while True:
        for event in _near(registry, run_id, after_seq):
            after_seq, told_end = event.seq, False
            yield event
        if _is_near(registry, run_id, after_seq):
            await wakes.wait(LIVE_LOOK_S)
            continue
        rows = await registry.events_after(run_id, after_seq, page)
        for row in rows:
            if row[0] != after_seq + 1:
                raise UnknownRunError(f"Run '{run_id}' is being pruned: its events after number {after_seq} are gone")
            after_seq = row[0]
            yield logged(registry, run_id, row)
        if rows:
            # A dead run that was given new attempts goes on after its end.
            ended = told_end = rows[-1][2] == END_EVENT
            wait_s = LOOK_S
            if ended or len(rows) == page:
                page = FEW_EVENTS if ended else PAGE
                continue
            page = FEW_EVENTS
        elif ended:
            if not told_end:
                await registry.get(run_id)  # an error if it was pruned meanwhile
            return
        else:
            # Looked at before the rows are looked at again: the last ones are stored with the end.
            ended = (await registry.get(run_id)).finished_at is not None
            wait_s = min(LONGEST_LOOK_S, wait_s * 1.5)
        if not ended:
            longest_s = LIVE_LOOK_S if registry.bus.is_live else wait_s
            await wakes.wait(longest_s * random.uniform(0.8, 1.2))
