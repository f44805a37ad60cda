"""Runs with what their host keeps with them: its labels, the input and the config, for hosts that show all of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from stategraph.workers.leases import ENDED, RunStatus
from stategraph.workers.registry.operations import RegistryOperations, shown
from stategraph.workers.registry.values import RunInfo, UnknownRunError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LabelledRun:
    """A run, and what it was submitted with.

    Attributes:
        info: What all hosts are shown.
        labels: What the host keeps with it; empty if it was submitted without.
        input: Serialised, as `RunRegistry.load` reads it.
        config: Plain values for its config.
        context: Serialised, as the input.
        changed_at: When it was moved or its owner was heard last, in seconds since 1970.
    """

    info: RunInfo
    labels: Mapping[str, Any]
    input: bytes | None = field(repr=False)
    config: Mapping[str, Any] = field(repr=False)
    context: bytes | None = field(repr=False)
    changed_at: float


class LabelledRuns:
    """Finds and deletes runs with their labels.

    Args:
        operations: The registry's operations; the rows are in its database.
    """

    def __init__(self, operations: RegistryOperations) -> None:
        self._operations = operations
        self._sql = operations.database.sql

    async def get(self, run_id: str) -> LabelledRun:
        """Return a run.

        Raises:
            UnknownRunError: There is none.
        """
        return await self._read(self._get, run_id, quick=True)

    async def with_last_event(self, run_id: str, type: str) -> tuple[LabelledRun, Sequence[bytes]]:
        """Return a run, and once it has ended the payload of its newest event of a type, if it has one.

        Raises:
            UnknownRunError: There is none.
        """
        return await self._read(self._with_last_event, run_id, type, quick=True)

    async def of_thread(
        self, thread_id: str, statuses: Sequence[RunStatus] = tuple(RunStatus), limit: int = 100, offset: int = 0
    ) -> list[LabelledRun]:
        """Return the runs of a thread in one of some statuses, the newest first."""
        wanted = json.dumps([str(each) for each in statuses])
        return await self._read(self._find, self._sql.labelled_of_thread, thread_id, wanted, limit, offset)

    async def scheduled(self, thread_id: str) -> frozenset[str]:
        """Return the runs of a thread that were submitted for later, and whose time has not come."""
        return await self._read(self._scheduled, thread_id)

    async def in_status(self, statuses: Sequence[RunStatus], limit: int = 1000) -> list[LabelledRun]:
        """Return the runs in one of some statuses, the newest first."""
        wanted = json.dumps([str(each) for each in statuses])
        return await self._read(self._find, self._sql.labelled_in_status, wanted, limit)

    async def left(self, reason: str, limit: int = 100) -> list[LabelledRun]:
        """Return runs that have ended after they were asked to stop for a reason."""
        return await self._read(self._find, self._sql.labelled_by_reason, reason, limit)

    async def temporary_threads(self, limit: int = 100) -> list[str]:
        """Return threads that are not kept any longer."""
        return await self._read(self._temporary_threads, limit)

    async def last_events(self, run_id: str, type: str, limit: int = 20) -> list[bytes]:
        """Return the payloads of the newest events of a type, serialised, the newest first."""
        return await self._read(self._last_events, run_id, type, limit)

    async def last_seq(self, run_id: str) -> int:
        """Return the number of a run's newest event; 0 if there is none."""
        return await self._read(self._last_seq, run_id)

    async def delete(self, run_id: str) -> bool:
        """Delete a run that has ended, with its events; return False if it goes on, and leave it.

        Raises:
            UnknownRunError: There is none.
        """
        return await self._operations.database.perform(self.delete_now, run_id)

    def delete_now(self, run_id: str) -> bool:
        """Delete a run that has ended, see `delete`."""
        self._operations.set_up()
        with self._operations.database.transaction() as session:
            found = session.execute(self._sql.life, (run_id,))
            if not found:
                raise UnknownRunError(f"The registry has no run '{run_id}'")
            if RunStatus(found[0][2]) not in ENDED:
                return False
            session.change(self._sql.delete_events_of_run, (run_id,))
            session.change(self._sql.delete_run, (run_id,))
        return True

    async def _read(self, function: Callable[..., T], *arguments: object, quick: bool = False) -> T:
        return await self._operations.database.perform(function, *arguments, write=False, quick=quick)

    def _scheduled(self, thread_id: str) -> frozenset[str]:
        self._operations.set_up()
        with self._operations.database.transaction(write=False) as session:
            return frozenset(run_id for (run_id,) in session.execute(self._sql.scheduled_of_thread, (thread_id,)))

    def _temporary_threads(self, limit: int) -> list[str]:
        self._operations.set_up()
        with self._operations.database.transaction(write=False) as session:
            return [thread_id for (thread_id,) in session.execute(self._sql.temporary_threads, (limit,))]

    def _last_events(self, run_id: str, type: str, limit: int) -> list[bytes]:
        self._operations.set_up()
        with self._operations.database.transaction(write=False) as session:
            return [data for (data,) in session.execute(self._sql.last_events, (run_id, type, limit))]

    def _last_seq(self, run_id: str) -> int:
        self._operations.set_up()
        with self._operations.database.transaction(write=False) as session:
            number: int = session.execute(self._sql.last_seq, (run_id,))[0][0]
        return number

    def _get(self, run_id: str) -> LabelledRun:
        if not (found := self._find(self._sql.labelled, run_id)):
            raise UnknownRunError(f"The registry has no run '{run_id}'")
        return found[0]

    def _with_last_event(self, run_id: str, type: str) -> tuple[LabelledRun, Sequence[bytes]]:
        self._operations.set_up()
        with self._operations.database.transaction(write=False) as session:
            if not (found := session.execute(self._sql.labelled, (run_id,))):
                raise UnknownRunError(f"The registry has no run '{run_id}'")
            run = _labelled(found[0])
            ended = run.info.finished_at is not None
            told = session.execute(self._sql.last_events, (run_id, type, 1)) if ended else ()
        return run, [data for (data,) in told]

    def _find(self, statement: str, *parameters: object) -> list[LabelledRun]:
        self._operations.set_up()
        with self._operations.database.transaction(write=False) as session:
            found = session.execute(statement, parameters)
        return [_labelled(row) for row in found]


def _labelled(found: tuple[Any, ...]) -> LabelledRun:
    labels, input, config, context, changed_at, *info = found
    return LabelledRun(
        shown(info),
        {} if labels is None else json.loads(labels),
        input,
        json.loads(config),
        context,
        changed_at,
    )
