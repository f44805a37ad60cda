"""The audit log takes events without losing any, in order, and says so where it cannot."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from stategraph.errors import ConfigurationError
from stategraph.governance.audit import erasing
from stategraph.governance.audit.filters import AuditFilter
from stategraph.governance.audit.lines import read_head_line
from stategraph.governance.audit.log import AuditLog, AuditSettings
from stategraph.governance.audit.record import Row
from stategraph.governance.audit.storage import AuditSession
from stategraph.governance.audit.storages.sqlite import SqliteAuditStorage
from stategraph.governance.audit.verification import verify
from stategraph.governance.context import Principal
from stategraph.governance.errors import AuditUnavailable
from stategraph.governance.keyring import Keyring
from tests.governance.audit.events import event

pytestmark = pytest.mark.anyio

LIMIT_S = 60


def rows(log: AuditLog, tenant: str = "acme") -> list[Row]:
    with log.storage.reading() as reading:
        return list(reading.rows(tenant))


class Away(SqliteAuditStorage):
    """A storage that is away until it is told to be there, and counts the times that it was asked."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.there = threading.Event()
        self.asked = threading.Semaphore(0)

    def transaction(self, tenants: Collection[str]) -> AbstractContextManager[AuditSession]:
        self.asked.release()
        if not self.there.is_set():
            raise ConnectionError("the server is away")
        return super().transaction(tenants)


class Unanswered(SqliteAuditStorage):
    """A storage whose first commit is not answered: the server stored it, and the connection broke."""

    broken = False

    @contextmanager
    def transaction(self, tenants: Collection[str]) -> Iterator[AuditSession]:
        with super().transaction(tenants) as session:
            yield session
        if not self.broken:
            self.broken = True
            raise ConnectionError("the connection broke")


@pytest.fixture
def away(tmp_path: Path) -> Away:
    return Away(str(tmp_path / "audit.db"))


async def test_a_durable_event_is_stored_when_the_call_returns(url: str) -> None:
    async with AuditLog(url) as log:
        first = event()
        await log.record(first, durable=True)
        assert [each.id for each in rows(log)] == [first.id]


def test_other_events_are_stored_when_the_log_is_closed(url: str) -> None:
    events = [event() for _ in range(1000)]
    with AuditLog(url) as log:
        for each in events:
            log.record_sync(each)
    assert [each.id for each in rows(log)] == [each.id for each in events]
    assert [each.seq for each in rows(log)] == list(range(1, 1001))


def test_events_of_tenants_have_chains_of_their_own(url: str) -> None:
    events = [event(tenant=("acme", "beta", "core")[number % 3]) for number in range(300)]
    with AuditLog(url) as log:
        for each in events:
            log.record_sync(each)
    for tenant in ("acme", "beta", "core"):
        assert [each.id for each in rows(log, tenant)] == [each.id for each in events if each.tenant == tenant]
        assert [each.seq for each in rows(log, tenant)] == list(range(1, 101))


async def test_the_loop_goes_on_while_the_storage_is_away_and_nothing_is_lost(away: Away) -> None:
    async with AuditLog(away) as log:
        risky = event()
        waiting = asyncio.ensure_future(log.record(risky, durable=True))
        await asyncio.to_thread(away.asked.acquire)
        others = [event() for _ in range(100)]
        for each in others:
            await log.record(each)
        assert not waiting.done()
        await asyncio.to_thread(away.asked.acquire)  # the first time has failed
        assert "away" in log.statistics().failure
        away.there.set()
        await asyncio.wait_for(waiting, LIMIT_S)
    assert [each.id for each in rows(log)] == [each.id for each in (risky, *others)]
    assert log.statistics().failure == ""


async def test_a_batch_whose_commit_was_not_answered_is_stored_once(tmp_path: Path) -> None:
    storage = Unanswered(str(tmp_path / "audit.db"))
    events = [event() for _ in range(3)]
    async with AuditLog(storage) as log:
        for each in events:
            await log.record(each)
        await log.flush()
        assert storage.broken
        assert log.statistics().retries == 1
    assert [each.id for each in rows(log)] == [each.id for each in events]


async def test_a_durable_event_is_refused_after_its_time_and_an_action_does_not_begin(away: Away) -> None:
    log = AuditLog(away, settings=AuditSettings(durable_s=0.01))
    await log.record(event())
    for _ in range(2):  # when it is asked again, the first time has failed
        await asyncio.to_thread(away.asked.acquire)
    with pytest.raises(AuditUnavailable, match="the server is away"):
        await log.record(event(), durable=True)
    away.there.set()
    await log.aclose()
    assert log.statistics().refused == 1


async def test_a_refused_event_that_was_in_the_queue_is_not_stored_later(away: Away) -> None:
    log = AuditLog(away, settings=AuditSettings(durable_s=0.01, batch=1))
    first = event()
    await log.record(first)
    await asyncio.to_thread(away.asked.acquire)  # the writer has taken the first, and comes back to it
    with pytest.raises(AuditUnavailable, match="does not have it"):
        await log.record(event(), durable=True)
    away.there.set()
    await log.aclose()
    assert [each.id for each in rows(log)] == [first.id]


async def test_a_full_queue_refuses_events_after_a_while_and_lets_risky_ones_wait(away: Away) -> None:
    async with AuditLog(away, settings=AuditSettings(queue=2, batch=1, admission_s=0.05)) as log:
        taken = event()
        await log.record(taken)
        await asyncio.to_thread(away.asked.acquire)
        queued = [event(), event()]
        for each in queued:
            await log.record(each)
        with pytest.raises(AuditUnavailable, match="2 are queued"):
            await log.record(event())
        risky = event()
        waiting = asyncio.ensure_future(log.record(risky, durable=True))
        with pytest.raises(AuditUnavailable):
            await asyncio.to_thread(log.record_sync, event())
        assert not waiting.done()
        away.there.set()
        await asyncio.wait_for(waiting, LIMIT_S)
    assert [each.id for each in rows(log)] == [each.id for each in (taken, *queued, risky)]
    assert log.statistics().refused == 2


async def test_a_cancelled_call_leaves_nothing_in_the_queue(away: Away) -> None:
    async with AuditLog(away, settings=AuditSettings(batch=1)) as log:
        first = event()
        await log.record(first)
        await asyncio.to_thread(away.asked.acquire)
        waiting = asyncio.ensure_future(log.record(event(), durable=True))
        await asyncio.sleep(0)  # it has its place in the queue
        assert log.statistics().queued == 1
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert log.statistics().queued == 0
        away.there.set()
    assert [each.id for each in rows(log)] == [first.id]


async def test_closing_says_how_many_rows_are_lost(away: Away) -> None:
    log = AuditLog(away)
    for _ in range(5):
        await log.record(event())
    with pytest.raises(AuditUnavailable, match="5 rows are not known to be stored"):
        await log.aclose(0.05)
    with pytest.raises(AuditUnavailable, match="closed"):
        await log.record(event())
    await log.aclose()  # again: nothing happens


async def test_data_are_read_at_once(url: str) -> None:
    data: dict[str, Any] = {"list": [1]}
    async with AuditLog(url) as log:
        await log.record(event(data=data))
        data["list"].append(2)
    (row,) = rows(log)
    assert row.data is not None
    assert row.data[16:] == b'{"list":[1]}'


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"type": "something"}, "no type 'something'"),
        ({"type": "audit.erased"}, "does not tell itself"),
        ({"tenant": ""}, "tenant is ''"),
        ({"tenant": "a\0b"}, "tenant is"),
        ({"id": ""}, "id is ''"),
        ({"at": None}, "at is None"),
    ],
)
def test_events_that_cannot_be_stored_are_refused_at_once(away: Away, fields: dict[str, Any], said: str) -> None:
    with AuditLog(away) as log, pytest.raises(ConfigurationError, match=said):
        log.record_sync(event(**fields))


def test_a_type_of_a_plugin_is_taken(url: str) -> None:
    with AuditLog(url) as log:
        log.record_sync(event("plugin.backup.done"))
    assert [each.type for each in rows(log)] == ["plugin.backup.done"]


def test_texts_that_a_database_does_not_take_are_made_such_as_it_does(url: str) -> None:
    with AuditLog(url) as log:
        log.record_sync(event(run_id="a\0b", call_id="\ud800", thread_id="x" * 1000, data={"text": "\ud800\0ü"}))
    (row,) = rows(log)
    assert (row.run_id, row.call_id) == ("a\ufffdb", "\\ud800")
    assert len(row.thread_id or "") == 512
    assert row.data is not None
    assert row.data[16:].decode() == '{"text":"�\\u0000ü"}'


async def test_a_log_is_not_used_in_a_fork(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with AuditLog(url) as log:
        await log.record(event(), durable=True)
        with monkeypatch.context() as patched:
            patched.setattr("stategraph.governance.audit.writer.os.getpid", lambda: -1)
            with pytest.raises(AuditUnavailable, match="forked"):
                await log.record(event())


async def test_a_thread_that_fails_takes_nothing_more(url: str, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    async with AuditLog(url) as log:
        await log.record(event(), durable=True)

        def fail(*_: object) -> None:
            raise ZeroDivisionError("a fault")

        monkeypatch.setattr(log._intake, "done", fail)
        with pytest.raises(AuditUnavailable, match="ZeroDivisionError"):
            await log.record(event(), durable=True)
        with pytest.raises(AuditUnavailable, match="The thread of the audit log failed"):
            await log.record(event())
        with pytest.raises(AuditUnavailable, match="not known to be stored"):
            await log.aclose()
    assert "a fault" in caplog.text


@pytest.fixture
def open_umask() -> Iterator[None]:
    """A umask that lets everybody read and write."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_umask")
@pytest.mark.parametrize("kind", ["sqlite", "jsonl"])
def test_what_a_log_writes_is_for_its_owner_alone(tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "own"
    folder.mkdir(mode=0o700)
    settings = AuditSettings(heads_file=str(folder / "kept.jsonl"))
    keyring = Keyring().with_new_key().with_new_signer()
    with AuditLog(f"{kind}:///{folder / 'audit'}", keyring=keyring, settings=settings) as log:
        log.storage.set_up()
        log.record_sync(event(run_id="r"), durable=True)
        erasing.erase(log.storage, "acme", AuditFilter(run_id="r"), by=Principal("acme", "olga"), reason="1")
        files = [each for each in folder.rglob("*") if each.is_file()]
        assert {each.name for each in files} >= ({"audit", "audit-wal", "audit-shm"} if kind == "sqlite" else {"lock"})
        assert {each.name: each.stat().st_mode & 0o077 for each in files} == dict.fromkeys((f.name for f in files), 0)
    assert (folder / "kept.jsonl").stat().st_mode & 0o077 == 0
    assert caplog.text == ""


@pytest.mark.parametrize("kind", ["sqlite", "jsonl"])
def test_a_log_that_others_may_read_or_replace_is_warned_of(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    with AuditLog(f"{kind}:///{folder / 'audit'}") as log:
        log.record_sync(event(), durable=True)
        (file,) = (folder / "audit",) if kind == "sqlite" else folder.glob("audit/*/2*.jsonl")
        file.chmod(0o640)
        (folder if kind == "sqlite" else folder / "audit").chmod(0o777)
        log.storage.set_up()
    assert f"Others may read or change {file} (mode 640): chmod 600" in caplog.text
    assert "Others may replace the audit log in " in caplog.text
    assert file.stat().st_mode & 0o777 == 0o640  # somebody may have meant it


def test_a_head_that_a_crash_cut_off_in_its_file_is_cut_off_before_the_next_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, keyring = tmp_path / "heads.jsonl", Keyring().with_new_signer()
    for number in range(2):
        with AuditLog(
            f"sqlite:///{tmp_path / 'audit.db'}", keyring=keyring, settings=AuditSettings(heads_file=str(file))
        ) as log:
            log.record_sync(event())
        if number == 0:
            file.write_bytes(file.read_bytes() + b'{"tenant":"ac')
    assert [read_head_line(line).seq for line in file.read_text().splitlines()] == [1, 2]
    assert "was cut off by a crash; its 13 bytes are removed" in caplog.text


@pytest.mark.parametrize("value", [-1, True, float("nan"), float("inf"), 10**10, 10**5000, "1"], ids=list("abcdefg"))
@pytest.mark.parametrize("name", ["queue", "batch", "data_characters", "batch_s", "admission_s", "durable_s"])
def test_settings_that_make_no_sense_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"AuditSettings: {name} is .*; expected "):
        AuditSettings(**{name: value})
    assert AuditSettings(durable_s=None, batch_s=0).durable_s is None


def test_heads_are_added_to_a_file_that_proves_the_end(tmp_path: Path) -> None:
    file = tmp_path / "heads.jsonl"
    keyring = Keyring().with_new_signer()
    for _ in range(2):
        with AuditLog(
            f"sqlite:///{tmp_path / 'audit.db'}", keyring=keyring, settings=AuditSettings(heads_file=str(file))
        ) as log:
            log.record_sync(event())
    heads = [read_head_line(line) for line in file.read_text().splitlines()]
    assert [each.seq for each in heads] == [1, 2]
    (found,) = verify(log.storage, keyring=keyring.public(), heads=heads)
    assert (found.ok, found.signed, found.heads_checked) == (True, 2, 4)
