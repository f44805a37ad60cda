"""Figures of the registry's database: what waits in which queue, leases that have run out, workers, whether it answers.

Every process may show them; they are the same everywhere, so rules take the maximum. The statements read the indexes of
runs that wait and run alone, never those that have ended.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from stategraph.workers.registry.operations import RegistryOperations
from stategraph.workers.registry.roster import Roster
from stategraph.workers.watching.exposition import Family, gauge

logger = logging.getLogger("stategraph.workers")

#: Interval between two looks, in seconds.
LOOK_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """A queue at one moment.

    Attributes:
        queue: Its name.
        waiting: Runs that wait and may begin.
        oldest_s: For how many seconds the first of them has been able to.
    """

    queue: str
    waiting: int
    oldest_s: float


@dataclass(frozen=True, slots=True)
class RegistryFigures:
    """A registry at one moment.

    Attributes:
        queues: The queues in which runs wait, or will.
        scheduled: Runs whose time has not come.
        running: Runs that are executed.
        expired: Those of them whose leases have run out: nobody has taken them over.
        workers: Workers that were seen lately.
        gone: Workers that were not, and did not say goodbye, within a day.
        capacity: Runs that those workers execute at a time.
    """

    queues: Sequence[QueueFigures] = ()
    scheduled: int = 0
    running: int = 0
    expired: int = 0
    workers: int = 0
    gone: int = 0
    capacity: int = 0


def figures_of(operations: RegistryOperations) -> RegistryFigures:
    """Read the figures of a registry.

    Raises:
        StoreUnavailableError: The database cannot be reached.
    """
    operations.set_up()
    sql = operations.database.sql
    with operations.database.transaction(write=False) as session:
        queues = session.execute(sql.queues)
        ((running, expired),) = session.execute(sql.held)
    workers = Roster(operations).workers()
    alive = [each for each in workers if not each.gone]
    return RegistryFigures(
        queues=[QueueFigures(name, waiting, max(0.0, oldest_s)) for name, waiting, _, oldest_s in queues],
        scheduled=sum(scheduled for _, _, scheduled, _ in queues),
        running=running,
        expired=expired or 0,
        workers=len(alive),
        gone=len(workers) - len(alive),
        capacity=sum(each.capacity for each in alive),
    )


class RegistryWatch:
    """Looks at a registry from time to time.

    Args:
        operations: The registry's.
        clock: Returns seconds of a clock that only goes forward.

    Attributes:
        is_up: Whether the database answered the last time.
    """

    def __init__(self, operations: RegistryOperations, clock: Callable[[], float] = time.monotonic) -> None:
        self._operations = operations
        self._clock = clock
        self._found = RegistryFigures()
        self._took_s = 0.0
        # Shown for good, as scalers need a figure also when nothing waits.
        self._queues = {"default"}
        self.is_up = False

    def look(self) -> None:
        """Look once; an outage is noted, not raised."""
        began = self._clock()
        try:
            self._found = figures_of(self._operations)
            self._queues |= {each.queue for each in self._found.queues}
            self.is_up = True
        except Exception as error:  # whatever the client of the database raises
            if self.is_up:
                logger.warning("The figures of the registry cannot be read: %s", error)
            self.is_up = False
        self._took_s = self._clock() - began

    async def keep_looking(self, every_s: float = LOOK_S) -> None:
        """Look from time to time until it is cancelled."""
        while True:
            await asyncio.to_thread(self.look)
            await asyncio.sleep(every_s)

    def families(self) -> Iterator[Family]:
        """Return the figures; those of runs only while the database answers."""
        yield gauge("stategraph_database_up", "1: the database answered the last time.", float(self.is_up))
        yield gauge("stategraph_database_look_seconds", "Time that it took to read these figures.", self._took_s)
        if not self.is_up:
            return
        found = self._found
        by_name = {name: QueueFigures(name, 0, 0.0) for name in sorted(self._queues)}
        by_name |= {each.queue: each for each in found.queues}
        waiting = [("", {"queue": name}, float(each.waiting)) for name, each in by_name.items()]
        oldest = [("", {"queue": name}, each.oldest_s) for name, each in by_name.items()]
        yield Family("stategraph_queue_waiting", "gauge", "Runs that wait in a queue.", waiting)
        yield Family("stategraph_queue_oldest_seconds", "gauge", "Age of the oldest of them.", oldest)
        by_state = {"pending": sum(each.waiting for each in found.queues), "scheduled": found.scheduled}
        by_state |= {"running": found.running, "expired": found.expired}
        states = [("", {"state": state}, float(number)) for state, number in by_state.items()]
        meaning = "Runs that have not ended; expired: of those that run, whose leases have run out."
        yield Family("stategraph_runs", "gauge", meaning, states)
        seen = [("", {"state": "alive"}, float(found.workers)), ("", {"state": "gone"}, float(found.gone))]
        yield Family("stategraph_workers", "gauge", "Workers of the last day; gone: without a goodbye.", seen)
        yield gauge("stategraph_workers_capacity", "Runs that all workers execute at a time.", found.capacity)
