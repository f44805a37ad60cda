"""A saver by its address: what it is opened with, and which addresses there are."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from typing_extensions import TypedDict

from stategraph import END, START, StateGraph, savers
from stategraph.engine.checkpoints.serializer import StrictSerializer
from stategraph.errors import ConfigurationError, MissingPackageError
from stategraph.savers import AsyncSqliteSaver
from stategraph.savers.postgres import libpq
from stategraph.savers.postgres.saver import AsyncPostgresSaver
from stategraph.savers.urls import saver_at

THREAD: Any = {"configurable": {"thread_id": "t"}}


class State(TypedDict):
    pair: tuple[int, int]


def graph_on(saver: Any) -> Any:
    builder = StateGraph(State).add_node("n", lambda state: {"pair": (3, 4)})
    return builder.add_edge(START, "n").add_edge("n", END).compile(checkpointer=saver)


async def opened(url: str) -> None:
    async with saver_at(url):
        raise AssertionError("it was opened")


def test_a_file_keeps_threads_until_it_is_opened_again_and_types_with_them(tmp_path: Path) -> None:
    path = tmp_path / "my runs.db"

    async def scenario() -> Any:
        async with saver_at(f"sqlite:///{str(path).replace(' ', '%20')}") as saver:
            await graph_on(saver).ainvoke({}, THREAD)
        async with saver_at(f"sqlite:///{path}") as saver:
            return (await graph_on(saver).aget_state(THREAD)).values

    assert asyncio.run(scenario()) == {"pair": (3, 4)}
    assert path.exists()


def test_a_file_is_opened_relative_to_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    async def scenario() -> None:
        async with saver_at("sqlite:///runs.db"):
            pass

    asyncio.run(scenario())
    assert (tmp_path / "runs.db").exists()


def test_a_file_has_its_tables_and_waits_for_other_writers_from_the_start(tmp_path: Path) -> None:
    async def scenario() -> tuple[Any, ...]:
        async with saver_at(f"sqlite:///{tmp_path / 'runs.db'}") as saver:
            assert isinstance(saver, AsyncSqliteSaver)
            assert isinstance(saver.serde, StrictSerializer)
            tables = saver.conn.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            ((waits_ms,),) = saver.conn.execute("PRAGMA busy_timeout").fetchall()
            return {name for (name,) in tables}, waits_ms

    tables, waits_ms = asyncio.run(scenario())
    assert tables == {"checkpoints", "writes", "sg_threads", "sg_values"}
    assert waits_ms == 30_000


class Pool:
    """Notes how it was made; is no pool."""

    made: dict[str, Any]
    is_open = False

    def __class_getitem__(cls, _: Any) -> type[Pool]:
        return cls

    def getconn(self) -> None:
        """Say that it is a pool."""

    def __init__(self, url: str, **options: Any) -> None:
        type(self).made = {"url": url, **options}

    async def __aenter__(self) -> Pool:
        self.is_open = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self.is_open = False


class Connection:
    """Connects to nothing."""

    @classmethod
    async def connect(cls, url: str, **_: Any) -> Connection:
        return cls()

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_a_postgresql_saver_has_a_pool_and_its_tables(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    has_tables = []

    async def setup(saver: Any) -> None:
        has_tables.append(saver.conn.is_open)

    monkeypatch.setattr(AsyncPostgresSaver, "_connect", Connection.connect)
    monkeypatch.setattr(AsyncPostgresSaver, "_pool", Pool)
    monkeypatch.setattr(AsyncPostgresSaver, "setup", setup)
    url = f"{scheme}://me@localhost/runs"

    async def scenario() -> Any:
        async with saver_at(url) as saver:
            assert saver.conn.is_open  # type: ignore[attr-defined]
        return saver

    saver = asyncio.run(scenario())
    assert isinstance(saver.serde, StrictSerializer)
    assert has_tables == [True]
    assert not saver.conn.is_open
    assert Pool.made == {
        "url": url,
        "min_size": 1,
        "max_size": libpq.CONNECTIONS,
        "timeout": libpq.CONNECT_S,
        "reconnect_timeout": libpq.CONNECT_S,
        "kwargs": {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row, **libpq.VANISHED},
        "open": False,
    }
    assert libpq.CONNECTIONS == 8
    assert libpq.CONNECT_S == 5.0


def test_a_connection_whose_server_vanished_ends_as_the_address_says() -> None:
    found = libpq.unless_given(libpq.VANISHED, "postgresql://localhost/runs?tcp_user_timeout=3000")
    assert found == {name: value for name, value in libpq.VANISHED.items() if name != "tcp_user_timeout"}
    assert libpq.unless_given(libpq.VANISHED, "postgresql://localhost/runs?colour=red") == {}


def test_a_server_that_is_not_there_is_named_with_the_reason() -> None:
    with pytest.raises(psycopg.OperationalError, match="Connection refused") as raised:
        asyncio.run(opened("postgresql://me:secret@127.0.0.1:1/runs"))
    assert "secret" not in str(raised.value)


def test_an_address_that_cannot_be_read_is_not_quoted() -> None:
    with pytest.raises(ConfigurationError, match="is not one that libpq can read") as raised:
        asyncio.run(opened("postgresql://me:secret@127.0.0.1/runs?colour=secret"))
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "module", "package"),
    [
        ("postgresql://localhost/runs", "langgraph.checkpoint.postgres.aio", r"stategraph\[postgres\]"),
        ("postgres://localhost/runs", "psycopg_pool", r"stategraph\[postgres\]"),
    ],
)
def test_an_address_whose_package_is_missing_says_which_one_to_install(
    monkeypatch: pytest.MonkeyPatch, url: str, module: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "stategraph.savers.postgres.saver", raising=False)
    monkeypatch.delitem(sys.modules, "stategraph.savers.postgres.connections", raising=False)
    with pytest.raises(MissingPackageError, match=package) as raised:
        asyncio.run(opened(url))
    assert isinstance(raised.value.__cause__, ImportError)


@pytest.mark.parametrize("name", ["PostgresSaver", "AsyncPostgresSaver"])
def test_a_saver_whose_package_is_missing_says_which_one_to_install(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, "psycopg_pool", None)
    monkeypatch.delitem(sys.modules, "stategraph.savers.postgres.saver", raising=False)
    monkeypatch.delitem(sys.modules, "stategraph.savers.postgres.connections", raising=False)
    with pytest.raises(MissingPackageError, match=rf"{name} needs the package 'stategraph\[postgres\]'"):
        getattr(savers, name)


def test_a_file_that_cannot_be_a_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database " * 100)
    with pytest.raises(ConfigurationError, match=r"The file '.*/text' is no SQLite database; name another one"):
        asyncio.run(opened(f"sqlite:///{tmp_path}/text"))
    with pytest.raises(ConfigurationError, match=r"'.*/none/runs.db' cannot be opened: there is no folder '.*/none'"):
        asyncio.run(opened(f"sqlite:///{tmp_path}/none/runs.db"))


@pytest.mark.parametrize("url", ["sqlite:///", "sqlite://", "sqlite:runs.db", "sqlite://runs.db"])
def test_an_address_of_sqlite_needs_a_path(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"three slashes and a path behind them: sqlite:///runs\.db"):
        asyncio.run(opened(url))


def test_a_folder_is_not_opened_as_a_database(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigurationError, match=r"'.*/folder' cannot be opened: it has to be a file"):
        asyncio.run(opened(f"sqlite:///{tmp_path}/folder"))


@pytest.mark.parametrize("url", ["mysql://user:secret@host/db", "runs.db"])
def test_another_address_is_refused_without_what_it_says_of_users(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"found '(mysql|runs\.db)'") as raised:
        asyncio.run(opened(url))
    assert "secret" not in str(raised.value)
