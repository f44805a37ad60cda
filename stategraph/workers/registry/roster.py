"""The workers of a registry, each a row that it refreshes as long as it lives: what a page on the fleet's health shows.

Nothing is decided by these rows: a run's lease says whether its worker has it.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from typing import Any, Final

from stategraph._version import __version__
from stategraph.workers.registry.operations import RegistryOperations
from stategraph.workers.registry.values import WorkerInfo

#: Interval at which a worker refreshes its row.
SEEN_EVERY_S: Final = 5.0

#: A worker that was not seen for so long is gone.
GONE_S: Final = 3 * SEEN_EVERY_S

#: The row of a worker that is gone is kept for so long.
KEPT_S: Final = 24 * 3600.0


class Roster:
    """The rows of workers.

    Args:
        operations: The registry's operations; the rows are in its database.
    """

    def __init__(self, operations: RegistryOperations) -> None:
        self._operations = operations
        self._sql = operations.database.sql

    def see(self, worker_id: str, capacity: int, queues: Sequence[str] = ()) -> None:
        """Note that a worker of this process lives.

        Args:
            worker_id: Its name.
            capacity: How many runs it executes at a time.
            queues: The queues that it claims from, the most important one first.
        """
        where = (socket.gethostname(), os.getpid())
        self._change(self._sql.see_worker, (worker_id, *where, capacity, __version__, json.dumps(list(queues))))

    def forget(self, worker_id: str) -> None:
        """Delete the row of a worker that ends."""
        self._change(self._sql.forget_worker, (worker_id,))

    def forget_gone(self) -> None:
        """Delete the rows of workers that have been gone for a day."""
        self._change(self._sql.forget_workers, (KEPT_S,))

    def workers(self) -> list[WorkerInfo]:
        """Return all workers, the oldest first."""
        self._operations.set_up()
        with self._operations.database.transaction(write=False) as session:
            found = session.execute(self._sql.workers, (GONE_S,))
        return [_info(row) for row in found]

    def _change(self, statement: str, parameters: tuple[object, ...]) -> None:
        self._operations.set_up()
        with self._operations.database.transaction() as session:
            session.change(statement, parameters)


def _info(found: tuple[Any, ...]) -> WorkerInfo:
    worker_id, host, pid, capacity, version, started_at, seen_at, busy, gone, queues = found
    claims = tuple(json.loads(queues)) if queues else ()
    return WorkerInfo(worker_id, host, pid, capacity, version, started_at, seen_at, busy, bool(gone), claims)
