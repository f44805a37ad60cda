"""Databases of the registry that are not there, or hold none."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from stategraph._version import __version__
from stategraph.errors import ConfigurationError
from stategraph.savers.postgres.libpq import VANISHED
from stategraph.workers.eventlog import attach
from stategraph.workers.registry import sqlite
from stategraph.workers.registry.databases import open_database
from stategraph.workers.registry.operations import RegistryOperations
from stategraph.workers.registry.port import StoreUnavailableError
from stategraph.workers.registry.roster import GONE_S, KEPT_S
from stategraph.workers.registry.runs import RunRegistry
from stategraph.workers.registry.sqlite import SqliteDatabase

LIMIT_S = 30


def together(number: int, act: Any) -> list[Exception]:
    """Call something in several threads; return what they raised."""
    raised: list[Exception] = []

    def run() -> None:
        try:
            act()
        except Exception as error:
            raised.append(error)

    threads = [threading.Thread(target=run, daemon=True) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
    return raised


@pytest.mark.parametrize("login", ["me:hush@hush@", "me:hush/hush@", "hush@me:hush@"])
def test_a_login_that_libpq_would_take_for_a_host_is_refused_and_not_shown(login: str) -> None:
    with pytest.raises(ConfigurationError, match="write '%40' and '%2F'") as caught:
        open_database(f"postgresql://{login}127.0.0.1:1/db?sslmode=disable")
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "where", ["/db?user=me&password=hush@hush", "me:hush[?hush@127.0.0.1:1/db", "me@127.0.0.1:1/db"]
)
def test_addresses_that_libpq_can_read_are_taken(where: str) -> None:
    pytest.importorskip("psycopg")
    open_database(f"postgresql://{where}").close()


def test_calls_that_wait_for_a_server_share_one_attempt_to_reach_it(monkeypatch: pytest.MonkeyPatch) -> None:
    psycopg = pytest.importorskip("psycopg")
    from stategraph.workers.registry.postgres import PostgresDatabase

    callers = 5
    database = PostgresDatabase("postgresql://u:a-pass-word@127.0.0.1:1/db")
    registry = RegistryOperations(database)
    attempts: list[str] = []
    waiting = threading.Semaphore(0)
    opening = database._opening

    class Noted:
        """The lock, which tells how many have come to it."""

        def __enter__(self) -> None:
            waiting.release()
            opening.acquire()

        def __exit__(self, *_: object) -> None:
            opening.release()

    def connect(url: str, **_: Any) -> Any:
        attempts.append(url)
        for _ in range(callers if len(attempts) == 1 else 1):
            assert waiting.acquire(timeout=LIMIT_S)
        raise psycopg.OperationalError("connection refused. Is the server running?")

    monkeypatch.setattr(database, "_opening", Noted())
    monkeypatch.setattr(database, "_connect", connect)
    raised = together(callers, lambda: registry.newest(None, None, None, 1))
    assert len(attempts) == 1
    assert {type(each) for each in raised} == {StoreUnavailableError}
    (message,) = {str(each) for each in raised}
    assert message.startswith("The registry's PostgreSQL cannot be reached: connection refused. Is the server running?")
    assert "Check host, port" in message
    assert "a-pass-word" not in message
    assert len(together(1, registry.set_up)) == 1  # a later call tries again
    assert len(attempts) == 2
    database.close()


def test_connections_notice_a_server_that_vanished(postgres: str) -> None:
    database = open_database(postgres)
    with database.transaction() as session:
        options = session._cursor.connection.info.get_parameters()  # type: ignore[attr-defined]
    database.close()
    assert {name: int(options[name]) for name in VANISHED} == VANISHED


# Registries that are only looked at.


def looks(registry: RunRegistry) -> list[Callable[[], Awaitable[object]]]:
    """Everything that reads or moves runs that are there."""
    return [
        lambda: registry.list(),
        lambda: registry.get("r"),
        lambda: registry.cancel("r"),
        lambda: registry.resume("r", "yes"),
        lambda: registry.requeue("r"),
        lambda: registry.workers(),
        lambda: anext(attach(registry, "r")),
    ]


def files(folder: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in folder.iterdir()}


def other_program(path: Path) -> None:
    """Make a database that another program has."""
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE of_another_program (number INTEGER)")
    connection.commit()
    connection.close()


@pytest.mark.anyio
async def test_who_only_looks_makes_no_tables(url: str, tmp_path: Path) -> None:
    if url.startswith("sqlite"):
        other_program(tmp_path / "runs.db")
        before = files(tmp_path)
    registry = RunRegistry.from_url(url, create=False)
    for look in looks(registry):
        with pytest.raises(ConfigurationError, match="There is no registry of runs in this database"):
            await look()
    await registry.aclose()
    if url.startswith("sqlite"):
        assert files(tmp_path) == before
    maker = RunRegistry.from_url(url)
    run_id = await maker.submit("t", None, target="tests.workers.app:steps")
    await maker.aclose()
    reader = RunRegistry.from_url(url, create=False)
    assert [run.run_id for run in await reader.list()] == [run_id]
    assert await reader.cancel(run_id)
    await reader.aclose()


@pytest.mark.anyio
async def test_who_only_looks_makes_no_file(tmp_path: Path) -> None:
    registry = RunRegistry.from_url(f"sqlite:///{tmp_path / 'my runs.db'}".replace(" ", "%20"), create=False)
    for look in looks(registry):
        with pytest.raises(ConfigurationError, match=r"There is no database '.*my runs\.db'"):
            await look()
    await registry.aclose()
    assert files(tmp_path) == {}


# The workers of a registry.


@pytest.mark.anyio
async def test_a_worker_is_seen_while_it_lives_and_for_a_day_after_it_was_killed(url: str) -> None:
    registry = RunRegistry.from_url(url)
    roster = registry.roster
    roster.see("killed", 4)
    roster.see("old", 4)
    roster.see("here", 10)
    age(registry, "killed", GONE_S + 1)
    age(registry, "old", KEPT_S + 1)
    await registry.submit("t", None, target="tests.workers.app:steps")
    assert await registry.claim("here") is not None
    roster.forget_gone()
    roster.see("here", 12, ("slow", "default"))
    seen = {each.worker_id: each for each in await registry.workers()}
    assert set(seen) == {"killed", "here"}
    assert (seen["killed"].gone, seen["killed"].busy) == (True, 0)
    here = seen["here"]
    assert (here.gone, here.busy, here.capacity, here.pid, here.version) == (False, 1, 12, os.getpid(), __version__)
    assert (here.queues, seen["killed"].queues) == (("slow", "default"), ())
    assert here.started_at <= here.seen_at
    roster.forget("here")
    assert [each.worker_id for each in await registry.workers()] == ["killed"]
    await registry.aclose()


@pytest.mark.anyio
async def test_runs_are_found_by_their_targets_in_an_index(tmp_path: Path) -> None:
    registry = RunRegistry.from_url(f"sqlite:///{tmp_path / 'runs.db'}")
    for number in range(20):
        await registry.submit(f"t{number}", None, target=f"tests.workers.app:{'steps' if number % 5 else 'asking'}")
    wanted = json.dumps(["tests.workers.app:asking"])
    with registry.operations.database.transaction(write=False) as session:
        plan = session.execute(f"EXPLAIN QUERY PLAN {registry.overview._own.of_targets}", (wanted, 3600, 10))
    assert any("sg_run USING INDEX sg_of_target (target=?)" in row[-1] for row in plan), plan
    found = await registry.overview.of_targets(["tests.workers.app:asking"], 3600)
    assert [each.thread_id for each in found] == ["t0", "t5", "t10", "t15"]
    await registry.aclose()


@pytest.mark.anyio
@pytest.mark.parametrize("after_seq", [-1, True, "3", None])
async def test_a_place_in_the_events_that_makes_no_sense_is_refused(tmp_path: Path, after_seq: Any) -> None:
    registry = RunRegistry.from_url(f"sqlite:///{tmp_path / 'runs.db'}")
    run_id = await registry.submit("t", None, target="tests.workers.app:steps")
    with pytest.raises(ConfigurationError, match=rf"after_seq is {after_seq!r}; expected the number of the last event"):
        await anext(attach(registry, run_id, after_seq))
    await registry.aclose()


@pytest.mark.parametrize("path", ["runs.db", ":memory:"])
def test_a_transaction_that_cannot_be_rolled_back_takes_no_connection_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    def fails(connection: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    database = SqliteDatabase(path if path == ":memory:" else str(tmp_path / path))
    with database.transaction() as session:
        session.change("CREATE TABLE kept (x INTEGER)")
    with monkeypatch.context() as patched:
        patched.setattr(sqlite, "_roll_back", fails)
        for _ in range(1 if path == ":memory:" else 12):
            with pytest.raises(ZeroDivisionError), database.transaction() as session:
                session.change("INSERT INTO kept VALUES (1)")
                raise ZeroDivisionError

    def looks() -> None:
        if path == ":memory:":
            database._free.queue[0].execute("ROLLBACK")  # type: ignore[union-attr]
        with database.transaction() as session:
            rows.append(session.execute("SELECT * FROM kept"))

    rows: list[Any] = []
    assert together(1, looks) == [] and rows == [[]]
    database.close()


def age(registry: RunRegistry, worker_id: str, seconds: float) -> None:
    database = registry.operations.database
    ph = database.sql.dialect.parameter
    with database.transaction() as session:
        session.change(
            f"UPDATE sg_worker SET seen_at = seen_at - {ph}, started_at = started_at - {ph} WHERE worker_id = {ph}",
            (seconds, seconds, worker_id),
        )
