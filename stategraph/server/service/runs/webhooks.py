"""The ends of runs, told to addresses that their requests named.

Rules
-----
* What is to be told is a row that is stored in the transaction that adds the run, so a row without a run says that the
  run was deleted. It goes when the receiver has taken it, or was sent it in vain as often as is tried.
* A row is held by the process that tells it. A process that dies leaves it, and another one tells it once the hold is
  over; one that ends gives it back. So a receiver may hear of an end twice.
* Whatever else fails is logged, and tried again after a pause that grows: nothing but a run that is gone is forgotten.
* The body is the run with the values of its thread, and is signed if the server has a secret.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import Any, Final

import anyio.to_thread

from stategraph.server.service.outgoing import Outgoing
from stategraph.server.service.plain import plain_json
from stategraph.server.service.port import ANYONE, NotFoundError, RunRecord, Runs
from stategraph.workers.registry.operations import RegistryOperations
from stategraph.workers.registry.own_tables import OwnTables
from stategraph.workers.registry.port import Session

logger = logging.getLogger(__name__)

#: How often ends are looked for, in seconds.
LOOK_S: Final = 1.0

#: How long a process has for one, in seconds, before another one tells it.
HELD_S: Final = 120.0

#: The pause after the first failure, in seconds; it doubles with each further one of the same end, up to `HELD_S`.
AGAIN_S: Final = 2.0

#: How many are told at a time.
AT_ONCE: Final = 20

#: Runs whose failures are remembered, and how many of one.
_KNOWN: Final = 1_000
_MOST_FAILURES: Final = 16

_TABLES: Final = (
    """CREATE TABLE sg_webhook (
        run_id TEXT PRIMARY KEY,
        url TEXT NOT NULL,
        held_until {real} NOT NULL
    )""",
)

_ADD: Final = """INSERT INTO sg_webhook SELECT ?, ?, 0 WHERE NOT EXISTS (SELECT 1 FROM sg_run WHERE run_id = ?)
    ON CONFLICT (run_id) DO NOTHING"""

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
        self._sending: dict[str, asyncio.Task[None]] = {}
        #: How often telling the ends of runs has failed here one time after the other.
        self._failures: dict[str, int] = {}

    async def check(self, url: str) -> None:
        """Make sure that an address may be told.

        Raises:
            InvalidError: It may not.
        """
        await self._outgoing.check(url)

    def add(self, session: Session, run_id: str, url: str) -> None:
        """Have the end of a run told to an address that was checked; within the block of `telling`.

        Args:
            session: The transaction that adds the run.
            run_id: The run; if it is there already, the request is repeated, and nothing is added.
            url: The address.
        """
        session.change(self._say(_ADD), (run_id, url, run_id))

    @asynccontextmanager
    async def telling(self, runs: Runs, look_s: float = LOOK_S) -> AsyncIterator[None]:
        """Tell ends for a block.

        Args:
            runs: The runs.
            look_s: How often ends are looked for, in seconds.

        Raises:
            StoreUnavailableError: The database cannot be reached.
        """
        await anyio.to_thread.run_sync(self._tables.set_up)
        task = asyncio.create_task(self._tell_often(runs, look_s))
        try:
            yield
        finally:
            sending = dict(self._sending)
            for each in (task, *sending.values()):
                each.cancel()
            await asyncio.gather(task, *sending.values(), return_exceptions=True)
            await self._outgoing.aclose()
            await self._give_back(sending)

    async def _tell_often(self, runs: Runs, look_s: float) -> None:
        while True:
            try:
                for run_id, url in await self._due():
                    sending = self._sending[run_id] = asyncio.create_task(self._tell(runs, run_id, url))
                    sending.add_done_callback(partial(self._told, run_id))
            except Exception:  # whatever the database says: it is tried again
                logger.exception("Ends of runs were not told; it is tried again")
            await asyncio.sleep(look_s)

    def _told(self, run_id: str, done: asyncio.Task[None]) -> None:
        del self._sending[run_id]
        if not done.cancelled() and (error := done.exception()) is not None:
            logger.error("The end of run '%s' is told again in %s s", run_id, HELD_S, exc_info=error)

    async def _due(self) -> list[tuple[str, str]]:
        """Hold some of the ends that nobody tells."""
        hold = self._say("UPDATE sg_webhook SET held_until = {now} + ? WHERE run_id = ? AND held_until < {now}")

        def claim(session: Session) -> list[tuple[str, str]]:
            found = session.execute(self._say(_DUE), (AT_ONCE,))
            free = ((run_id, url) for run_id, url in found if run_id not in telling)
            return [each for each in islice(free, AT_ONCE - len(telling)) if session.change(hold, (HELD_S, each[0]))]

        telling = set(self._sending)
        return await self._perform(claim) if len(telling) < AT_ONCE else []

    async def _tell(self, runs: Runs, run_id: str, url: str) -> None:
        """Tell an end, and forget it; after a failure, hold it for a pause."""
        try:
            await self._send(runs, run_id, url)
            forget = self._say("DELETE FROM sg_webhook WHERE run_id = ?")
            await self._perform(lambda session: session.change(forget, (run_id,)))
        except Exception:  # the database is away, the graph is not served here, the client of HTTP has a new error
            failures = self._failures.pop(run_id, 0)
            pause_s = min(AGAIN_S * 2**failures, HELD_S)
            logger.exception("The end of run '%s' was not told; it is tried again in %s s", run_id, pause_s)
            self._failures[run_id] = min(failures + 1, _MOST_FAILURES)
            if len(self._failures) > _KNOWN:
                del self._failures[next(iter(self._failures))]
            hold = self._say("UPDATE sg_webhook SET held_until = {now} + ? WHERE run_id = ?")
            await self._perform(lambda session: session.change(hold, (pause_s, run_id)))
        else:
            self._failures.pop(run_id, None)

    async def _send(self, runs: Runs, run_id: str, url: str) -> None:
        try:
            run = await runs.get(ANYONE, run_id)
        except NotFoundError:
            logger.debug("Run '%s' is gone, and its end is told nobody", run_id)
            return
        values = await runs.output(ANYONE, run_id)
        await self._outgoing.post(url, plain_json(_body(run, values)).encode(), {}, secret=self._secret)

    async def _give_back(self, run_ids: Iterable[str]) -> None:
        """Let another process tell at once what this one no longer does."""
        free = self._say("UPDATE sg_webhook SET held_until = 0 WHERE run_id = ?")
        if several := [(each,) for each in run_ids]:
            try:
                await self._perform(lambda session: session.change_many(free, several))
            except Exception:
                logger.warning("Ends of runs are told by another process in %s s", HELD_S, exc_info=True)

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
