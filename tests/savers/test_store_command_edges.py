"""`stategraph store` where nothing is there, where others use the file, and what it says of one thing and of many."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from stategraph.cli import main, progress
from stategraph.errors import ConfigurationError
from stategraph.savers import SqliteSaver
from tests.savers.drivers import at, put
from tests.savers.test_upkeep import chain
from tests.sqlite import connection

ACTIONS = [["size"], ["prune", "--keep-last", "1"], ["vacuum"], ["erase", "t"], ["convert", "plain"]]


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Any]:
    code = main(["store", *words])
    return code, capsys.readouterr()


def in_folder(folder: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in folder.iterdir()}


def foreign(path: Path) -> None:
    with sqlite3.connect(path) as made:
        made.execute("CREATE TABLE users (id INTEGER)")
    made.close()


@pytest.mark.parametrize("words", ACTIONS, ids=lambda words: words[0])
@pytest.mark.parametrize("there", ["nothing", "an empty file", "other tables"])
def test_nothing_is_made_where_no_saver_has_stored_anything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], there: str
) -> None:
    path = tmp_path / "runs.db"
    if there == "an empty file":
        path.touch()
    elif there == "other tables":
        foreign(path)
    before = in_folder(tmp_path)
    code, said = run(capsys, *words, "--store", f"sqlite:///{path}", "--json")
    assert code == 2
    expected = "There is no database" if there == "nothing" else "has no checkpoints, as no saver has made its tables"
    assert expected in json.loads(said.out)["error"]["message"]
    assert str(path) in said.err
    assert in_folder(tmp_path) == before


def test_nothing_is_made_in_the_database_of_a_server(postgres: str, capsys: pytest.CaptureFixture[str]) -> None:
    psycopg = pytest.importorskip("psycopg")
    for words in ACTIONS:
        code, said = run(capsys, *words, "--store", postgres)
        assert code == 2
        assert "has no checkpoints, as no saver has made its tables" in said.err
    with psycopg.connect(postgres) as conn:
        assert conn.execute("SELECT to_regclass('checkpoints')").fetchone() == (None,)


@pytest.mark.parametrize("mode", ["compact", "plain"])
def test_measuring_changes_nothing_and_holds_nobody_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], mode: Any
) -> None:
    path = tmp_path / "runs.db"
    with SqliteSaver.from_conn_string(str(path), mode=mode) as saver:
        chain(saver, "t", 3)
    before = in_folder(tmp_path)
    writer = connection(path)
    writer.execute("BEGIN IMMEDIATE")  # as a run that saves just now
    code, said = run(capsys, "size", "--store", f"sqlite:///{path}", "--json")
    writer.rollback()
    writer.close()
    assert code == 0
    assert json.loads(said.out)["bytes"] == os.path.getsize(path)
    assert in_folder(tmp_path) == before


def test_a_file_that_keeps_no_log_is_measured_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "runs.db"
    with SqliteSaver.from_conn_string(str(path)) as saver:
        chain(saver, "t", 2)
    other = connection(path)
    other.execute("PRAGMA journal_mode=DELETE").fetchall()
    other.close()
    before = in_folder(tmp_path)
    assert run(capsys, "size", "--store", f"sqlite:///{path}")[0] == 0
    assert in_folder(tmp_path) == before


def test_one_thing_is_told_in_the_singular(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    with SqliteSaver.from_conn_string(str(tmp_path / "runs.db")) as saver:
        put(saver, "t", put(saver, "t", n="a" * 300), n="b" * 300)
    assert "1 thread, saved in" in run(capsys, "size", "--store", url)[1].out
    assert run(capsys, "prune", "--keep-last", "1", "--store", url)[1].out.startswith(
        "1 checkpoint of 1 thread deleted"
    )
    said = run(capsys, "convert", "plain", "--store", url)[1].out
    assert said == "1 row of checkpoints and writes converted: 1 thread is in the plain form.\n"


@pytest.mark.parametrize(
    ("size", "found"), [("2K", 2_000), ("1.5M", 1_500_000), ("10MB", 10_000_000), ("1 g", 10**9), ("7", 7)]
)
def test_sizes_are_read_as_people_write_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], size: str, found: int
) -> None:
    asked: list[Any] = []

    async def aprune(_: Any, threads: Any, **limits: Any) -> list[Any]:
        asked.append(limits["max_bytes"])
        return []

    with SqliteSaver.from_conn_string(str(tmp_path / "runs.db")) as saver:
        saver.setup()
    monkeypatch.setattr(SqliteSaver, "aprune", aprune)
    assert run(capsys, "prune", "--max-size", size, "--store", f"sqlite:///{tmp_path / 'runs.db'}")[0] == 1
    assert asked == [found]


@pytest.mark.parametrize("size", ["0", "0M", "0.0001k"])
def test_a_size_into_which_nothing_fits_is_refused(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["store", "prune", "--store", "sqlite:///none.db", "--max-size", size])
    assert "write --keep-last 1, to delete a thread 'stategraph store erase'" in capsys.readouterr().err


def test_threads_that_stay_too_large_or_are_not_there_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    with SqliteSaver.from_conn_string(str(tmp_path / "runs.db")) as saver:
        put(saver, "large", n=os.urandom(5_000))
    code, said = run(capsys, "prune", "large", "none", "--max-size", "1k", "--store", url)
    assert code == 1
    assert "1 thread cannot be made so small" in said.out
    assert "There was no thread 'none'." in said.out
    found = json.loads(run(capsys, "prune", "large", "none", "--max-size", "1k", "--store", url, "--json")[1].out)
    assert (found["larger"], found["missing"]) == (["large"], ["none"])


def test_a_vacuum_tells_what_the_files_take_before_and_after(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "runs.db"
    url = f"sqlite:///{path}"
    monkeypatch.setattr("stategraph.savers.sqlite.connections._BUSY_S", 0.1)
    with SqliteSaver.from_conn_string(str(path)) as saver:
        put(saver, "t", n=os.urandom(300_000))
        saver.delete_thread("t")
        put(saver, "t", n=1)
        on_disk = path.stat().st_size + Path(f"{path}-wal").stat().st_size
        reader = connection(path)
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM checkpoints").fetchall()
        code, said = run(capsys, "vacuum", "--store", url, "--json")
        assert code == 0
        found = json.loads(said.out)
        assert found["before"] == on_disk
        assert found["after"] == path.stat().st_size + Path(f"{path}-wal").stat().st_size
        assert found["log"] == f"{path}-wal"  # the reader sees the file as it was
        reader.rollback()
        reader.close()
        monkeypatch.setattr("stategraph.cli.store._LARGE", 1)
        code, said = run(capsys, "vacuum", "--store", url, "--json")
        begun, ended = map(json.loads, said.out.splitlines())
        assert (begun["event"], begun["bytes"]) == ("vacuum", ended["before"])
        assert ended["log"] is None
        assert ended["after"] == path.stat().st_size < 100_000
        assert saver.get_tuple(at("t")) is not None


def test_long_work_tells_how_far_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path / 'runs.db'}"
    with SqliteSaver.from_conn_string(str(tmp_path / "runs.db")) as saver:
        for name in ("a", "b"):
            chain(saver, name, 3)
    monkeypatch.setattr(progress, "TELL_S", 0.0)
    said = run(capsys, "prune", "--keep-last", "1", "--store", url, "--json")[1].out
    first, second, result = map(json.loads, said.splitlines())
    assert [(each["event"], each["done"], each["threads"]) for each in (first, second)] == [
        ("pruning", 1, 2),
        ("pruning", 2, 2),
    ]
    assert result["checkpoints"] == 4
    said = run(capsys, "convert", "plain", "--store", url)[1].out
    assert "1 of 2 threads converted" in said


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"keep_last": "x"}, "keep_last is a whole number, or None; found 'x'"),
        ({"keep_last": True}, "keep_last is a whole number, or None; found True"),
        ({"keep_last": 1.5}, r"keep_last is a whole number, or None; found 1\.5"),
        ({"keep_last": 0}, "at least 1; found 0"),
        ({"max_age_s": -1}, "max_age_s is at least 0; found -1"),
        ({"max_age_s": float("nan")}, "max_age_s is a number, or None; found nan"),
        ({"max_age_s": "30d"}, "max_age_s is a number, or None; found '30d'"),
        ({"max_bytes": -1}, "max_bytes is at least 0; found -1"),
        ({"max_bytes": 1e6}, "max_bytes is a whole number, or None; found 1000000"),
        ({"max_bytes": False}, "max_bytes is a whole number, or None; found False"),
    ],
)
def test_numbers_of_pruning_are_checked_before_anything_is_read(numbers: dict[str, Any], message: str) -> None:
    conn = connection()
    saver = SqliteSaver(conn)
    saver.setup()
    executed: list[str] = []
    conn.set_trace_callback(executed.append)
    for threads in (None, ["t"]):
        with pytest.raises(ConfigurationError, match=message):
            saver.prune(threads, **numbers)
    assert executed == []
