"""Erasures, new keys and archives leave a chain that verifies, and nothing of what was taken away."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from stategraph.errors import ConfigurationError
from stategraph.governance.audit import archiving, erasing
from stategraph.governance.audit.filters import AuditFilter
from stategraph.governance.audit.record import microseconds
from stategraph.governance.audit.storage import AuditStorage
from stategraph.governance.audit.storages.jsonl import JsonlAuditStorage
from stategraph.governance.audit.storages.sqlite import SqliteAuditStorage
from stategraph.governance.audit.verification import verify
from stategraph.governance.context import Principal
from stategraph.governance.errors import AuditTampered
from stategraph.governance.keyring import Keyring, KeyUnavailable
from tests.governance.audit.events import event
from tests.governance.audit.logs import DAY, KEYS, NOW, fill, rows, store

OFFICER = Principal("acme", "olga", frozenset({"privacy-officer"}))
THEN = microseconds(datetime(2026, 1, 15, tzinfo=UTC))


def bytes_in(folder: Path) -> bytes:
    return b"".join(each.read_bytes() for each in sorted(folder.rglob("*")) if each.is_file())


def check(storage: AuditStorage, keyring: Keyring | None = KEYS) -> None:
    for each in verify(storage, keyring=keyring):
        each.check()


def test_erased_data_are_gone_and_the_chain_tells_of_it(storage: AuditStorage) -> None:
    store(storage, [event(run_id=f"run-{number % 2}", data={"name": "Ann Example"}) for number in range(10)])
    erased = erasing.erase(storage, "acme", AuditFilter(run_id="run-1"), by=OFFICER, reason="request 17", keyring=KEYS)
    assert erased == 5
    check(storage)
    found = rows(storage)
    assert [row.data is None for row in found] == [False, True] * 5 + [False]
    assert (found[-1].type, found[-1].principal) == ("audit.erased", "acme/olga")
    assert json.loads((found[-1].data or b"")[16:]) == {
        "ranges": [[2, 2], [4, 4], [6, 6], [8, 8], [10, 10]],
        "rows": 5,
        "reason": "request 17",
        "chosen_by": ["run_id"],
    }
    (outcome,) = verify(storage, keyring=KEYS)
    assert (outcome.erased, outcome.signed, outcome.unsigned) == (5, 11, 0)
    assert erasing.erase(storage, "acme", AuditFilter(run_id="run-1"), by=OFFICER, reason="again") == 0
    assert erasing.erase(storage, "acme", AuditFilter(types=("audit.*",)), by=OFFICER, reason="hide it") == 0
    assert len(rows(storage)) == 11


@pytest.mark.parametrize("make", [SqliteAuditStorage, JsonlAuditStorage])
def test_no_byte_of_erased_data_stays_in_files(tmp_path: Path, make: Any) -> None:
    storage = make(str(tmp_path / "audit"))
    names = ["Ann Example " + "x" * (number % 90) for number in range(900)]
    for at in range(0, 900, 30):  # rows of two tenants between each other, so that pages are split
        tenant = ("acme", "beta")[at // 30 % 2]
        store(storage, [event(tenant=tenant, run_id="r", data={"name": name}) for name in names[at : at + 30]])
    salts = [(row.data or b"")[:16] for row in rows(storage)]
    for tenant in ("acme", "beta"):
        assert erasing.erase(storage, tenant, AuditFilter(run_id="r"), by=OFFICER, reason="r") == 450
    left = bytes_in(tmp_path)
    assert [each for each in salts if each in left or base64.b64encode(each)[:20] in left] == []
    assert b"Ann Example" not in left
    assert base64.b64encode(b'{"name":"Ann')[:12] not in left
    check(storage)
    storage.close()


def test_an_erasure_that_was_cut_off_is_finished_by_another_one(tmp_path: Path, monkeypatch: Any) -> None:
    storage = SqliteAuditStorage(str(tmp_path / "audit.db"))
    store(storage, [event(run_id="r", data={"name": "Ann Example " + "x" * number}) for number in range(50)])

    def killed() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(storage, "scrub", killed)
        erasing.erase(storage, "acme", AuditFilter(run_id="r"), by=OFFICER, reason="r")
    assert erasing.erase(storage, "acme", AuditFilter(run_id="r"), by=OFFICER, reason="r") == 0
    assert b"Ann Example" not in bytes_in(tmp_path)
    storage.close()


def test_more_rows_than_one_transaction_takes_are_erased(storage: AuditStorage, monkeypatch: Any) -> None:
    monkeypatch.setattr(erasing, "AT_ONCE", 7)
    store(storage, [event(run_id="r") for _ in range(20)])
    assert erasing.erase(storage, "acme", AuditFilter(run_id="r"), by=OFFICER, reason="r") == 20
    assert [row.type for row in rows(storage)].count("audit.erased") == 3
    check(storage)


def test_erasing_without_a_choice_is_refused(storage: AuditStorage) -> None:
    with pytest.raises(ConfigurationError, match="needs to know what"):
        erasing.erase(storage, "acme", AuditFilter(), by=OFFICER, reason="all")


def test_data_that_are_taken_away_without_an_erasure_are_found(storage: AuditStorage) -> None:
    fill(storage, 5)
    with storage.transaction(["acme"]) as session:
        session.head("acme")
        session.replace_data([row._replace(data=None) for row in rows(storage)[2:4]])
    (found,) = verify(storage)
    assert [(each.seq, each.message) for each in found.findings] == [
        (3, "its data are missing, and no erasure of them is told of"),
        (4, "its data are missing, and no erasure of them is told of"),
    ]


def test_keys_are_changed_and_the_old_one_is_not_needed_any_more(storage: AuditStorage) -> None:
    fill(storage, 3)
    fill(storage, 3, keyring=KEYS)
    new = KEYS.with_new_key("k2", "ChaCha20-Poly1305")
    fill(storage, 3, keyring=new)
    assert erasing.rekey(storage, "acme", new) == 6
    assert {row.key_id for row in rows(storage)} == {"k2"}
    check(storage, new.without_key("k1"))
    assert erasing.rekey(storage, "acme", new) == 0
    with pytest.raises(KeyUnavailable, match="'k2' is not in the keyring"):
        erasing.rekey(storage, "acme", KEYS)


def months(storage: AuditStorage) -> list[str]:
    with storage.reading() as reading:
        return reading.months()


@pytest.fixture
def long_log(storage: AuditStorage) -> AuditStorage:
    """A log with rows of January, February and of now."""
    for tenant in ("acme", "beta"):
        for days in (0, 30):
            store(storage, [event(tenant=tenant) for _ in range(3)], now=THEN + days * DAY, keyring=KEYS)
    store(storage, [event()], now=NOW, keyring=KEYS)
    return storage


def test_archived_months_are_deleted_and_both_parts_verify(long_log: AuditStorage, tmp_path: Path) -> None:
    original = rows(long_log)
    for month in ("2026-01", "2026-02"):
        done = archiving.archive(long_log, month, tmp_path, by=OFFICER, keyring=KEYS)
        assert (done.month, done.rows, done.file) == (month, 6, f"audit-{month}.jsonl.gz")
    assert not {"2026-01", "2026-02"} & set(months(long_log))
    check(long_log)
    (acme, beta) = verify(long_log, keyring=KEYS)
    assert (acme.first, acme.rows, beta.first, beta.rows) == (7, 3, 7, 2)
    archived = [
        each
        for month in ("2026-01", "2026-02")
        for each in archiving.verify_archive(tmp_path / f"audit-{month}.json", keyring=KEYS)
    ]
    assert [(each.tenant, each.first, each.last, each.ok) for each in archived] == [
        ("acme", 1, 3, True),
        ("beta", 1, 3, True),
        ("acme", 4, 6, True),
        ("beta", 4, 6, True),
    ]
    assert rows(long_log)[0] == original[6]


def test_a_changed_archive_is_found(long_log: AuditStorage, tmp_path: Path) -> None:
    archiving.archive(long_log, "2026-01", tmp_path, by=OFFICER, keyring=KEYS)
    described = tmp_path / "audit-2026-01.json"
    text = described.read_text()
    described.write_text(text.replace('"rows": 6', '"rows": 5'))
    with pytest.raises(AuditTampered, match="was changed"):
        archiving.verify_archive(described, keyring=KEYS)
    described.write_text(text)
    file = tmp_path / "audit-2026-01.jsonl.gz"
    content = file.read_bytes()
    file.write_bytes(content[:50] + bytes([content[50] ^ 1]) + content[51:])
    with pytest.raises(AuditTampered, match="its hash differs"):
        archiving.verify_archive(described)
    file.unlink()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        archiving.verify_archive(described)


def test_rows_before_an_archive_that_the_log_does_not_tell_of_are_missed(long_log: AuditStorage) -> None:
    long_log.drop_month("2026-01")
    assert [each.findings[0].message for each in verify(long_log, keyring=KEYS)] == [
        "rows 1 to 3 are missing, and no archive of them is told of"
    ] * 2


def test_months_are_archived_in_order_when_they_are_over(long_log: AuditStorage, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="before 2026-01"):
        archiving.archive(long_log, "2026-02", tmp_path, by=OFFICER)
    with pytest.raises(ConfigurationError, match="not over"):
        archiving.archive(long_log, "2099-01", tmp_path, by=OFFICER)
    assert archiving.months_before(long_log, datetime(2026, 2, 1, tzinfo=UTC)) == ["2026-01"]
    done = archiving.archive(long_log, "2026-01", None, by=OFFICER)
    assert (done.file, done.sha256, list(tmp_path.glob("*.gz"))) == ("", "", [])
    check(long_log)


def test_no_month_is_older_than_a_thousand_years(long_log: AuditStorage) -> None:
    assert archiving.months_before(long_log, datetime(31, 1, 1, tzinfo=UTC)) == []


def test_a_month_that_does_not_verify_stays(long_log: AuditStorage, tmp_path: Path) -> None:
    with long_log.transaction(["acme"]) as session:
        session.head("acme")
        session.replace_data([row._replace(data=b"x" * 30) for row in rows(long_log)[:1]])
    with pytest.raises(AuditTampered, match="The month 2026-01 was not archived"):
        archiving.archive(long_log, "2026-01", tmp_path, by=OFFICER, keyring=KEYS)
    assert "2026-01" in months(long_log)


class Between:
    """A storage beside which something happens: before a method is called, and once it was, if it is a context."""

    def __init__(self, storage: AuditStorage, method: str, happens: Callable[[], object]) -> None:
        self._storage, self._method, self._happens = storage, method, happens
        self.times = 0

    def __getattr__(self, name: str) -> Any:
        if name != self._method:
            return getattr(self._storage, name)
        return self._read if name == "reading" else self._drop

    @contextmanager
    def _read(self) -> Iterator[Any]:
        with self._storage.reading() as reading:
            yield reading
        self.times += 1
        if self.times == 2:  # the first one looks for months, the second one is written to a file
            self._happens()

    def _drop(self, month: str) -> None:
        self._happens()
        self._storage.drop_month(month)


def test_what_is_erased_while_a_month_is_archived_is_not_in_the_archive(long_log: AuditStorage, tmp_path: Path) -> None:
    def erase() -> None:
        where = AuditFilter(types=("action.*",))
        assert erasing.erase(long_log, "acme", where, by=OFFICER, reason="request 17", keyring=KEYS) > 0

    between: Any = Between(long_log, "reading", erase)
    done = archiving.archive(between, "2026-01", tmp_path, by=OFFICER, keyring=KEYS)
    assert between.times == 3  # written anew
    lines = gzip.decompress((tmp_path / done.file).read_bytes()).decode().splitlines()
    data = {json.loads(line)["data"] for line in lines if json.loads(line)["tenant"] == "acme"}
    assert data == {None}
    check(long_log)
    for each in archiving.verify_archive(tmp_path / "audit-2026-01.json", keyring=KEYS):
        each.check()


def test_nothing_is_erased_in_a_month_that_is_archived_and_not_dropped_yet(
    long_log: AuditStorage, tmp_path: Path
) -> None:
    refused: list[str] = []

    def erase() -> None:
        where = AuditFilter(types=("action.*",))
        with pytest.raises(ConfigurationError) as error:
            erasing.erase(long_log, "acme", where, by=OFFICER, reason="request 17")
        refused.append(str(error.value))

    between: Any = Between(long_log, "drop_month", erase)
    archiving.archive(between, "2026-01", tmp_path, by=OFFICER, keyring=KEYS)
    assert "are being archived, or were until that was cut off. Archive 2026-01 to its end" in refused[0]
    check(long_log)
    assert (
        erasing.erase(long_log, "acme", AuditFilter(types=("action.*",)), by=OFFICER, reason="request 17", keyring=KEYS)
        > 0
    )
    check(long_log)


def test_an_archive_that_was_cut_off_is_done_again(long_log: AuditStorage, tmp_path: Path) -> None:
    def cut_off() -> None:
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        archiving.archive(Between(long_log, "drop_month", cut_off), "2026-01", tmp_path, by=OFFICER)  # type: ignore[arg-type]
    check(long_log)
    archiving.archive(long_log, "2026-01", tmp_path, by=OFFICER)
    assert "2026-01" not in archiving.months_before(long_log, datetime(2027, 1, 1, tzinfo=UTC))
    check(long_log)
