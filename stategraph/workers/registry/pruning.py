"""Delete runs that ended long ago, with their events, in transactions so small that they hold up no worker.

Rules
-----
* A run is deleted when it ended longer ago than an age, and is needed no more: no run is to take back its writes
  (`rollback`), and, unless such runs are asked for by their status, it does not wait for an answer.
* All of it is looked at again, with the row locked, in the transaction that deletes: a dead run may have got new
  attempts. A row that another transaction has locked is passed over.
* The oldest events go first, and the row goes with the last of them: what is left of a run when this is stopped halfway
  is found by the next time, and a reader who is not told all of it sees a gap in the numbers.
* Not deleted: checkpoints, which are the saver's; the last token of each thread, as no token may be used twice; and
  effects, as their keys may be used again by any run (`EffectBook.forget` deletes those).
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from stategraph.core import explain
from stategraph.workers.leases import ENDED, RunStatus
from stategraph.workers.registry.operations import RegistryOperations
from stategraph.workers.registry.port import Session

#: Runs that are looked for at a time, and deleted in one transaction at most.
MOST_RUNS: Final = 100

#: Events that are deleted in one transaction at most.
MOST_EVENTS: Final = 1_000

#: Shortest pause between two transactions; at least as long as the one before it took.
PAUSE_S: Final = 0.005


@dataclass(frozen=True, slots=True)
class Pruned:
    """Numbers of what was deleted, or would be.

    Attributes:
        runs: Runs.
        events: Their events.
    """

    runs: int = 0
    events: int = 0


LONGEST_AGE_S: Final = 10**15
"""What databases can take away from a time, and more than anything is old."""


def check_age(older_than_s: float) -> None:
    """Check an age from which on rows are deleted.

    Raises:
        ValueError: It is no number of seconds from 0 to `LONGEST_AGE_S`.
    """
    is_number = isinstance(older_than_s, int | float) and not isinstance(older_than_s, bool)
    if not is_number or not 0 <= older_than_s <= LONGEST_AGE_S:
        raise ValueError(
            f"older_than_s is {explain.shown(older_than_s)}; expected a number of seconds from 0 to {LONGEST_AGE_S:g}"
        )


class Pruning:
    """Deletes runs, a step at a time.

    Args:
        operations: The registry's operations; the rows are in its database.
        older_than_s: Ended for so many seconds.
        statuses: Only runs in these; None: in any that is an end. With `interrupted` also those that wait for an
            answer.
        dry_run: Only count.

    Attributes:
        pruned: What was deleted so far.
        is_done: Whether there is nothing more to do.

    Raises:
        ValueError: The age is no number of seconds, or a status is no end.
    """

    def __init__(
        self,
        operations: RegistryOperations,
        older_than_s: float,
        statuses: Iterable[RunStatus | str] | None = None,
        *,
        dry_run: bool = False,
    ) -> None:
        check_age(older_than_s)
        if isinstance(statuses, str):
            raise ValueError(f"statuses is {str(statuses)!r}, a text; expected a list of statuses: [{str(statuses)!r}]")
        wanted = ENDED if statuses is None else {RunStatus(each) for each in statuses}
        if active := sorted(wanted - ENDED):
            raise ValueError(f"Runs that are {' or '.join(active)} have not ended, and cannot be pruned")
        self.pruned = Pruned()
        self.is_done = False
        self._operations = operations
        self._sql = operations.database.sql
        self._dry_run = dry_run
        unanswered = int(statuses is not None and RunStatus.INTERRUPTED in wanted)
        self._which = (float(older_than_s), json.dumps(sorted(wanted)), unanswered)
        self._found: deque[str] = deque()
        self._after = 0

    def step(self) -> None:
        """Look for runs, or delete some of those that were found: one transaction.

        Raises:
            StoreUnavailableError: The database cannot be reached.
        """
        self._operations.set_up()
        if not self._found:
            self._look()
        else:
            self._delete()

    def _look(self) -> None:
        with self._operations.database.transaction(write=False) as session:
            found = session.execute(self._sql.prunable, (self._after, *self._which, MOST_RUNS))
            run_ids = [run_id for run_id, _ in found]
            events = 0
            if self._dry_run and found:
                events = session.execute(self._sql.count_events, (json.dumps(run_ids),))[0][0]
        if not found:
            self.is_done = True
            return
        self._after = found[-1][1]
        if self._dry_run:
            self.pruned = Pruned(self.pruned.runs + len(found), self.pruned.events + events)
        else:
            self._found.extend(run_ids)

    def _delete(self) -> None:
        runs = events = handled = 0
        with self._operations.database.transaction() as session:
            for run_id in self._found:
                deleted = self._delete_events(session, run_id, MOST_EVENTS - events)
                if deleted is not None:
                    events += deleted
                    if events == MOST_EVENTS:
                        break  # there may be more of them
                    runs += session.change(self._sql.delete_run, (run_id,))
                handled += 1
        for _ in range(handled):
            self._found.popleft()
        self.pruned = Pruned(self.pruned.runs + runs, self.pruned.events + events)

    def _delete_events(self, session: Session, run_id: str, most: int) -> int | None:
        """Lock a run and delete its oldest events; return how many, or None if it is not to be deleted any more."""
        if not session.execute(self._sql.lock_prunable, (run_id, *self._which)):
            return None
        return session.change(self._sql.delete_events, (run_id, most, run_id))
