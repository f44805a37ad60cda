"""All runs of a registry at once, for who looks at it from outside: by what executes them, by queue, with their times.

Nothing of it is shown to hosts that may see some runs alone; inputs and contexts are not read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from stategraph.workers.registry.operations import ATTEMPT_EVENT, RegistryOperations, shown
from stategraph.workers.registry.sql import SHOWN, Sql
from stategraph.workers.registry.values import HELD, RunInfo

#: The table of budgets, which whoever keeps some makes (`governance.budget`).
_BUDGETS: Final = "sg_budget"


@dataclass(frozen=True, slots=True)
class QueueInfo:
    """The runs of a queue.

    Attributes:
        queue: Its name.
        waiting: Runs that wait for a worker; those that are submitted for later are left out.
        later: Runs that are submitted for later.
        running: Runs that are being executed.
        oldest_s: Seconds for which the first of those that wait has.
    """

    queue: str
    waiting: int
    later: int
    running: int
    oldest_s: float


@dataclass(frozen=True, slots=True)
class TimedRow:
    """An event of a run as it is stored, with its time.

    Attributes:
        row: Its number, attempt, type and payload, as `eventlog.logged` reads it.
        at: When it was stored, in seconds since 1970.
    """

    row: tuple[int, int, str, bytes | None]
    at: float


class _Statements:
    """The statements, in the words of one database.

    Args:
        sql: Those of the registry.
    """

    def __init__(self, sql: Sql) -> None:
        self._dialect = sql.dialect
        say = self._render
        lately = "(finished_at IS NULL OR finished_at >= {now} - ?)"
        self.of_targets = say(
            f"SELECT {SHOWN} FROM sg_run WHERE target IN ({{members}}) AND {lately} ORDER BY position DESC LIMIT ?"
        )
        self.recent = say(f"SELECT {SHOWN} FROM sg_run WHERE target <> ? AND {lately} ORDER BY position DESC LIMIT ?")
        self.begun = say(
            "SELECT run_id, min(at) FROM sg_event WHERE type = ? AND run_id IN ({members}) GROUP BY run_id"
        )
        self.events = say(
            "SELECT seq, attempt, type, data, at FROM sg_event WHERE run_id = ? AND seq > ? ORDER BY seq LIMIT ?"
        )
        self.of_type = say("SELECT run_id, data FROM sg_event WHERE type = ? AND run_id IN ({members}) ORDER BY seq")
        due = "status = 'pending' AND available_at <= {now}"
        self.queues = say(
            f"""SELECT queue, sum(CASE WHEN {due} THEN 1 ELSE 0 END),
                sum(CASE WHEN status = 'pending' AND available_at > {{now}} THEN 1 ELSE 0 END),
                sum(CASE WHEN status = 'running' THEN 1 ELSE 0 END),
                COALESCE({{now}} - min(CASE WHEN {due} THEN available_at END), 0)
                FROM sg_run WHERE status IN ('pending', 'running') AND target <> ? GROUP BY queue ORDER BY queue"""
        )
        self.budgets = say(
            f"""SELECT tenant, root_run_id, unit, cap, reserved, spent FROM {_BUDGETS}
                ORDER BY touched_at DESC, root_run_id, unit LIMIT ?"""
        )

    def _render(self, statement: str) -> str:
        words = {"now": self._dialect.now, "members": self._dialect.members}
        return statement.format_map(words).replace("?", self._dialect.parameter)


class Overview:
    """Reads runs, queues and events.

    Args:
        operations: The registry's operations; the rows are in its database.
    """

    def __init__(self, operations: RegistryOperations) -> None:
        self._operations = operations
        self._sql = operations.database.sql
        self._own = _Statements(self._sql)

    async def of_targets(self, targets: Sequence[str], since_s: float, limit: int = 1_000) -> list[RunInfo]:
        """Return the newest runs with one of some targets, the oldest of them first.

        Args:
            targets: What executes them.
            since_s: Those that ended longer ago are left out, in seconds.
            limit: At most so many.
        """
        rows = await self._read(self._own.of_targets, json.dumps(list(targets)), since_s, limit)
        return [shown(row) for row in reversed(rows)]

    async def recent(self, since_s: float, limit: int = 2_000) -> list[RunInfo]:
        """Return the newest runs that have not ended, or not longer ago than so many seconds; the newest first."""
        return [shown(row) for row in await self._read(self._own.recent, HELD, since_s, limit)]

    async def begun(self, run_ids: Sequence[str]) -> Mapping[str, float]:
        """Return when runs were first begun, in seconds since 1970, by their ids; those that were not are left out."""
        return dict(await self._read(self._own.begun, ATTEMPT_EVENT, json.dumps(list(run_ids))))

    async def queues(self) -> list[QueueInfo]:
        """Return the queues in which runs wait or are executed, by name."""
        rows = await self._read(self._own.queues, HELD)
        return [
            QueueInfo(name, int(waiting), int(later), int(running), max(0.0, oldest))
            for name, waiting, later, running, oldest in rows
        ]

    async def events(self, run_id: str, after_seq: int = 0, limit: int = 500) -> list[TimedRow]:
        """Return the events of a run after a number, with their times."""
        rows = await self._read(self._own.events, run_id, after_seq, limit)
        return [TimedRow((seq, attempt, kind, data), at) for seq, attempt, kind, data, at in rows]

    async def of_type(self, run_ids: Sequence[str], type: str) -> list[tuple[str, bytes]]:
        """Return run and payload of all events of a type that some runs told, serialised."""
        return await self._read(self._own.of_type, type, json.dumps(list(run_ids)))

    async def budgets(self, limit: int = 50) -> list[tuple[str, str, str, int | None, int, int]]:
        """Return tenant, root run, unit, cap, what is reserved and what was spent, of the budgets used last.

        Amounts are as they are stored: US dollars in billionths, time in milliseconds. None if no budgets are kept.
        """
        return await self._read(self._own.budgets, limit) if await self.has_table(_BUDGETS) else []

    async def has_table(self, name: str) -> bool:
        """Return whether the database has a table, such as that of a store beside the registry."""
        return bool(await self._read(self._sql.exists, name))

    async def _read(self, statement: str, *parameters: object) -> list[Any]:
        def look() -> list[Any]:
            self._operations.set_up()
            with self._operations.database.transaction(write=False) as session:
                return session.execute(statement, parameters)

        return await self._operations.database.perform(look, write=False)
