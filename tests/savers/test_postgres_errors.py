"""Errors that a user of savers on PostgreSQL meets first: each says what was found and what to do, and no secrets."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

psycopg = pytest.importorskip("psycopg")

from psycopg import Connection, OperationalError, errors  # noqa: E402
from psycopg.rows import dict_row  # noqa: E402
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout  # noqa: E402

from stategraph.errors import ConfigurationError  # noqa: E402
from stategraph.savers.postgres.saver import AsyncPostgresSaver, PostgresSaver  # noqa: E402
from tests.savers.drivers import at, opened, put  # noqa: E402

NOBODY = "postgresql://me:secret@127.0.0.1:1/runs"
OPTIONS: Any = {"autocommit": True, "row_factory": dict_row}
LIMIT_S = 60.0


def failing(api: str, address: str, **options: Any) -> str:
    """Return what is said where a saver is opened that cannot be."""
    opening = opened(
        api,
        lambda: PostgresSaver.from_conn_string(address, **options),
        lambda: AsyncPostgresSaver.from_conn_string(address, **options),
    )
    with pytest.raises((OperationalError, ConfigurationError)) as raised, opening:
        pass
    return str(raised.value)


@pytest.mark.parametrize("api", ["sync", "async"])
@pytest.mark.parametrize("pipeline", [False, True])
def test_a_server_that_is_not_there(api: str, pipeline: bool) -> None:
    said = failing(api, NOBODY, pipeline=pipeline)
    assert said.startswith(
        "There is no connection to PostgreSQL, database 'runs' on 127.0.0.1, port 1 as user 'me': connection failed: "
    )
    assert "Connection refused" in said
    assert said.endswith("and at the host and port in the address")
    assert "secret" not in said


@pytest.mark.parametrize("api", ["sync", "async"])
def test_an_address_that_is_none(api: str) -> None:
    said = failing(api, "postgresql://me:secret@127.0.0.1/runs?colour=secret")
    assert said.startswith("The database's address is not one that libpq can read")
    assert "secret" not in said


def test_a_database_or_a_user_that_does_not_exist(postgres: str) -> None:
    name = postgres.split("/")[3].partition("?")[0]
    said = failing("sync", postgres.replace(name, "absent"))
    assert "database 'absent' on /" in said
    assert said.endswith("Make the database, as with 'createdb', or name another one")
    said = failing("sync", postgres + "&user=absent")
    assert "as user 'absent'" in said
    assert said.endswith("Make the user, as with 'createuser', or name another one")


@pytest.fixture
def guarded(server: str) -> Iterator[str]:
    """The address of the server for a user who has to give a password, without it."""
    name = f"guarded_{uuid.uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        ((path,),) = connection.execute("SHOW hba_file").fetchall()
        lines = connection.execute("SELECT pg_read_file(%s)", (path,)).fetchall()[0][0]

        def write(text: str) -> None:
            quoted = [psycopg.sql.Literal(line) for line in text.splitlines() if not line.startswith("#")]
            rows = psycopg.sql.SQL(", ").join(psycopg.sql.SQL("({})").format(line) for line in quoted)
            statement = "COPY (SELECT * FROM (VALUES {}) AS r) TO {}"
            connection.execute(psycopg.sql.SQL(statement).format(rows, psycopg.sql.Literal(path)))
            connection.execute("SELECT pg_reload_conf()")

        connection.execute(f"CREATE USER {name} PASSWORD 'right'")
        write(f"local all {name} scram-sha-256\n{lines}")
        try:
            yield f"{server}&user={name}"
        finally:
            write(lines)
            connection.execute(f"DROP USER {name}")


def test_a_wrong_password(guarded: str) -> None:
    said = ""
    while "password" not in said:  # until the server has read its file
        try:
            Connection.connect(guarded + "&password=wrong").close()
        except OperationalError as error:
            said = str(error)
    said = failing("sync", guarded + "&password=wrong%20secret")
    assert 'password authentication failed for user "guarded_' in said
    assert said.endswith("in the address, PGPASSWORD or ~/.pgpass")
    assert "secret" not in said
    assert "Give the password in the address" in failing("sync", guarded)


@pytest.mark.parametrize("mode", ["compact", "plain"])
def test_tables_that_nobody_has_made(postgres: str, mode: Any) -> None:
    with PostgresSaver.from_conn_string(postgres, mode=mode) as saver:
        for call in (
            lambda: put(saver, "t", n=[1]),
            lambda: saver.put_writes(at("t", "1"), [("n", 1)], "task"),
            lambda: saver.get_tuple(at("t")),
            lambda: list(saver.list(at("t"))),
            lambda: saver.delete_thread("t"),
        ):
            with pytest.raises(errors.UndefinedTable, match=r"call the saver's setup\(\) once .* before the first run"):
                call()
        saver.setup()
        put(saver, "t", n=[1])
        with psycopg.connect(postgres, autocommit=True) as connection:
            connection.execute("DROP TABLE checkpoints, checkpoint_blobs")
        with pytest.raises(errors.UndefinedTable, match=r"does not exist\. The database has no tables"):
            put(saver, "t", n=[2])


def test_a_user_who_may_not_make_tables(postgres: str) -> None:
    name = f"limited_{uuid.uuid4().hex}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE USER {name}")
        try:
            with PostgresSaver.from_conn_string(f"{postgres}&user={name}") as saver:
                with pytest.raises(errors.InsufficientPrivilege, match=r"denied for schema public.*GRANT"):
                    saver.setup()
                with PostgresSaver.from_conn_string(postgres) as other:
                    other.setup()
                with pytest.raises(errors.InsufficientPrivilege, match="permission denied for table"):
                    put(saver, "t", n=[1])
                tables = (
                    "checkpoints, checkpoint_blobs, checkpoint_writes, checkpoint_migrations, sg_threads, sg_values"
                )
                connection.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {tables} TO {name}")
                saver.setup()  # has nothing to do
                stored = put(saver, "t", n=["long" * 100])
                assert saver.get_tuple(at("t")).config == at("t", stored)  # type: ignore[union-attr]
        finally:
            connection.execute(f"DROP OWNED BY {name}")
            connection.execute(f"DROP USER {name}")


def test_a_server_that_only_reads(postgres: str) -> None:
    with PostgresSaver.from_conn_string(postgres) as saver:
        saver.setup()
    with PostgresSaver.from_conn_string(postgres + "&options=-cdefault_transaction_read_only%3Don") as saver:
        assert saver.get_tuple(at("t")) is None
        with pytest.raises(errors.ReadOnlySqlTransaction, match="'target_session_attrs=read-write'"):
            put(saver, "t", n=[1])


@pytest.mark.parametrize("api", ["sync", "async"])
def test_a_saver_that_was_closed(api: str, postgres: str) -> None:
    with opened(
        api,
        lambda: PostgresSaver.from_conn_string(postgres),
        lambda: AsyncPostgresSaver.from_conn_string(postgres),
    ) as saver:
        put(saver, "t", n=[1])
        if api == "sync":
            saver.conn.close()
        else:
            saver.run(saver.saver.conn.close())
        with pytest.raises(PoolClosed, match=r"used after its pool was closed: .* inside of its 'with'"):
            put(saver, "t", n=[1])


def test_a_pool_that_is_not_open_yet(postgres: str) -> None:
    pool: Any = ConnectionPool(postgres, open=False, kwargs=OPTIONS)
    with pytest.raises(PoolClosed, match=r"not open yet: call its open\(\)"):
        PostgresSaver(pool).setup()


def test_a_connection_that_was_closed(postgres: str) -> None:
    with Connection.connect(postgres, **OPTIONS) as connection:
        saver = PostgresSaver(connection)
        saver.setup()
    with pytest.raises(OperationalError, match="stands on one connection, which was closed or lost"):
        saver.get_tuple(at("t"))


def test_a_pool_whose_connections_are_all_in_use(postgres: str) -> None:
    with ConnectionPool(postgres, min_size=1, max_size=1, timeout=0.1, kwargs=OPTIONS, open=True) as pool:
        saver = PostgresSaver(pool)
        pool.wait(LIMIT_S)
        with pool.connection(), pytest.raises(PoolTimeout, match=r"waited 0\.1 s .*the server answers.*at most 1\)"):
            saver.setup()
        saver.setup()


def test_a_pool_whose_server_is_not_there() -> None:
    pool: Any = ConnectionPool(NOBODY, min_size=0, max_size=1, timeout=0.1, kwargs=OPTIONS, open=True)
    said = r"waited 0\.1 s .*database 'runs' on 127\.0\.0\.1.*refused"
    with pool, pytest.raises(PoolTimeout, match=said) as raised:
        PostgresSaver(pool).setup()
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("kind", [PostgresSaver, AsyncPostgresSaver])
def test_a_mode_that_is_none_is_refused_when_the_saver_is_made(kind: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"mode of a saver is 'compact', 'plain' or None.*found 'smaller'"):
        kind(object(), mode="smaller")
