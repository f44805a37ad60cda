"""Tables of stores beside a registry: made once, and not asked for where they are there."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from stategraph.workers.registry.databases import open_database
from stategraph.workers.registry.own_tables import OwnStatements, OwnTables
from stategraph.workers.registry.port import ConflictError, Database

TABLES = (
    "CREATE TABLE sg_one (a TEXT)",
    "CREATE TABLE IF NOT EXISTS sg_two (a TEXT)",
    "CREATE INDEX sg_by ON sg_two (a)",
)


@pytest.fixture
def url(tmp_path: Any) -> str:
    return f"sqlite:///{tmp_path / 'tables.db'}"


def names(database: Database) -> list[str]:
    with database.transaction(write=False) as session:
        return sorted(row[0] for row in session.execute("SELECT name FROM sqlite_master WHERE name LIKE 'sg_%'"))


def test_what_is_not_there_is_made_in_any_number_of_threads_and_stores(url: str) -> None:
    stores = [OwnTables(open_database(url), TABLES) for _ in range(4)]
    ready, errors = threading.Barrier(8), list[BaseException]()

    def set_up(tables: OwnTables) -> None:
        ready.wait(60)
        try:
            tables.set_up()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=set_up, args=(tables,)) for tables in stores * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert names(stores[0]._database) == ["sg_by", "sg_one", "sg_two"]
    for tables in stores:
        tables._database.close()


def test_a_table_that_a_later_version_has_is_added(url: str) -> None:
    database = open_database(url)
    OwnTables(database, TABLES[:1]).set_up()
    OwnTables(database, TABLES).set_up()
    assert names(database) == ["sg_by", "sg_one", "sg_two"]
    database.close()


def test_nothing_is_made_by_who_may_not_where_all_is_there(url: str) -> None:
    database = open_database(url)
    OwnTables(database, TABLES).set_up()
    tables = OwnTables(database, TABLES)
    tables._statements = dict.fromkeys(tables._statements, "NOT A STATEMENT")
    tables.set_up()
    database.close()


@pytest.mark.parametrize("statement", ["DROP TABLE sg_one", "CREATE VIEW sg_one AS SELECT 1"])
def test_other_statements_are_a_mistake(url: str, statement: str) -> None:
    statements: Sequence[str] = [statement]
    database = open_database(url)
    with pytest.raises(AssertionError, match="makes no table or index"):
        OwnTables(database, statements)
    database.close()


@pytest.mark.anyio
async def test_a_statement_is_spelled_and_tried_again_when_another_was_faster(url: str) -> None:
    database = open_database(url)
    statements = OwnStatements(database, ["CREATE TABLE sg_timed (name TEXT PRIMARY KEY, at {real}, data {blob})"])
    real, conflicts = database.transaction, [ConflictError("UniqueViolation")] * 2

    @contextmanager
    def transaction(**options: Any) -> Iterator[Any]:
        with real(**options) as session:
            yield session
            if conflicts and options.get("write", True):
                raise conflicts.pop()

    await statements.execute("SELECT 1 FROM sg_timed", write=False)  # the table is there now
    database.transaction = transaction  # type: ignore[method-assign]
    assert await statements.change("INSERT INTO sg_timed VALUES (?, {now} + ?, ?)", ("one", 5.0, b"1")) == 1
    assert conflicts == []
    rows = await statements.execute("SELECT name, at > {now}, data FROM sg_timed WHERE name = ?", ("one",))
    assert rows == [("one", 1, b"1")]
    await statements.close()
