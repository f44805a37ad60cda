"""`stategraph audit`, as a process and in this one: what a person sees, and the exit codes."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stategraph.cli import main
from stategraph.governance.audit.log import AuditLog
from stategraph.governance.audit.reader import AuditEntry
from stategraph.governance.keyring import Keyring
from tests.cli.programs import stategraph
from tests.governance.audit.events import event
from tests.governance.audit.logs import DAY, KEYS, NOW, store

LOG = ("--log", "sqlite:///audit.db")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a log of seven events, three of them in January 2026, and its key file."""
    monkeypatch.delenv("STATEGRAPH_AUDIT_KEYS", raising=False)
    KEYS.write(tmp_path / "keys.json")
    with contextlib.chdir(tmp_path):
        log = AuditLog("sqlite:///audit.db")
        january = NOW - 318 * DAY
        store(log.storage, [event(tenant="acme") for _ in range(3)], now=january, keyring=KEYS)
        store(
            log.storage,
            [event(run_id="r7", data={"to": f"Ann {number}"}) for number in range(4)],
            keyring=KEYS,
        )
        log.close()
        yield tmp_path


def test_every_action_is_run_on_one_log(folder: Path) -> None:
    """One process for each action, in the order of a log's life."""
    keys = ("--keys", "keys.json")
    acme, log = ("--tenant", "acme", "--log", "sqlite:///audit.db"), ("--log", "sqlite:///audit.db")
    export = ("--output", "out.csv", "--format", "csv")
    steps = [
        ("query", [*acme, *keys, "--run", "r7"], 0, "7    2026-11-30"),
        ("verify", [*log, *keys], 0, "acme: verified, 7 rows, 1 to 7\n"),
        ("export", [*acme, *keys, *export], 0, "7 events in out.csv."),
        ("erase", [*acme, *keys, "--run", "r7", "--reason", "request 1"], 0, "of 4 events were erased."),
        ("archive", [*log, *keys, "--older-than", "60d", "--to", "old"], 0, "3 rows in old/audit-2026-01.jsonl.gz."),
        ("keygen", ["keys.json"], 0, "added to keys.json"),
        ("rekey", [*acme, *keys], 1, "0 rows encrypted with key"),
        ("verify", ["--archive", "old/audit-2026-01.json", *keys], 0, "acme: verified, 3 rows, 1 to 3"),
        ("verify", [*log, *keys], 0, "rows before 4 are in archives\n  the data of 4 rows were erased"),
    ]
    for action, words, code, said in steps:
        done = stategraph(folder, "audit", action, *words)
        assert (done.returncode, done.stderr) == (code, ""), (action, done)
        assert said in done.stdout, (action, done.stdout)


def test_queries_are_json_with_decrypted_data(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["audit", "query", "--tenant", "acme", "--json", *LOG]
    assert main([*words, "--limit", "1", "--keys", "keys.json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert (entry["seq"], entry["data"], entry["unreadable"]) == (7, {"to": "Ann 3"}, None)
    assert main([*words, "--oldest", "--type", "action.*", "--since", "2026-11-30T08:00", "--severity", "info"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["unreadable"].startswith("Key 'k1' is not in the keyring")
    assert main([*words, "--principal", "acme/nobody"]) == 1
    assert main(["audit", "query", "--tenant", "beta", *LOG]) == 1


def test_an_export_goes_to_standard_output_and_to_a_reader_that_leaves(folder: Path) -> None:
    words = ["audit", "export", "--tenant", "acme", "--format", "csv", "--run", "r7", *LOG]
    lines = stategraph(folder, *words).stdout.splitlines()
    assert [line.partition(",")[0] for line in lines] == ["seq", "4", "5", "6", "7"]
    with subprocess.Popen(
        [sys.executable, "-m", "stategraph", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as run:
        assert run.stdout is not None
        run.stdout.close()
        assert run.stderr is not None
        assert run.stderr.read() == b""
    assert run.returncode == 0


def test_a_log_that_was_changed_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.closing(sqlite3.connect("audit.db")) as connection, connection:
        connection.execute("UPDATE sg_audit_2026_11 SET principal = 'acme/eve' WHERE seq = 5")
        connection.execute("DELETE FROM sg_audit_2026_11 WHERE seq = 7")
    assert main(["audit", "verify", *LOG]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "acme: CHANGED, 6 rows, 1 to 6",
        "  not checked: the data of 5 rows, whose keys were not given",
        "  not checked: 1 signature, whose keys were not given",
        "  not provable: the last 6 rows, which no signed head covers",
        "  row 5: it was changed",
        "  row 7: the end of the chain is said to be row 7, with another hash",
        "  row 7: row 7 is missing, which a signed head covers",
    ]


def test_heads_that_were_kept_elsewhere_prove_an_end(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from stategraph.governance.audit.lines import head_line
    from stategraph.governance.audit.storages.sqlite import SqliteAuditStorage

    storage = SqliteAuditStorage("audit.db")
    with storage.reading() as reading:
        signed = reading.signed_heads("acme")
    storage.close()
    Path("heads.jsonl").write_text("".join(f"{head_line(each)}\n" for each in signed))
    with contextlib.closing(sqlite3.connect("audit.db")) as connection, connection:
        connection.execute("DROP TABLE sg_audit_2026_11")
        connection.execute("DELETE FROM sg_audit_signed_head")
        connection.execute("UPDATE sg_audit_head SET seq = 3, hash = (SELECT hash FROM sg_audit_2026_01 WHERE seq = 3)")
    keys = ("--keys", "keys.json")
    assert main(["audit", "verify", *LOG, *keys]) == 0
    assert main(["audit", "verify", *LOG, *keys, "--heads", "heads.jsonl"]) == 1
    assert "rows 4 to 7 are missing, which a signed head covers" in capsys.readouterr().out
    with Path("heads.jsonl").open("a") as file:
        file.write('{"tenant":"ac')
    assert main(["audit", "verify", *LOG, *keys, "--heads", "heads.jsonl"]) == 1
    told = capsys.readouterr()
    assert "rows 4 to 7 are missing, which a signed head covers" in told.out
    assert "The last line of 'heads.jsonl' has no end" in told.err
    Path("heads.jsonl").write_text("nonsense\n")
    assert main(["audit", "verify", *LOG, *keys, "--heads", "heads.jsonl"]) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["verify"], "No audit log was named"),
        (["verify", "--log", "sqlite:///nothing.db"], "There is no audit log 'nothing.db'"),
        (["verify", "--log", "mysql://u:hunter2@h/d"], "found 'mysql:...'"),
        (["verify", "--archive", "keys.json"], "no description of an archived month"),
        (["erase", "--tenant", "acme", "--reason", "r", *LOG], "needs to know what"),
        (["rekey", "--tenant", "acme", *LOG], "no key to encrypt with"),
        (["query", "--tenant", "acme", *LOG, "--keys", "none.json"], "cannot be read"),
        (["query", "--tenant", "\udcff", *LOG], r"--tenant is '\udcff', which is no text in UTF-8"),
        (["query", "--tenant", "acme", *LOG, "--type", "a", "--type", "\udcff"], "--type is"),
        (["verify", "--tenant", "\udcff", *LOG], "--tenant is"),
        (["erase", "--tenant", "acme", *LOG, "--run", "r7", "--reason", "\udcff"], "--reason is"),
        (["export", "--tenant", "acme", *LOG, "--as", "\udcff"], "--as is"),
    ],
)
def test_what_does_not_work_is_said_in_a_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.delenv("STATEGRAPH_AUDIT", raising=False)
    assert main(["audit", *words]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert "hunter2" not in captured.err


def test_dry_runs_change_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = Path("audit.db").read_bytes()
    keys = ("--keys", "keys.json")
    assert main(["audit", "erase", "--tenant", "acme", "--run", "r7", "--reason", "r", "--dry-run", *LOG, *keys]) == 0
    assert main(["audit", "archive", "--older-than", "60d", "--dry-run", *LOG, *keys]) == 0
    assert capsys.readouterr().out == "The data of 4 events would be erased.\nWould be archived: 2026-01.\n"
    assert Path("audit.db").read_bytes() == before


def test_rows_are_encrypted_with_a_new_key(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new = KEYS.with_new_key("k2", "ChaCha20-Poly1305")
    new.write("keys.json")
    assert main(["audit", "rekey", "--tenant", "acme", *LOG, "--keys", "keys.json", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"rows": 7, "key_id": "k2"}
    with AuditLog("sqlite:///audit.db") as log:
        store(log.storage, [event(tenant="beta"), event(tenant="cora")], keyring=KEYS)
    assert main(["audit", "rekey", *LOG, "--keys", "keys.json"]) == 0  # of all that there are
    assert capsys.readouterr().out == "2 rows encrypted with key k2.\n"
    assert main(["audit", "rekey", *LOG, "--keys", "keys.json"]) == 1
    new.without_key("k1").write("keys.json")
    assert main(["audit", "verify", *LOG, "--keys", "keys.json"]) == 0
    assert Keyring.from_file("keys.json").ids == ("k2",)


@pytest.mark.parametrize(
    "words",
    [
        ["query", "--tenant", "acme", "--since", "99999999999d", *LOG],
        ["query", "--tenant", "acme", "--until", f"{'9' * 400}d", *LOG],
        ["archive", "--older-than", "99999999999d", "--delete", *LOG],
    ],
)
def test_an_age_of_more_years_than_there_are_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["audit", *words])
    assert "longer than 1,000 years" in capsys.readouterr().err


def test_an_export_that_fails_leaves_the_file_as_it_was(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["audit", "export", "--tenant", "acme", *LOG, "--output", "out.jsonl"]
    Path("real.jsonl").write_text("before")
    Path("out.jsonl").symlink_to("real.jsonl")
    there = sorted(Path().iterdir())

    def full(self: AuditEntry) -> dict[str, object]:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(AuditEntry, "facts", full)
        assert main(words) == 2
    assert "No space left" in capsys.readouterr().err
    assert Path("real.jsonl").read_text() == "before"
    assert sorted(Path().iterdir()) == there
    assert main(words) == 0
    assert len(Path("real.jsonl").read_text().splitlines()) == 7
    assert Path("out.jsonl").is_symlink()
    assert Path("real.jsonl").stat().st_mode & 0o777 == 0o600
    assert main([*words[:-1], "/dev/null"]) == 0


def test_names_cannot_break_out_of_their_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = AuditLog("sqlite:///audit.db")
    tenant = "a\x1b[31mb\nacme: verified"
    store(log.storage, [event(tenant=tenant, principal="x\x1b[2J\nX\u202e", run_id="\u200fr", decision="a\tb")])
    log.close()
    assert main(["audit", "query", "--tenant", tenant, *LOG]) == 0
    _, line, *rest = capsys.readouterr().out.splitlines()
    assert rest == []
    for shown in (r"x\u001b[2J\u000aX\u202e", r"\u200fr", r"a\u0009b"):
        assert shown in line
    assert main(["audit", "verify", "--tenant", tenant, *LOG]) == 0
    assert capsys.readouterr().out.startswith(r"a\u001b[31mb\u000aacme: verified: verified, 1 row")


def test_a_tenant_that_the_log_does_not_have_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["audit", "verify", *LOG, "--tenant", "acme", "--tenant", "amce"]
    assert main(words) == 1
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "amce: MISSING, 0 rows, 0 to 0",
        "  the log has no such tenant; it has: acme",
    ]
    assert main([*words, "--json"]) == 1
    assert [each["ok"] for each in json.loads(capsys.readouterr().out)] == [True, False]


def test_a_row_that_was_changed_is_a_sentence_for_those_who_read_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with contextlib.closing(sqlite3.connect("audit.db")) as connection, connection:
        connection.execute("UPDATE sg_audit_2026_01 SET hash = CAST(hash AS TEXT) WHERE seq = 2")
    changed = "The row was changed, and cannot be read (AttributeError): verify the log"
    assert main(["audit", "query", "--tenant", "acme", *LOG]) == 0
    shown = capsys.readouterr().out
    assert main(["audit", "export", "--output", "out.jsonl", "--tenant", "acme", *LOG]) == 0
    for text in (shown, Path("out.jsonl").read_text(encoding="utf-8")):
        assert text.count(changed) == 1 and text.count("action.started") > 0
    capsys.readouterr()
    for where in (["--to", "old"], ["--delete"]):
        assert main(["audit", "archive", "--older-than", "60d", *LOG, *where]) == 2
        assert capsys.readouterr().err == (
            "stategraph: The rows of 2026-01 cannot be read: a text has bytes that are no UTF-8\n"
        )
    assert not list(Path("old").iterdir())
    with contextlib.closing(sqlite3.connect("audit.db")) as connection, connection:
        connection.execute("UPDATE sg_audit_2026_01 SET hash = 'text' WHERE seq = 2")
    assert main(["audit", "archive", "--older-than", "60d", *LOG, "--to", "old"]) == 2
    assert "Nothing was archived: row 2 of tenant 'acme' was changed" in capsys.readouterr().err
    assert main(["audit", "verify", *LOG]) == 1
    assert "row 2: it was changed" in capsys.readouterr().out
