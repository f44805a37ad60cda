"""What the service does by itself: one thing that fails holds up no other, and is tried again."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stategraph.server.service import crons
from stategraph.server.service.runs.erasing import ROLLED_BACK, Erasing
from stategraph.server.service.values import ANYONE, ConflictError, RunRequest, UnavailableError
from stategraph.workers.registry.port import StoreUnavailableError
from tests.server.planted import Failing, fail_statements
from tests.server.service.assembly import Assembly

pytestmark = pytest.mark.anyio


async def _change(assembly: Assembly, statement: str, *values: Any) -> int:
    return await assembly.tables.write(lambda session: session.change(assembly.tables.say(statement), values))


async def _due(assembly: Assembly, number: int) -> list[str]:
    """Make schedules that are all due; return their ids, the first one first."""
    made = [
        (await assembly.crons.create(ANYONE, {"assistant_id": "steps", "schedule": "0 0 1 1 *"})).cron_id
        for _ in range(number)
    ]
    for place, cron_id in enumerate(made):
        due = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=30 - place)
        await _change(
            assembly,
            "UPDATE sg_cron SET next_run_at = ?, claimed_until = 0 WHERE cron_id = ?",
            due.timestamp(),
            cron_id,
        )
    return made


@pytest.mark.parametrize("error", [UnavailableError("away"), TypeError("planted")], ids=["away", "unexpected"])
async def test_a_schedule_that_fails_is_given_back_and_holds_up_no_other(
    assembly: Assembly, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    monkeypatch.setattr(crons, "AGAIN_S", -1.0)  # it may be tried again at once
    first, *_ = await _due(assembly, 3)
    monkeypatch.setattr(assembly.runs, "create", Failing(assembly.runs.create, error))
    assert await assembly.crons.begin_due() == 2
    assert len(await assembly.registry.list()) == 2
    assert f"Schedule '{first}' is tried again" in caplog.text
    assert await assembly.crons.begin_due() == 1
    assert len(await assembly.registry.list()) == 3
    assert await assembly.crons.begin_due() == 0


async def test_a_schedule_whose_next_time_cannot_be_stored_begins_its_run_once(
    assembly: Assembly, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crons, "AGAIN_S", -1.0)
    (cron_id,) = await _due(assembly, 1)
    database = assembly.registry.operations.database
    left = fail_statements(monkeypatch, database, "UPDATE sg_cron SET next_run_at", StoreUnavailableError("away"))
    assert await assembly.crons.begin_due() == 0
    assert not left
    assert await assembly.crons.begin_due() == 0  # its run is there already
    assert len(await assembly.registry.list()) == 1
    due = (await assembly.crons.get(ANYONE, cron_id)).next_run_at
    assert due is not None
    assert due > datetime.now(UTC)


async def test_a_schedule_that_is_refused_waits_for_its_next_time(
    assembly: Assembly, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cron_id,) = await _due(assembly, 1)
    monkeypatch.setattr(assembly.runs, "create", Failing(assembly.runs.create, ConflictError("busy")))
    assert await assembly.crons.begin_due() == 0
    assert await assembly.crons.begin_due() == 0
    due = (await assembly.crons.get(ANYONE, cron_id)).next_run_at
    assert due is not None
    assert due > datetime.now(UTC)


async def test_a_schedule_that_cannot_be_given_back_either_holds_up_no_other(
    assembly: Assembly, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _due(assembly, 2)
    monkeypatch.setattr(assembly.runs, "create", Failing(assembly.runs.create, UnavailableError("away")))
    database = assembly.registry.operations.database
    given_back = (
        "UPDATE sg_cron SET claimed_until = "
        + assembly.tables.dialect.now
        + " + "
        + (assembly.tables.dialect.parameter + " WHERE cron_id = " + assembly.tables.dialect.parameter + " AND")
    )
    left = fail_statements(monkeypatch, database, given_back, StoreUnavailableError("away"))
    assert await assembly.crons.begin_due() == 1
    assert not left


async def test_a_thread_that_cannot_be_deleted_holds_up_no_other(
    assembly: Assembly, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = [(await assembly.threads.create(ANYONE, ttl={"ttl": 1})).thread_id for _ in range(3)]
    await _change(assembly, "UPDATE sg_thread SET expires_at = 1")
    monkeypatch.setattr(assembly.threads, "_erase", Failing(assembly.threads._erase, TypeError("planted")))
    with caplog.at_level(logging.ERROR):
        assert await assembly.threads.sweep() == 3
    assert await assembly.threads.count(ANYONE) == 1
    assert "has expired, and is left for the next time" in caplog.text
    await _change(assembly, "UPDATE sg_thread SET expires_at = 1")
    assert await assembly.threads.sweep() == 1
    assert await assembly.threads.count(ANYONE) == 0
    assert len(made) == 3


async def test_what_cannot_be_erased_holds_up_nothing_else(
    assembly: Assembly, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("stategraph.server.service.runs.requests.KEPT_S", 0.0)
    begun = [await assembly.runs.create(ANYONE, RunRequest(assistant_id="steps", input={})) for _ in range(3)]
    for each in begun:
        await assembly.registry.cancel(each.run_id, "stopped")  # they wait, so they end at once
    taken_back = [
        await assembly.runs.create(ANYONE, RunRequest(assistant_id="steps", input={}, on_completion="keep"))
        for _ in range(3)
    ]
    for each in taken_back:
        await assembly.registry.cancel(each.run_id, ROLLED_BACK)
    erasing = Erasing(assembly.registry, assembly.saver, assembly.threads)
    labelled = assembly.registry.labelled
    monkeypatch.setattr(labelled, "delete", Failing(labelled.delete, TypeError("of a run")))
    monkeypatch.setattr(assembly.threads, "delete", Failing(assembly.threads.delete, TypeError("of a thread")))
    await erasing.tidy()
    assert len(await labelled.left(ROLLED_BACK)) == 1
    assert len(await labelled.temporary_threads()) == 1
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["of a run", "of a thread"]
    await erasing.tidy()
    assert await labelled.left(ROLLED_BACK) == []
    assert await labelled.temporary_threads() == []
