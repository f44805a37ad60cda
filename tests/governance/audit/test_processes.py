"""Several processes on one log, processes that are killed, and a database that goes away."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stategraph.governance.audit.log import AuditLog
from stategraph.governance.audit.storages.urls import storage_at
from stategraph.governance.audit.verification import verify
from stategraph.governance.errors import AuditUnavailable
from tests.governance.audit.events import event
from tests.governance.audit.logs import KEYS, rows
from tests.workers.restarting import Server
from tests.workers.waiting import until

ROOT = Path(__file__).resolve().parents[3]
LIMIT_S = 120
ENOUGH = 1_000_000


@contextmanager
def writing(url: str, name: str, number: int) -> Iterator[subprocess.Popen[str]]:
    """A process that writes."""
    command = [sys.executable, "-m", "tests.governance.audit.writing", url, name, str(number)]
    environment = {**os.environ, "STATEGRAPH_AUDIT_KEYS": KEYS.dump()}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_two_processes_write_to_one_tenant(url: str) -> None:
    with writing(url, "a", 60) as one, writing(url, "b", 60) as other:
        assert one.wait(LIMIT_S) == 0
        assert other.wait(LIMIT_S) == 0
    storage = storage_at(url)
    (found,) = verify(storage, keyring=KEYS)
    found.check()
    assert (found.rows, found.unsigned) == (120, 0)
    ids = [row.id for row in rows(storage)]
    for name in ("a", "b"):
        assert [id for id in ids if id.startswith(name)] == [f"{name}-{number}" for number in range(60)]
    storage.close()


def test_a_process_that_is_killed_loses_no_durable_event_and_leaves_a_chain_that_verifies(url: str) -> None:
    told: list[str] = []
    for number, after in enumerate((1, 7, 20)):
        with writing(url, f"p{number}", ENOUGH) as process:
            assert process.stdout is not None
            for line in process.stdout:
                told.append(line.strip())
                if told[-1] == f"p{number}-{3 * after}":
                    break
            process.kill()
            told += [line.strip() for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    storage = storage_at(url)
    (found,) = verify(storage, keyring=KEYS)
    found.check()
    ids = [row.id for row in rows(storage)]
    assert set(told) <= set(ids)
    for number in range(3):
        mine = [id for id in ids if id.startswith(f"p{number}-")]
        # What is lost is the end: there are no gaps, and nothing is there twice.
        assert mine == [f"p{number}-{at}" for at in range(len(mine))]
    storage.close()


@pytest.mark.anyio
async def test_a_server_that_goes_away_is_waited_for_or_the_event_is_refused() -> None:
    with Server.running() as server:
        async with AuditLog(server.url, keyring=KEYS) as log:
            first = event()
            await log.record(first, durable=True)
            await asyncio.to_thread(server.stop)
            stopped = [event() for _ in range(5)]
            for each in stopped:
                await log.record(each)
            waiting = asyncio.ensure_future(log.record(event(), durable=True))
            await until(lambda: log.statistics().failure != "")
            assert not waiting.done()
            waiting.cancel()  # the action did not begin
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await asyncio.to_thread(server.start)
            last = event()
            await asyncio.wait_for(log.record(last, durable=True), LIMIT_S)
        found = [row.id for row in rows(log.storage)]
        assert [id for id in found if id in {each.id for each in (first, *stopped, last)}] == [
            each.id for each in (first, *stopped, last)
        ]
        (outcome,) = verify(log.storage, keyring=KEYS)
        outcome.check()
        await asyncio.to_thread(server.stop)
        closing = AuditLog(server.url)
        await closing.record(event())
        with pytest.raises(AuditUnavailable, match="1 rows are not known to be stored") as raised:
            await closing.aclose(0.1)
        assert "cannot be" in str(raised.value) or "connection" in str(raised.value)
        await asyncio.to_thread(server.start)
