"""The ends of runs, told to addresses that their requests named.

Rules
-----
* What is to be told is a row that is stored with the request, and goes when it was taken or given up. A process that
  dies in between leaves it: another one tells it, so a receiver may hear of an end twice.
* The body is the run with the values of its thread, and is signed if the server has a secret.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final

import anyio.to_thread

from stategraph.server.service.outgoing import Outgoing
from stategraph.server.service.plain import plain_json
from stategraph.server.service.port import ANYONE, RunRecord, Runs, ServiceError
from stategraph.workers.registry.operations import RegistryOperations
from stategraph.workers.registry.own_tables import OwnTables
from stategraph.workers.registry.port import Session

logger = logging.getLogger(__name__)

#: How often ends are looked for, in seconds.
LOOK_S: Final = 1.0

#: How long a process has for one, in seconds, before another one tells it.
HELD_S: Final = 120.0

#: How many are told at a time.
AT_ONCE: Final = 20

_TABLES: Final = (
    """CREATE TABLE sg_webhook (
        run_id TEXT PRIMARY KEY,
        url TEXT NOT NULL,
        held_until {real} NOT NULL
    )""",
)

_DUE: Final = """SELECT w.run_id, w.url FROM sg_webhook AS w LEFT JOIN sg_run AS r ON r.run_id = w.run_id
    WHERE w.held_until < {now} AND (r.run_id IS NULL OR r.finished_at IS NOT NULL) LIMIT ?"""


class Webhooks:
    """Tells the ends of runs.

    Args:
        operations: The registry's operations; the rows are in its database.
        outgoing: Sends.
        secret: Signs the bodies; empty: they are not signed.
    """

    def __init__(self, operations: RegistryOperations, outgoing: Outgoing, secret: str = "") -> None:
        self._database = operations.database
        self._outgoing = outgoing
        self._secret = secret
        dialect = self._database.sql.dialect
        self._words = {"real": dialect.real, "now": dialect.now}
        self._parameter = dialect.parameter
        self._tables = OwnTables(self._database, [self._say(each) for each in _TABLES])
        self._sending: set[asyncio.Task[None]] = set()

    async def check(self, url: str) -> None:
        """Make sure that an address may be told.

        Raises:
            InvalidError: It may not.
        """
        await self._outgoing.check(url)

    async def add(self, run_id: str, url: str) -> None:
        """Have the end of a run told to an address that was checked."""
        statement = self._say("INSERT INTO sg_webhook VALUES (?, ?, 0) ON CONFLICT (run_id) DO NOTHING")
        await self._perform(lambda session: session.change(statement, (run_id, url)))

    @asynccontextmanager
    async def telling(self, runs: Runs, look_s: float = LOOK_S) -> AsyncIterator[None]:
        """Tell ends for a block.

        Args:
            runs: The runs.
            look_s: How often ends are looked for, in seconds.
        """
        task = asyncio.create_task(self._tell_often(runs, look_s))
        try:
            yield
        finally:
            for each in (task, *self._sending):
                each.cancel()
            await asyncio.gather(task, *self._sending, return_exceptions=True)
            await self._outgoing.aclose()

    async def _tell_often(self, runs: Runs, look_s: float) -> None:
        while True:
            try:
                for run_id, url in await self._due():
                    sending = asyncio.create_task(self._tell(runs, run_id, url))
                    self._sending.add(sending)
                    sending.add_done_callback(self._sending.discard)
            except Exception:  # whatever the database says: it is tried again
                logger.exception("Ends of runs were not told; it is tried again")
            await asyncio.sleep(look_s)

    async def _due(self) -> list[tuple[str, str]]:
        """Hold some of the ends that nobody tells."""
        hold = self._say("UPDATE sg_webhook SET held_until = {now} + ? WHERE run_id = ? AND held_until < {now}")

        def claim(session: Session) -> list[tuple[str, str]]:
            found = session.execute(self._say(_DUE), (AT_ONCE - len(self._sending),))
            return [(run_id, url) for run_id, url in found if session.change(hold, (HELD_S, run_id))]

        return await self._perform(claim) if len(self._sending) < AT_ONCE else []

    async def _tell(self, runs: Runs, run_id: str, url: str) -> None:
        try:
            run = await runs.get(ANYONE, run_id)
            values = await runs.output(ANYONE, run_id)
            await self._outgoing.post(url, plain_json(_body(run, values)).encode(), {}, secret=self._secret)
        except ServiceError:  # it was deleted meanwhile
            logger.debug("Run '%s' is gone, and its end is told nobody", run_id)
        forget = self._say("DELETE FROM sg_webhook WHERE run_id = ?")
        await self._perform(lambda session: session.change(forget, (run_id,)))

    async def _perform(self, work: Callable[[Session], Any]) -> Any:
        def perform() -> Any:
            self._tables.set_up()
            with self._database.transaction() as session:
                return work(session)

        return await anyio.to_thread.run_sync(perform)

    def _say(self, statement: str) -> str:
        return statement.format_map(self._words).replace("?", self._parameter)


def _body(run: RunRecord, values: Any) -> dict[str, Any]:
    """Return what a receiver is told, in the form of LangGraph's server."""
    kind, _, message = (run.error or "").partition(": ")
    return {
        "run_id": run.run_id,
        "thread_id": run.thread_id,
        "assistant_id": run.assistant_id,
        "status": run.status,
        "created_at": run.created_at.isoformat(),
        "updated_at": run.updated_at.isoformat(),
        "metadata": dict(run.metadata),
        "multitask_strategy": run.multitask_strategy,
        "run_started_at": run.created_at.isoformat(),
        "run_ended_at": run.updated_at.isoformat(),
        "webhook_sent_at": datetime.now(UTC).isoformat(),
        "values": values,
        "error": {"error": kind, "message": message} if run.error else None,
    }
