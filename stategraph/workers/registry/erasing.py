"""Erase the runs of a thread with their inputs, contexts and events, in one transaction.

Not erased: checkpoints, which are the saver's; the last token of the thread, a number that must not be used twice; and
effects, as their keys may be used again by any run (`EffectBook.forget` deletes those).
"""

from __future__ import annotations

from stategraph.errors import ConfigurationError
from stategraph.workers.registry.operations import RegistryOperations


def erase_thread(operations: RegistryOperations, thread_id: str) -> int:
    """Erase the runs of a thread.

    Args:
        operations: The registry's operations; the rows are in its database.
        thread_id: The thread.

    Returns:
        How many runs that were.

    Raises:
        ConfigurationError: One of them goes on, or waits for a worker.
        StoreUnavailableError: The database cannot be reached.
    """
    operations.set_up()
    sql = operations.database.sql
    with operations.database.transaction() as session:
        if sql.thread_lock is not None:
            session.execute(sql.thread_lock, (thread_id,))
        for run_id, _, status, *_ in session.execute(sql.lives_of_thread, (thread_id,)):
            raise ConfigurationError(
                f"Thread '{thread_id}' cannot be erased: run '{run_id}' is {status} on it; "
                "wait for its end, or cancel it"
            )
        session.change(sql.delete_events_of_thread, (thread_id,))
        return session.change(sql.delete_runs_of_thread, (thread_id,))
