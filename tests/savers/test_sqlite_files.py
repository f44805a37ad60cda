"""Files that a saver on SQLite cannot use: each is named, with what was found and a way out."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stategraph.errors import ConfigurationError
from stategraph.savers import AsyncSqliteSaver, SqliteSaver
from stategraph.savers.compact.coder import Coder
from stategraph.savers.sqlite.database import Write
from stategraph.savers.urls import saver_at
from stategraph.workers.registry.databases import open_database
from tests.savers.drivers import at, checkpoint, put
from tests.sqlite import connection


def folder(path: Path) -> None:
    path.mkdir()


def text(path: Path) -> None:
    path.write_text("no database, ä " * 100, encoding="utf-8")


def encrypted(path: Path) -> None:
    path.write_bytes(os.urandom(8192))


def cut_off(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\x00" + os.urandom(8192))


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (folder, "has to be a file, and is a folder. Name a file in it"),
        (text, "no SQLite database; name another one. It holds text"),
        (encrypted, "or encrypted as a whole: .* give it an EncryptedSerializer"),
        (cut_off, "It begins as one, and is damaged or cut off"),
    ],
)
def test_a_file_that_is_no_database_is_named_with_what_it_is(
    tmp_path: Path, make: Callable[[Path], None], found: str
) -> None:
    path = tmp_path / "runs.db"
    make(path)
    with (
        pytest.raises(sqlite3.DatabaseError, match=rf"'{path}'.*{found}"),
        SqliteSaver.from_conn_string(str(path)) as saver,
    ):
        saver.get_tuple(at("t"))

    async def opened() -> None:
        async with saver_at(f"sqlite:///{path}"):
            raise AssertionError("it was opened")

    with pytest.raises(ConfigurationError, match=rf"'{path}'.*{found}"):
        asyncio.run(opened())


def test_a_folder_that_is_not_there_is_named_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(sqlite3.OperationalError, match=rf"'{tmp_path}/none/runs.db'.* no folder '{tmp_path}/none'\. M"):
        SqliteSaver.from_conn_string("none/runs.db").__enter__()


def test_nothing_of_a_file_stands_in_an_error(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("API_KEY=secret " * 100)
    with pytest.raises(sqlite3.DatabaseError) as raised, SqliteSaver.from_conn_string(str(tmp_path / ".env")) as saver:
        saver.setup()
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("table", ["checkpoints", "writes", "sg_threads"])
def test_tables_of_another_program_are_left_alone(tmp_path: Path, table: str) -> None:
    other = connection(tmp_path / "other.db")
    other.execute(f"CREATE TABLE {table} (id INTEGER, name TEXT)")
    before = other.execute("SELECT sql FROM sqlite_master").fetchall()
    with SqliteSaver.from_conn_string(str(tmp_path / "other.db")) as saver:
        for call in (saver.setup, lambda: put(saver, "t", n=1)):
            with pytest.raises(
                ConfigurationError, match=rf"other\.db' has a table '{table}' of another .*Name another"
            ):
                call()
    assert other.execute("SELECT sql FROM sqlite_master").fetchall() == before


def test_a_file_that_may_only_be_read_says_so_where_something_is_saved(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with SqliteSaver.from_conn_string(str(path)) as saver:
        put(saver, "t", n=1)
    with SqliteSaver.from_conn_string(f"file:{path}?mode=ro") as saver:
        assert saver.get_tuple(at("t")) is not None
        with pytest.raises(sqlite3.OperationalError, match=rf"readonly.* may only read '{path}'.* name another one"):
            put(saver, "t", n=2)
    with pytest.raises(sqlite3.OperationalError, match=r"none\.db' cannot be opened: let this process read and write"):
        SqliteSaver.from_conn_string(f"file:{tmp_path}/none.db?mode=ro").__enter__()
    assert not (tmp_path / "none.db").exists()


def test_a_full_disk_leaves_what_was_stored_before_and_says_what_to_do(tmp_path: Path) -> None:
    conn = connection(tmp_path / "runs.db")
    saver = SqliteSaver(conn)
    first = put(saver, "t", text="small")
    conn.execute("PRAGMA max_page_count = 12")
    expected = r"full\. There is no room for '.*runs\.db' \([\d,]+ bytes are free on its disk\).*store prune"
    with pytest.raises(sqlite3.OperationalError, match=expected):
        put(saver, "t", first, text="large" * 100_000)
    made = [checkpoint(text=f"{number}" * 100_000) for number in range(3)]
    writes = [
        Write([("put", (at("t", first), each, {}, each["channel_versions"]))], Coder(saver.serde)) for each in made
    ]
    saver._database._waiting.extend(writes)
    found = saver.get_tuple(at("t"))
    for write in writes:  # that have waited together
        with pytest.raises(sqlite3.OperationalError, match=expected):
            write.outcome()
    assert found is not None
    assert found.checkpoint["channel_values"] == {"text": "small"}
    conn.execute("PRAGMA max_page_count = 10000")
    second = put(saver, "t", first, text="large" * 100_000)
    assert [each.checkpoint["id"] for each in saver.list(at("t"))] == [second, first]


def test_a_lock_that_is_held_for_too_long_names_the_file_and_a_way_to_wait_longer(tmp_path: Path) -> None:
    conn = sqlite3.connect(tmp_path / "runs.db", timeout=0, check_same_thread=False)
    saver, other = SqliteSaver(conn), connection(tmp_path / "runs.db")
    saver.setup()
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError, match=r"locked\. Another .*runs\.db'.*timeout=\.\.\.\), in seconds"):
        put(saver, "t", n=1)
    other.rollback()
    put(saver, "t", n=1)
    saver.close()


def test_damage_is_said_to_be_damage(tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    with SqliteSaver.from_conn_string(str(path), mode="plain") as saver:
        put(saver, "t", text="large" * 10_000)
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096)
    with (
        SqliteSaver.from_conn_string(str(path)) as saver,
        pytest.raises(sqlite3.DatabaseError, match=r"'.*runs\.db' is damaged: bring back a copy"),
    ):
        saver.get_tuple(at("t"))


def test_a_saver_that_was_closed_says_so(tmp_path: Path) -> None:
    with SqliteSaver.from_conn_string(str(tmp_path / "runs.db")) as saver:
        put(saver, "t", n=1)
    for call in (saver.setup, lambda: saver.get_tuple(at("t")), lambda: put(saver, "t", n=2)):
        with pytest.raises(sqlite3.ProgrammingError, match=r"The saver on '.*runs\.db' was closed.* inside of the st"):
            call()
    saver.close()

    async def after_the_end() -> None:
        async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "runs.db")) as found:
            pass
        await found.aget_tuple(at("t"))

    with pytest.raises(sqlite3.ProgrammingError, match="was closed"):
        asyncio.run(after_the_end())


def test_an_error_that_is_raised_twice_is_explained_once(tmp_path: Path) -> None:
    with SqliteSaver.from_conn_string(str(tmp_path / "runs.db")) as saver:
        pass
    with pytest.raises(sqlite3.ProgrammingError) as raised:
        saver.setup()
    assert str(raised.value).count("was closed") == 1


def test_a_connection_of_one_thread_says_how_it_has_to_be_opened(tmp_path: Path) -> None:
    conn = sqlite3.connect(tmp_path / "runs.db")
    saver = SqliteSaver(conn)
    saver.setup()
    raised: list[BaseException] = []

    def in_thread() -> None:
        try:
            saver.get_tuple(at("t"))
        except sqlite3.ProgrammingError as error:
            raised.append(error)

    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join(30)
    assert "check_same_thread=False" in str(raised[0])
    conn.close()


def test_the_home_directory_may_be_written_as_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    async def scenario() -> None:
        async with saver_at("sqlite:///~/runs.db") as saver:
            await saver.aget_tuple(at("t"))

    asyncio.run(scenario())
    with SqliteSaver.from_conn_string("~/other.db") as saver:
        saver.setup()
    registry: Any = open_database("sqlite:///~/runs.db")
    assert registry.path == str(tmp_path / "runs.db")
    assert {each.name for each in tmp_path.iterdir()} == {"runs.db", "other.db"}


def test_an_empty_path_is_refused_as_its_database_would_be_deleted() -> None:
    with pytest.raises(ConfigurationError, match=r"is empty.*name a file, or ':memory:'"):
        SqliteSaver.from_conn_string("").__enter__()


def test_a_database_in_memory_is_the_same_for_all_threads() -> None:
    with SqliteSaver.from_conn_string(":memory:") as saver:
        threads = [threading.Thread(target=put, args=(saver, f"{number}")) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sorted(each.config["configurable"]["thread_id"] for each in saver.list(None)) == ["0", "1", "2", "3"]
