"""A reader sees the events of its tenant, as far as its roles go, by pages and as a file."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from stategraph.errors import ConfigurationError
from stategraph.governance.audit import preparing
from stategraph.governance.audit.event import Severity
from stategraph.governance.audit.filters import AuditFilter, Prefix
from stategraph.governance.audit.reader import FORMATS, AuditAccess, AuditReader
from stategraph.governance.audit.storage import AuditStorage
from stategraph.governance.audit.storages.sqlite import SqliteAuditStorage
from stategraph.governance.context import Principal
from stategraph.governance.errors import AuditDenied
from tests.governance.audit.events import event
from tests.governance.audit.logs import KEYS, fill, rows, store

AUDITOR = Principal("acme", "otto", frozenset({"auditor"}))
ANN = Principal("acme", "ann", frozenset({"support"}))


def test_pages_follow_each_other_until_the_end(storage: AuditStorage) -> None:
    fill(storage, 25, keyring=KEYS)
    fill(storage, 5, tenant="beta")
    reader = AuditReader(storage, AUDITOR, keyring=KEYS)
    for newest in (True, False):
        cursor, seen, pages = None, [], 0
        while True:
            page = reader.page(limit=10, cursor=cursor, newest=newest)
            seen += [each.seq for each in page.entries]
            pages += 1
            if (cursor := page.cursor) is None:
                break
        assert pages == 3
        assert seen == (list(range(25, 0, -1)) if newest else list(range(1, 26)))
    assert {each.event.tenant for each in reader.entries()} == {"acme"}


def test_an_entry_is_the_event_that_was_recorded(storage: AuditStorage) -> None:
    made = event(severity=Severity.ERROR, duration_ms=12.5, decision="deny", data={"a": [1, {"b": None}]})
    store(storage, [made], keyring=KEYS)
    (entry,) = AuditReader(storage, AUDITOR, keyring=KEYS).entries()
    assert entry.event == made
    assert (entry.seq, entry.erased, entry.unreadable) == (1, False, None)
    (hidden,) = AuditReader(storage, AUDITOR).entries()
    assert hidden.event.data == {}
    assert hidden.unreadable is not None
    assert "k1" in hidden.unreadable


@pytest.mark.parametrize("column", ["at", "stored", "severity", "hash", "duration_us", "data"])
def test_a_row_that_was_changed_is_marked_and_the_others_are_given(tmp_path: Path, column: str) -> None:
    storage = SqliteAuditStorage(str(tmp_path / "audit.db"))
    fill(storage, 3, keyring=KEYS)
    storage.close()
    with closing(sqlite3.connect(tmp_path / "audit.db")) as connection, connection:
        changed = connection.execute(f"UPDATE sg_audit_2026_11 SET {column} = 'no number' WHERE seq = 2")
        assert changed.rowcount == 1
    reader = AuditReader(storage, AUDITOR, keyring=KEYS)
    for found in (list(reader.entries()), reader.page(newest=False).entries):
        assert [each.seq for each in found] == [1, 2, 3]
        assert [each.unreadable is not None for each in found] == [False, True, False]
    for format in FORMATS:
        file = io.StringIO(newline="")
        assert reader.export(file, format=format) >= 3
        assert "verify the log" in file.getvalue()
    assert not reader.verify().ok
    storage.close()


@pytest.mark.anyio
async def test_readers_do_not_hold_up_the_loop(storage: AuditStorage) -> None:
    fill(storage, 3)
    reader = AuditReader(storage, AUDITOR)
    assert len((await reader.apage(limit=2)).entries) == 2
    assert (await reader.averify()).ok
    assert await reader.aexport(io.StringIO()) == 3


def test_who_has_no_role_reads_nothing_and_others_nothing_of_another_tenant(storage: AuditStorage) -> None:
    fill(storage, 3)
    for principal in (ANN, Principal("acme", "eve", frozenset({"Auditor"}))):
        reader = AuditReader(storage, principal)
        for call in (reader.page, reader.entries, reader.verify, lambda r=reader: r.export(io.StringIO())):
            with pytest.raises(AuditDenied, match="needs one of the roles admin, auditor"):
                call()
    stranger = AuditReader(storage, Principal("beta", "bob", frozenset({"auditor", "admin"})))
    assert stranger.page().entries == ()
    assert list(stranger.entries(AuditFilter(principal="acme/ann"))) == []


def test_everybody_may_read_their_own_events_if_that_is_said(storage: AuditStorage) -> None:
    store(storage, [event(principal="acme/ann"), event(principal="acme/bob")])
    reader = AuditReader(storage, ANN, access=AuditAccess(own=True))
    assert [each.event.principal for each in reader.entries()] == ["acme/ann"]
    with pytest.raises(AuditDenied, match="others' events"):
        reader.page(AuditFilter(principal="acme/bob"))
    with pytest.raises(AuditDenied, match="others' events"):
        reader.page(AuditFilter(principal="acme/*"))


def test_a_user_whose_name_ends_in_a_star_is_one_user(storage: AuditStorage) -> None:
    names = ["acme/ann", "acme/an*", "acme/*", "acme/anna"]
    store(storage, [event(principal=name, run_id=name) for name in names])
    for name in names:
        user = Principal("acme", name.partition("/")[2])
        own = AuditReader(storage, user, access=AuditAccess(own=True))
        assert [each.event.principal for each in own.entries()] == [name]
        assert [each.event.principal for each in own.entries(AuditFilter(capability_id="mcp:*"))] == [name]
    reader = AuditReader(storage, AUDITOR)
    assert [each.seq for each in reader.entries(AuditFilter(run_id="acme/an*"))] == [2]
    assert [each.seq for each in reader.entries(AuditFilter(run_id=Prefix("acme/an")))] == [1, 2, 4]
    assert [each.seq for each in reader.entries(AuditFilter(run_id=Prefix("acme/*")))] == [3]


def test_the_data_of_a_user_whose_name_ends_in_a_star_are_erased_alone(storage: AuditStorage) -> None:
    store(storage, [event(principal=name) for name in ("acme/ann", "acme/an*", "acme/anna")])
    officer = AuditReader(storage, Principal("acme", "olga", frozenset({"privacy-officer"})))
    assert officer.erase(AuditFilter(principal="acme/an*"), reason="r") == 1
    assert [row.data is None for row in rows(storage)[:3]] == [False, True, False]


def test_only_privacy_officers_erase(storage: AuditStorage) -> None:
    fill(storage, 1)
    with pytest.raises(AuditDenied, match="privacy-officer"):
        AuditReader(storage, AUDITOR).erase(AuditFilter(types=("action.*",)), reason="r")
    officer = Principal("acme", "olga", frozenset({"privacy-officer"}))
    assert AuditReader(storage, officer).erase(AuditFilter(types=("action.*",)), reason="r") == 1
    first, _ = AuditReader(storage, AUDITOR).entries()
    assert (first.erased, first.event.data, first.unreadable) == (True, {}, None)


def test_events_are_exported_as_lines_and_the_log_tells_of_it(storage: AuditStorage) -> None:
    fill(storage, 3)
    file = io.StringIO()
    assert AuditReader(storage, AUDITOR).export(file, AuditFilter(types=("action.*",))) == 3
    lines = [json.loads(line) for line in file.getvalue().splitlines()]
    assert [each["seq"] for each in lines] == [1, 2, 3]
    assert lines[0]["data"].keys() == {"number"}
    assert (rows(storage)[-1].type, rows(storage)[-1].principal) == ("audit.exported", "acme/otto")


def test_halves_of_characters_are_replaced_when_they_are_recorded_and_when_they_are_read(
    storage: AuditStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {"data": {"\ud800": ["a\udfff", "\ud83d\ude00"]}}
    store(storage, [event(**made)])
    monkeypatch.setattr(preparing, "encodable", preparing._utf8)  # as earlier versions recorded them
    store(storage, [event(**made)])
    assert b"\\ud800" in (rows(storage)[1].data or b"")
    for format in FORMATS:
        file = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="")
        assert AuditReader(storage, AUDITOR).export(file, AuditFilter(types=("action.*",)), format=format) == 2
        file.flush()
    found = [each.event.data for each in AuditReader(storage, AUDITOR).entries(AuditFilter(types=("action.*",)))]
    assert found == [{"\ufffd": ["a\ufffd", "\U0001f600"]}] * 2


def test_events_are_exported_as_csv_without_formulas(storage: AuditStorage) -> None:
    store(storage, [event(call_id="=cmd|' /C calc'!A0", data={"text": 'a "quoted", text\nin lines'})])
    file = io.StringIO(newline="")
    assert AuditReader(storage, AUDITOR).export(file, format="csv") == 1
    (row,) = csv.DictReader(io.StringIO(file.getvalue(), newline=""))
    assert row["call_id"] == "'=cmd|' /C calc'!A0"
    assert json.loads(row["data"]) == {"text": 'a "quoted", text\nin lines'}


@pytest.mark.parametrize("lead", ["=", "+", "-", "@", "\t", "\r", "\n", "\n=", " \v=", "\u00a0-", "\ufeff=", "\uff1d"])
def test_cells_that_begin_like_a_formula_are_texts(storage: AuditStorage, lead: str) -> None:
    store(storage, [event(call_id=f"{lead}1+1", thread_id=" 1+1", run_id="a=b")])
    file = io.StringIO(newline="")
    AuditReader(storage, AUDITOR).export(file, format="csv")
    (row,) = csv.DictReader(io.StringIO(file.getvalue(), newline=""))
    assert (row["call_id"], row["thread_id"], row["run_id"]) == (f"'{lead}1+1", " 1+1", "a=b")


@pytest.mark.parametrize(
    ("chosen", "said"),
    [({"limit": 0}, "1 to 1000"), ({"limit": 1001}, "1 to 1000"), ({"cursor": "1; DROP"}, "cursor")],
)
def test_pages_that_make_no_sense_are_refused(storage: AuditStorage, chosen: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        AuditReader(storage, AUDITOR).page(**chosen)  # type: ignore[arg-type]


def test_a_format_that_is_not_known_is_refused(storage: AuditStorage) -> None:
    with pytest.raises(ConfigurationError, match="jsonl or csv"):
        AuditReader(storage, AUDITOR).export(io.StringIO(), format="xml")  # type: ignore[arg-type]
