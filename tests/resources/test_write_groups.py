"""Writes of many tasks are few transactions, and the error of one is no error of another."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from stategraph.resources import ConflictError, Metadata, Resource, ResourceKey
from stategraph.resources.errors import ResourceError
from stategraph.resources.store.database import DatabaseStore
from stategraph.resources.store.grouping import MOST, WriteGroups
from stategraph.resources.store.opening import open_store
from stategraph.workers.registry.port import StoreUnavailableError

LIMIT_S = 60


class Refused(Exception):
    """A write that may not be."""


class Database:
    """Lists of texts; a transaction that fails leaves nothing."""

    def __init__(self) -> None:
        self.stored: list[str] = []
        self.transactions: list[int] = []
        self.may_go = threading.Event()
        self.may_go.set()
        self.begun = threading.Event()
        self.is_away = False

    def perform(self, work: Callable[[list[str]], Any]) -> Any:
        self.begun.set()
        assert self.may_go.wait(LIMIT_S)
        if self.is_away:
            raise StoreUnavailableError("away")
        written = list(self.stored)
        result = work(written)
        self.transactions.append(len(written) - len(self.stored))
        self.stored = written
        return result


def write(text: str) -> Callable[[list[str]], str]:
    def work(written: list[str]) -> str:
        written.append(text)
        return text

    return work


def refuse(written: list[str]) -> str:
    raise Refused("not so")


def refuse_late(written: list[str]) -> str:
    written.append("half")
    raise Refused("too late")


def fail(written: list[str]) -> str:
    raise ZeroDivisionError("a fault")


def together(database: Database, threads: ThreadPoolExecutor, works: list[Any]) -> list[Any]:
    """Ask for writes while another one goes on; returns their results, or their errors."""
    groups = WriteGroups[list[str]](threads, database.perform, Refused, len)
    database.may_go.clear()
    first = groups.ask(write("first"))
    assert database.begun.wait(LIMIT_S)
    asked = [groups.ask(each) for each in works]
    database.may_go.set()
    assert first.result(LIMIT_S) == "first"
    return [each.exception(LIMIT_S) or each.result(LIMIT_S) for each in asked]


def test_what_comes_during_a_transaction_is_the_next_one_together() -> None:
    database = Database()
    with ThreadPoolExecutor(2) as threads:
        number = MOST + 3
        results = together(database, threads, [write(f"{each}") for each in range(number)])
    assert results == [f"{each}" for each in range(number)]
    assert database.stored == ["first", *results], "in the order in which they were asked for"
    assert database.transactions == [1, MOST, 3]


def test_one_that_is_refused_disturbs_no_other() -> None:
    database = Database()
    with ThreadPoolExecutor(2) as threads:
        a, error, b = together(database, threads, [write("a"), refuse, write("b")])
    assert (a, b) == ("a", "b") and isinstance(error, Refused)
    assert (database.stored, database.transactions) == (["first", "a", "b"], [1, 2])


@pytest.mark.parametrize(("wrong", "error"), [(refuse_late, Refused), (fail, ZeroDivisionError)])
def test_after_an_error_in_the_middle_each_is_written_by_itself(wrong: Any, error: type[Exception]) -> None:
    database = Database()
    with ThreadPoolExecutor(2) as threads:
        a, found, b = together(database, threads, [write("a"), wrong, write("b")])
    assert (a, b) == ("a", "b") and isinstance(found, error)
    assert (database.stored, database.transactions) == (["first", "a", "b"], [1, 1, 1])


def test_nothing_is_written_again_where_nobody_knows_what_was_stored() -> None:
    database = Database()
    with ThreadPoolExecutor(1) as threads:
        groups = WriteGroups[list[str]](threads, database.perform, Refused, len)
        database.may_go.clear()
        first = groups.ask(write("first"))
        assert database.begun.wait(LIMIT_S)
        asked = [groups.ask(write("a")), groups.ask(write("b"))]
        database.is_away = True
        database.may_go.set()
        for each in (first, *asked):
            assert isinstance(each.exception(LIMIT_S), StoreUnavailableError)
        database.is_away = False
        assert groups.ask(write("c")).result(LIMIT_S) == "c"
    assert database.stored == ["c"]


def test_a_write_that_nobody_waits_for_any_more_is_left_out() -> None:
    database = Database()
    with ThreadPoolExecutor(1) as threads:
        groups = WriteGroups[list[str]](threads, database.perform, Refused, len)
        database.may_go.clear()
        first = groups.ask(write("first"))
        assert database.begun.wait(LIMIT_S)
        given_up, kept = groups.ask(write("a")), groups.ask(write("b"))
        assert given_up.cancel()
        database.may_go.set()
        assert (first.result(LIMIT_S), kept.result(LIMIT_S)) == ("first", "b")
    assert database.stored == ["first", "b"]


def test_what_is_asked_for_after_the_end_is_refused() -> None:
    threads = ThreadPoolExecutor(1)
    threads.shutdown()
    groups = WriteGroups[list[str]](threads, Database().perform, Refused, len)
    with pytest.raises(ResourceError, match="The store is closed"):
        groups.ask(write("a")).result(LIMIT_S)


def test_what_was_asked_for_before_the_end_and_never_begun_is_refused() -> None:
    database = Database()
    with ThreadPoolExecutor(1) as threads:
        groups = WriteGroups[list[str]](threads, database.perform, Refused, len)
        database.may_go.clear()
        first = groups.ask(write("first"))
        assert database.begun.wait(LIMIT_S)
        late, given_up = groups.ask(write("late")), groups.ask(write("given up"))
        assert given_up.cancel()
        groups.close()
        database.may_go.set()
        assert first.result(LIMIT_S) == "first" and given_up.cancelled()
        with pytest.raises(ResourceError, match="The store is closed"):
            late.result(LIMIT_S)
    assert database.stored == ["first"]


def secret(name: str) -> Resource:
    return Resource("stategraph.dev/v1", "Secret", Metadata(name), {"valueFrom": {"env": "X"}})


def test_statuses_that_are_written_at_once_are_few_transactions(tmp_path: Any) -> None:
    async def run() -> None:
        store = open_store(f"sqlite:///{tmp_path}/app.db")
        assert isinstance(store, DatabaseStore)
        try:
            made = [each.resource for each in await store.apply([secret(f"s{number}") for number in range(100)])]
            transactions = 0
            written = store._written

            def counted(work: Any) -> Any:
                nonlocal transactions
                transactions += 1
                return written(work)

            store._writes._perform = counted
            stale = made[7].with_metadata(resource_version=0)
            asked = [store.put_status(each) for each in (*_told(made), *_told([stale]))]
            results = await asyncio.gather(*asked, return_exceptions=True)
            assert [type(each) for each in results] == [Resource] * 100 + [ConflictError]
            assert transactions <= 10, "there were as many transactions as statuses"
            stored = await store.get(ResourceKey("secret", "default", "s99"))
            assert stored is not None and stored.status == {"ready": "s99"}
            versions = [each.metadata.resource_version for each in results if isinstance(each, Resource)]
            assert sorted(versions) == list(range(101, 201)), "each has a version of its own, without a gap"
        finally:
            await store.close()

    asyncio.run(run())


def _told(resources: list[Resource]) -> list[Resource]:
    from dataclasses import replace

    return [replace(each, status={"ready": each.name}) for each in resources]
