"""Verification finds whatever was changed, and says what it cannot prove."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stategraph.cli import main
from stategraph.governance.audit import chain
from stategraph.governance.audit.event import Severity
from stategraph.governance.audit.lines import read_row_line, row_line
from stategraph.governance.audit.record import COLUMNS, HEADER, Row, header_parts
from stategraph.governance.audit.storage import AuditStorage, sign_heads
from stategraph.governance.audit.storages.jsonl import JsonlAuditStorage
from stategraph.governance.audit.storages.sqlite import SqliteAuditStorage
from stategraph.governance.audit.storages.urls import storage_at
from stategraph.governance.audit.verification import ChainVerifier, Verification, verify
from stategraph.governance.canonical import canonical_json
from stategraph.governance.errors import AuditTampered
from stategraph.governance.keyring import Keyring
from tests.governance.audit.events import event
from tests.governance.audit.logs import KEYS, NOW, fill, record, rows, store

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
EVENTS = st.builds(
    event,
    st.sampled_from(["action.started", "plugin.a", "approval.granted"]),
    run_id=st.none() | TEXTS,
    call_id=st.none() | TEXTS,
    principal=st.none() | TEXTS,
    decision=st.none() | TEXTS,
    duration_ms=st.none() | st.floats(0, 1e9),
    severity=st.sampled_from(Severity),
    at=st.datetimes(datetime(1690, 1, 1), datetime(2255, 1, 1), timezones=st.just(UTC)),
    data=st.dictionaries(TEXTS, st.none() | st.integers() | TEXTS, max_size=3),
)
CHAINS = st.lists(EVENTS, min_size=1, max_size=8)


def linked(events: list[Any], keyring: Keyring | None = None) -> list[Row]:
    made, _ = chain.link(chain.genesis("acme"), [record(each, keyring) for each in events], NOW)
    return made


def verified(made: list[Row], keyring: Keyring | None = None, **ends: Any) -> Verification:
    verifier = ChainVerifier("acme", keyring)
    for row in made:
        verifier.row(row)
    return verifier.finish(ends.pop("end", None), **ends)


@given(CHAINS, st.booleans())
def test_what_was_recorded_verifies(events: list[Any], encrypted: bool) -> None:
    found = verified(linked(events, KEYS if encrypted else None), KEYS)
    assert found.findings == ()
    assert (found.rows, found.last, found.unread) == (len(events), len(events), 0)


@given(CHAINS)
def test_a_header_is_canonical_json_of_its_fields(events: list[Any]) -> None:
    for row in linked(events):
        first, second, third = header_parts(row[:15])
        fields = {**row._asdict(), "v": 1}
        expected = canonical_json({name: fields[name] for name in HEADER})
        assert f"{first}{row.seq}{second}{row.stored}{third}".encode() == expected


def variants(value: Any) -> Iterator[Any]:
    """Every value that a flipped byte could make of one, and a few others."""
    match value:
        case None:
            yield from ("", b"", 0)
        case int():
            yield from (value ^ 1 << bit for bit in (0, 1, 7, 20))
            yield from (None, str(value))
        case str():
            yield from (f"{value[:at]}{chr(ord(value[at]) ^ 1)}{value[at + 1 :]}" for at in range(len(value)))
            yield from (None, f"{value} ", value.encode())
        case bytes():
            yield from (value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :] for at in range(len(value)))
            yield from (value[:-1], value + b"\0")


@pytest.mark.parametrize("keyring", [None, KEYS], ids=["plain", "encrypted"])
def test_any_changed_field_of_any_row_is_found(keyring: Keyring | None) -> None:
    made = linked([event(duration_ms=2.5, decision="allow") for _ in range(3)], keyring)
    for at, row in enumerate(made):
        for column in COLUMNS:
            for value in variants(getattr(row, column)):
                if column == "tenant":
                    continue  # chosen by it: the row would be missing
                changed = [*made[:at], row._replace(**{column: value}), *made[at + 1 :]]
                end = chain.Head("acme", 3, made[-1].hash, NOW)
                assert not verified(changed, keyring, end=end).ok, (at, column, value)


@given(CHAINS, st.data())
def test_a_row_that_is_missing_exchanged_or_there_twice_is_found(events: list[Any], data: Any) -> None:
    made = linked(events)
    end = chain.Head("acme", len(made), made[-1].hash, NOW)
    one, other = (data.draw(st.integers(0, len(made) - 1)) for _ in range(2))
    assert not verified(made[:one] + made[one + 1 :], end=end).ok
    assert not verified([*made[: one + 1], made[one], *made[one + 1 :]], end=end).ok
    if one != other:
        swapped = list(made)
        swapped[one], swapped[other] = made[other], made[one]
        assert not verified(swapped, end=end).ok
        renumbered = list(made)
        renumbered[one] = made[other]._replace(seq=made[one].seq)
        renumbered[other] = made[one]._replace(seq=made[other].seq)
        assert not verified(renumbered, end=end).ok


def test_a_chain_that_was_written_anew_is_found_by_its_signed_heads(storage: AuditStorage) -> None:
    fill(storage, 5, keyring=KEYS)
    sign_heads(storage, ["acme"], KEYS, NOW)
    with storage.reading() as reading:
        heads, original = reading.signed_heads("acme"), list(reading.rows("acme"))
    anew = linked([event() for _ in range(5)])
    assert verified(anew).ok
    found = verified_with(anew, heads)
    assert [each.message for each in found.findings] == [
        "it is not the row that a signed head was made of: the chain was written anew"
    ]
    assert verified_with(original, heads).ok
    assert verified_with(original, heads).signed == 5


def verified_with(made: list[Row], heads: list[chain.SignedHead], keyring: Keyring = KEYS) -> Verification:
    verifier = ChainVerifier("acme", keyring)
    verifier.wanted = {head.seq for head in heads}
    for row in made:
        verifier.row(row)
    return verifier.finish(None, heads)


def test_any_changed_byte_of_a_signed_head_is_found() -> None:
    made = linked([event() for _ in range(3)])
    head, _ = chain.sign(chain.Head("acme", 3, made[-1].hash, NOW), KEYS, NOW)
    assert verified_with(made, [head]).signed == 3
    for field in ("tenant", "seq", "hash", "at", "key_id", "signature"):
        for value in variants(getattr(head, field)):
            if value is None or type(value) is not type(getattr(head, field)):
                continue
            changed = chain.SignedHead(**{**{name: getattr(head, name) for name in head.__slots__}, field: value})
            assert not verified_with(made, [changed]).ok, (field, value)


def test_a_truncated_tail_is_found_as_far_as_a_signed_head_covers_it(storage: AuditStorage) -> None:
    fill(storage, 4, keyring=KEYS)
    sign_heads(storage, ["acme"], KEYS, NOW)
    with storage.reading() as reading:
        heads, made = reading.signed_heads("acme"), list(reading.rows("acme"))
    found = verified_with(made[:2], heads)
    assert "rows 3 to 4 are missing, which a signed head covers" in found.findings[0].message
    # Nobody can tell without a head: this is said, not hidden.
    assert verified_with(made[:2], []).ok
    assert verified_with(made[:2], []).unsigned == 2
    # With one that was kept elsewhere it is found, also if all else is gone.
    (gone,) = verify(storage, ["acme"], keyring=KEYS, heads=heads)
    assert gone.ok
    (beta,) = verify(storage, ["beta"], keyring=KEYS, heads=[chain.sign(chain.Head("beta", 2, b"x", 0), KEYS, 0)[0]])
    assert "rows 1 to 2 are missing" in beta.findings[0].message


def test_a_storage_verifies_by_itself(storage: AuditStorage) -> None:
    fill(storage, 20, keyring=KEYS)
    fill(storage, 3, tenant="beta")
    acme, beta = verify(storage, keyring=KEYS)
    assert (acme.tenant, acme.rows, acme.ok, acme.unsigned) == ("acme", 20, True, 20)
    assert (beta.tenant, beta.rows, beta.ok) == ("beta", 3, True)
    (unread,) = verify(storage, ["acme"])
    assert (unread.ok, unread.unread) == (True, 20)
    (other,) = verify(storage, ["acme"], keyring=Keyring().with_new_key("k2"))
    assert "Key 'k1' is not in the keyring" in other.findings[0].message
    with pytest.raises(AuditTampered, match="tenant 'acme' does not verify, row 1: its data cannot be read"):
        other.check()
    (nothing,) = verify(storage, ["core"])
    assert (nothing.rows, nothing.ok) == (0, True)


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM {month} WHERE seq = 3",
        "DELETE FROM {month} WHERE seq = 5",
        "DELETE FROM {month} WHERE seq = 1",
        "DELETE FROM {month}",
        "UPDATE {month} SET data = NULL, key_id = NULL WHERE seq = 2",
        "UPDATE {month} SET seq = 6 WHERE seq = 5",
        "UPDATE {month} SET tenant = 'beta' WHERE seq = 5",
        "UPDATE sg_audit_head SET seq = 4",
        "UPDATE sg_audit_head SET hash = x'00'",
        "DELETE FROM sg_audit_head",
    ],
)
def test_changes_by_sql_are_found(tmp_path: Path, change: str) -> None:
    storage = SqliteAuditStorage(str(tmp_path / "audit.db"))
    fill(storage, 5)
    assert all(each.ok for each in verify(storage))
    storage.close()
    with closing(sqlite3.connect(tmp_path / "audit.db")) as connection, connection:
        connection.execute(change.format(month="sg_audit_2026_11"))
    assert not all(each.ok for each in verify(storage))


@pytest.mark.parametrize(
    "change",
    [
        *(
            f"UPDATE {{month}} SET {column} = CAST({column} AS {type}) WHERE seq = 3 AND tenant = 'acme'"
            for column in ("data", "data_hash", "prev_hash", "hash", "id", "principal", "type")
            for type in ("TEXT", "BLOB")
            if (type == "TEXT") == (column not in ("id", "principal", "type"))
        ),
        *(
            f"UPDATE {{month}} SET {column} = {column} || x'ff' WHERE seq = 1 AND tenant = 'acme'"
            for column in ("seq", "at", "stored", "severity", "type", "id", "hash", "prev_hash")
        ),
        "UPDATE {month} SET type = 'audit.erased' WHERE seq = 3 AND tenant = 'acme'",
        "UPDATE sg_audit_head SET hash = CAST(hash AS TEXT), seq = 'x' WHERE tenant = 'acme'",
        "UPDATE sg_audit_signed_head SET hash = CAST(hash AS TEXT) WHERE tenant = 'acme'",
        "UPDATE sg_audit_signed_head SET seq = 'x' WHERE tenant = 'acme'",
        "UPDATE sg_audit_signed_head SET key_id = x'ff' WHERE tenant = 'acme'",
        "UPDATE sg_audit_signed_head SET at = 9e15 WHERE tenant = 'acme'",
        "UPDATE {month} SET tenant = CAST(tenant AS BLOB) WHERE seq = 3 AND tenant = 'acme'",
        "UPDATE {month} SET tenant = CAST(x'ff' AS TEXT) WHERE seq = 3 AND tenant = 'acme'",
    ],
)
@pytest.mark.parametrize("keyring", [None, KEYS], ids=["plain", "encrypted"])
def test_values_of_another_type_are_found_and_other_tenants_verified(
    tmp_path: Path, change: str, keyring: Keyring | None
) -> None:
    storage = SqliteAuditStorage(str(tmp_path / "audit.db"))
    for tenant in ("acme", "beta"):
        fill(storage, 5, tenant=tenant, keyring=keyring)
        sign_heads(storage, [tenant], KEYS, NOW)
    assert all(each.ok for each in verify(storage, keyring=KEYS))
    storage.close()
    with closing(sqlite3.connect(tmp_path / "audit.db")) as connection, connection:
        assert connection.execute(change.format(month="sg_audit_2026_11")).rowcount == 1
    assert [(each.tenant, each.ok) for each in verify(storage, keyring=KEYS)] == [("acme", False), ("beta", True)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("DROP TABLE sg_audit_head", "The end of the chain cannot be read: no such table: sg_audit_head"),
        ("DROP TABLE sg_audit_signed_head", "The signed heads cannot be read: no such table: sg_audit_signed_head"),
        ("ALTER TABLE sg_audit_2026_11 DROP COLUMN decision", "The rows of 2026-11 cannot be read: no such column"),
    ],
)
def test_a_table_that_is_missing_or_changed_is_a_finding(tmp_path: Path, change: str, said: str) -> None:
    storage = SqliteAuditStorage(str(tmp_path / "audit.db"))
    fill(storage, 5, keyring=KEYS)
    storage.close()
    with closing(sqlite3.connect(tmp_path / "audit.db")) as connection, connection:
        connection.execute(change)
    (found,) = verify(storage)
    assert any(said in each.message for each in found.findings), found.findings


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("DROP TABLE sg_audit", 'The rows cannot be read: relation "sg_audit" does not exist'),
        ("DROP TABLE sg_audit_head", 'The end of the chain cannot be read: relation "sg_audit_head" does not exist'),
        (
            "DROP TABLE sg_audit_signed_head",
            'The signed heads cannot be read: relation "sg_audit_signed_head"',
        ),
        ("DROP TABLE sg_audit, sg_audit_head", 'The rows cannot be read: relation "sg_audit" does not exist'),
        ("ALTER TABLE sg_audit DROP COLUMN decision", 'The rows cannot be read: column "decision" does not exist'),
        ("ALTER TABLE sg_audit_head DROP COLUMN hash", 'The end of the chain cannot be read: column "hash" does not'),
        (
            "ALTER TABLE sg_audit ALTER at TYPE text USING at::text",
            "The rows cannot be read: function ",
        ),
    ],
)
def test_a_table_that_is_missing_or_changed_on_a_server_is_a_finding(
    postgres: str, change: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    psycopg = pytest.importorskip("psycopg")
    storage = storage_at(postgres)
    for tenant in ("acme", "beta"):
        fill(storage, 5, tenant=tenant, keyring=KEYS)
        sign_heads(storage, [tenant], KEYS, NOW)
    storage.close()
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(change)
    found = verify(storage, keyring=KEYS)
    assert [each.tenant for each in found] == ["acme", "beta"]
    for each in found:
        assert any(said in finding.message for finding in each.findings), each.findings
    assert main(["audit", "verify", "--log", postgres]) == 1
    assert said in capsys.readouterr().out


def test_a_database_without_any_table_of_a_log_has_none(postgres: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "verify", "--log", postgres]) == 2
    assert "There is no audit log in postgresql:" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE sg_audit SET principal = 'acme/eve' WHERE seq = 2",
        "UPDATE sg_audit SET at = at + interval '1 microsecond' WHERE seq = 2",
        "UPDATE sg_audit SET data = set_byte(data, 20, get_byte(data, 20) # 1) WHERE seq = 5",
        "UPDATE sg_audit SET severity = NULL WHERE seq = 2",
        "DELETE FROM sg_audit WHERE seq = 5",
        "UPDATE sg_audit_head SET seq = 6",
    ],
)
def test_changes_by_sql_are_found_on_a_server(postgres: str, change: str) -> None:
    psycopg = pytest.importorskip("psycopg")
    storage = storage_at(postgres)
    fill(storage, 5)
    assert all(each.ok for each in verify(storage))
    storage.close()
    with psycopg.connect(postgres, autocommit=True) as connection:
        if "NULL" in change:
            connection.execute("ALTER TABLE sg_audit ALTER severity DROP NOT NULL")
        connection.execute(change)
    assert not all(each.ok for each in verify(storage))


def test_any_flipped_byte_of_the_file_is_found_or_changes_no_row(tmp_path: Path) -> None:
    """Flip each byte of a database's file: rows that verify are those that were recorded."""
    path = tmp_path / "audit.db"
    storage = SqliteAuditStorage(str(path))
    fill(storage, 3)
    original = rows(storage)
    storage.scrub()
    storage.close()
    content = path.read_bytes()
    interesting = [at for at in range(len(content)) if content[at : at + 1] != b"\0"]
    checked = found = 0
    for at in interesting[:: max(1, len(interesting) // 700)]:
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x01]) + content[at + 1 :])
        checked += 1
        try:
            if all(each.ok for each in verify(storage, ["acme"])):
                assert rows(storage) == original, at
            else:
                found += 1
        except Exception:  # the file is no database any more
            found += 1
    assert checked > 500
    assert found > 300


def test_any_changed_byte_of_a_line_is_found() -> None:
    made = linked([event(duration_ms=2.5) for _ in range(2)])
    lines = [row_line(each) for each in made]
    end = chain.Head("acme", 2, made[-1].hash, NOW)
    assert verified([read_row_line(line) for line in lines], end=end).ok
    for at in range(len(lines[0])):
        changed = f"{lines[0][:at]}{chr(ord(lines[0][at]) ^ 1)}{lines[0][at + 1 :]}"
        try:
            row = read_row_line(changed)
        except ValueError:
            continue
        assert row.tenant != "acme" or not verified([row, made[1]], end=end).ok, changed


def test_any_changed_byte_of_the_line_of_a_signed_head_is_found(tmp_path: Path) -> None:
    storage = JsonlAuditStorage(str(tmp_path / "log"))
    fill(storage, 3, keyring=KEYS)
    sign_heads(storage, ["acme"], KEYS, NOW)
    (path,) = (tmp_path / "log").glob("*/heads.jsonl")
    whole = path.read_bytes()
    for place in range(len(whole) - 1):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x20]) + whole[place + 1 :])
        assert not all(each.ok for each in verify(storage, keyring=KEYS)), place
    path.write_bytes(whole)
    assert all(each.ok for each in verify(storage, keyring=KEYS))


def test_a_damaged_file_is_a_finding(tmp_path: Path) -> None:
    from stategraph.governance.audit.storages.jsonl import JsonlAuditStorage

    storage = JsonlAuditStorage(str(tmp_path / "audit"))
    fill(storage, 3)
    (file,) = tmp_path.glob("audit/*/2026-11.jsonl")
    lines = file.read_text().splitlines(keepends=True)
    changes: list[Callable[[], Any]] = [
        lambda: file.write_text("".join([lines[0], "nonsense\n", lines[2]])),
        lambda: file.write_bytes("".join(lines[:2]).encode() + b"\xff\xff\n"),
    ]
    for change in changes:
        change()
        (found,) = verify(storage, ["acme"])
        assert not found.ok


def test_an_end_that_a_crash_cut_off_in_a_file_is_cut_off_before_the_next_row(tmp_path: Path) -> None:
    from stategraph.governance.audit.storages.jsonl import JsonlAuditStorage

    storage = JsonlAuditStorage(str(tmp_path / "audit"))
    fill(storage, 2)
    (file,) = tmp_path.glob("audit/*/2026-11.jsonl")
    with file.open("ab") as opened:
        opened.write(b'{"tenant":"acme","seq":3,"i')
    assert len(rows(storage)) == 2
    store(storage, [event()])
    (found,) = verify(storage, ["acme"])
    assert (found.ok, found.rows) == (True, 3)
