"""Every storage keeps rows in order, finds them again, and takes several writers."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stategraph.errors import ConfigurationError
from stategraph.governance.audit.chain import genesis
from stategraph.governance.audit.event import Severity
from stategraph.governance.audit.filters import AuditFilter
from stategraph.governance.audit.record import microseconds
from stategraph.governance.audit.storage import AuditStorage, append, month_of, sign_heads
from stategraph.governance.audit.storages.urls import storage_at
from tests.governance.audit.events import BEGAN, event
from tests.governance.audit.logs import DAY, KEYS, NOW, record, rows


def test_what_is_stored_is_read_again_as_it_was(storage: AuditStorage) -> None:
    made = event(
        thread_id="t",
        call_id="c",
        decision="allow",
        duration_ms=1.5,
        trace_id="0" * 32,
        severity=Severity.CRITICAL,
        data={"ü": ["😀", None]},
    )
    first = record(made)
    append(storage, [first], now=NOW)
    (row,) = rows(storage)
    assert row[:15] == ("acme", 1, made.id, microseconds(made.at), NOW, *first.values[5:])
    assert (row.data, row.data_hash, row.key_id) == (first.data, first.data_hash, None)
    assert row.prev_hash == genesis("acme").hash
    assert (row.duration_us, row.severity) == (1500, 50)


def test_rows_are_found_by_what_they_say(storage: AuditStorage) -> None:
    made = [
        event(
            "action.completed" if number % 2 else "approval.granted",
            run_id=f"run-{number // 5}",
            capability_id=f"mcp:github/tool{number}@1",
            at=BEGAN + timedelta(hours=number),
            severity=Severity.ERROR if number == 7 else Severity.INFO,
        )
        for number in range(10)
    ]
    append(storage, [record(each) for each in made], now=NOW)

    def found(where: AuditFilter, **chosen: object) -> list[int]:
        return [row.seq for row in rows(storage, where=where, **chosen)]

    assert found(AuditFilter(run_id="run-1")) == [6, 7, 8, 9, 10]
    assert found(AuditFilter(types=("approval.*",))) == [1, 3, 5, 7, 9]
    assert found(AuditFilter(types=("approval.granted", "action.*"), run_id="run-0")) == [1, 2, 3, 4, 5]
    assert found(AuditFilter(capability_id="mcp:github/tool3@1")) == [4]
    assert found(AuditFilter(capability_id="mcp:github/*"), limit=2) == [1, 2]
    assert found(AuditFilter(capability_id="mcp:git_ub/*")) == []
    assert found(AuditFilter(severity=Severity.WARNING)) == [8]
    assert found(AuditFilter(since=BEGAN + timedelta(hours=8))) == [9, 10]
    assert found(AuditFilter(until=BEGAN + timedelta(hours=2))) == [1, 2]
    assert found(AuditFilter(id=made[4].id)) == [5]
    assert found(AuditFilter(), newest=True, before=9, limit=3) == [8, 7, 6]
    assert found(AuditFilter(), after=7) == [8, 9, 10]
    assert rows(storage, "beta") == []


def test_months_are_apart_and_times_of_a_chain_never_decrease(storage: AuditStorage) -> None:
    for days in (0, 40, 20, 80):
        append(storage, [record(event())], now=NOW + days * DAY)
    stored = [row.stored for row in rows(storage)]
    assert stored == [NOW, NOW + 40 * DAY, NOW + 40 * DAY, NOW + 80 * DAY]
    assert [row.seq for row in rows(storage, newest=True)] == [4, 3, 2, 1]
    with storage.reading() as reading:
        assert reading.months() == ["2026-11", "2027-01", "2027-02"]
        assert [row.seq for row in reading.month("2027-01")] == [2, 3]
    storage.drop_month("2026-11")
    assert [row.seq for row in rows(storage)] == [2, 3, 4]
    append(storage, [record(event())], now=NOW)
    assert [row.seq for row in rows(storage)] == [2, 3, 4, 5]


def test_a_batch_that_was_stored_without_an_answer_is_not_stored_twice(storage: AuditStorage) -> None:
    append(storage, [record(event())], now=NOW)
    batch = [record(event()), record(event(tenant="beta"))]
    seen: dict[str, int] = {}
    append(storage, batch, now=NOW, seen=seen)
    append(storage, [record(event())], now=NOW)  # somebody else
    append(storage, [*batch, record(event())], now=NOW, seen=seen)
    assert [row.seq for row in rows(storage)] == [1, 2, 3, 4]
    assert len(rows(storage, "beta")) == 1


def test_a_transaction_that_fails_stores_nothing(storage: AuditStorage) -> None:
    append(storage, [record(event())], now=NOW)
    with pytest.raises(ZeroDivisionError), storage.transaction(["acme"]) as session:
        session.insert(month_of(NOW), [rows(storage)[0]._replace(seq=2)])
        raise ZeroDivisionError
    append(storage, [record(event())], now=NOW)
    assert [row.seq for row in rows(storage)] == [1, 2]


def test_heads_are_signed_after_a_thousand_rows_a_minute_or_when_asked(storage: AuditStorage) -> None:
    append(storage, [record(event()) for _ in range(999)], now=NOW, keyring=KEYS)
    with storage.reading() as reading:
        assert reading.signed_heads("acme") == []
    append(storage, [record(event())], now=NOW, keyring=KEYS)
    append(storage, [record(event())], now=NOW + 1, keyring=KEYS)
    append(storage, [record(event())], now=NOW + 60_000_001, keyring=KEYS)
    append(storage, [record(event())], now=NOW + 60_000_002, keyring=KEYS)
    sign_heads(storage, ["acme"], KEYS, NOW + 60_000_003)
    sign_heads(storage, ["acme"], KEYS, NOW + 60_000_004)
    with storage.reading() as reading:
        heads, all_rows = reading.signed_heads("acme"), list(reading.rows("acme"))
    assert [each.seq for each in heads] == [1000, 1002, 1003]
    assert [each.hash for each in heads] == [all_rows[each.seq - 1].hash for each in heads]
    assert all(KEYS.is_signature(each.key_id, each.signature, each.statement) for each in heads)


def test_several_writers_share_a_chain(url: str, storage: AuditStorage) -> None:
    failures: list[BaseException] = []

    def write(name: str) -> None:
        mine = storage_at(url)
        try:
            for number in range(20):
                append(mine, [record(event(run_id=f"{name}-{number}")), record(event(tenant="beta"))], now=NOW)
        except BaseException as error:
            failures.append(error)
        finally:
            mine.close()

    threads = [threading.Thread(target=write, args=(name,)) for name in ("a", "b", "c")]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert failures == []
    found = rows(storage)
    assert [row.seq for row in found] == list(range(1, 61))
    assert [row.prev_hash for row in found[1:]] == [row.hash for row in found[:-1]]
    for name in ("a", "b", "c"):
        assert [row.run_id for row in found if row.run_id and row.run_id.startswith(name)] == [
            f"{name}-{number}" for number in range(20)
        ]
    assert len(rows(storage, "beta")) == 60


def test_tenants_are_listed_whatever_their_names(storage: AuditStorage) -> None:
    names = ["Acme", "acme", "../up", "a/b", ".", "ä" * 200, "x y", "' OR 1=1 --"]
    append(storage, [record(event(tenant=name)) for name in names], now=NOW)
    with storage.reading() as reading:
        assert reading.tenants() == sorted(names)
    assert [len(rows(storage, name)) for name in names] == [1] * len(names)


def test_an_address_that_is_not_understood_is_refused_without_its_password() -> None:
    for url, said in (("mysql://u:hunter2@h/db", "found 'mysql:...'"), ("sqlite:///:memory:", "in memory")):
        with pytest.raises(ConfigurationError, match=said) as raised:
            storage_at(url)
        assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("month", ["2026-13", "2026-1", "../2026-11", "2026-11; DROP TABLE sg_audit_head"])
def test_what_is_no_month_is_no_part_of_a_name(storage: AuditStorage, month: str) -> None:
    append(storage, [record(event())], now=NOW)
    with pytest.raises(ConfigurationError, match="no month"):
        storage.drop_month(month)
    with pytest.raises(ConfigurationError, match="no month"), storage.reading() as reading:
        list(reading.month(month))


def test_a_database_without_a_log_is_said_to_have_none(tmp_path: Path, postgres: str) -> None:
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        connection.execute("CREATE TABLE t (x)")
    for url in (f"sqlite:///{tmp_path / 'other.db'}", f"sqlite:///{tmp_path / 'nothing.db'}", postgres):
        with pytest.raises(ConfigurationError, match="There is no audit log"), storage_at(url).reading():
            pass
    assert not (tmp_path / "nothing.db").exists()


def test_a_log_that_has_to_be_there_is_not_made(tmp_path: object) -> None:
    for scheme in ("sqlite", "jsonl"):
        with pytest.raises(ConfigurationError, match="check the address"):
            storage_at(f"{scheme}:///{tmp_path}/nothing", create=False)


def test_the_clock_of_the_tests_is_utc() -> None:
    assert microseconds(datetime(1970, 1, 1, 0, 0, 1, 5, UTC)) == 1_000_005
    assert month_of(NOW) == "2026-11"
