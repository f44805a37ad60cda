"""Procedures: one generator, performed by a sync and by an async caller."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import pytest

from stategraph.engine.config.procedures import Enter, Procedure, Within, aperform, perform


class Store:
    """Notes its calls; a sync and an async form of everything that procedures ask for."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.refuses = ""

    def put(self, what: str) -> str:
        self.notes.append(what)
        if what == self.refuses:
            raise OSError(what)
        return what.upper()

    async def aput(self, what: str) -> str:
        await asyncio.sleep(0)
        return self.put(what)

    @contextmanager
    def open(self, name: str) -> Any:
        self.put(f"enter {name}")
        try:
            yield name
        finally:
            self.put(f"leave {name}")

    @asynccontextmanager
    async def aopen(self, name: str) -> Any:
        with self.open(name) as opened:
            yield opened


Way = Callable[[Store, Callable[[Any, Any], Procedure[Any]]], Any]


def in_sync(store: Store, procedure: Callable[[Any, Any], Procedure[Any]]) -> Any:
    return perform(procedure(store.put, store.open))


def in_async(store: Store, procedure: Callable[[Any, Any], Procedure[Any]]) -> Any:
    return asyncio.run(aperform(procedure(store.aput, store.aopen)))


@pytest.fixture(params=[in_sync, in_async])
def way(request: pytest.FixtureRequest) -> Any:
    return request.param


def two_puts(put: Any, open: Any) -> Procedure[Any]:
    opened = yield Enter(open("outer"))
    yield Enter(open("inner"))
    try:
        first = yield partial(put, "a")
        second = yield partial(put, "b")
    except OSError:
        yield partial(put, "roll back")
        raise
    return opened, first, second


def test_answers_are_those_of_the_calls_and_contexts_are_left_in_reverse_order(way: Way) -> None:
    store = Store()
    assert way(store, two_puts) == ("outer", "A", "B")
    assert store.notes == ["enter outer", "enter inner", "a", "b", "leave inner", "leave outer"]


def test_the_error_of_a_call_is_raised_where_it_was_asked_for(way: Way) -> None:
    store = Store()
    store.refuses = "b"
    with pytest.raises(OSError, match="b"):
        way(store, two_puts)
    assert store.notes == ["enter outer", "enter inner", "a", "b", "roll back", "leave inner", "leave outer"]


def test_an_error_while_another_is_handled_keeps_that_one_as_its_context(way: Way) -> None:
    def fails_twice(put: Any, open: Any) -> Procedure[None]:
        try:
            yield partial(put, "b")
        except OSError:
            yield partial(put, 3)

    store = Store()
    store.refuses = "b"
    with pytest.raises(AttributeError) as raised:
        way(store, fails_twice)
    assert isinstance(raised.value.__context__, OSError)


def test_a_procedure_within_another_leaves_its_contexts_first_and_its_errors_can_be_handled(way: Way) -> None:
    def around(put: Any, open: Any) -> Procedure[Any]:
        try:
            return (yield Within(two_puts(put, open)))
        except OSError as error:
            return (yield partial(put, f"handled {error}"))

    store = Store()
    assert way(store, around) == ("outer", "A", "B")
    store = Store()
    store.refuses = "leave inner"
    assert way(store, around) == "HANDLED LEAVE INNER"
    assert store.notes[-3:] == ["leave inner", "leave outer", "handled leave inner"]


def test_a_cancelled_procedure_cleans_up_before_it_ends() -> None:
    store = Store()

    async def cancelled() -> None:
        reached = asyncio.Event()

        async def wait() -> None:
            reached.set()
            await asyncio.Event().wait()

        def waits() -> Procedure[None]:
            try:
                yield wait
            finally:
                yield partial(store.aput, "cleaned")

        work = asyncio.ensure_future(aperform(waits()))
        await asyncio.wait_for(reached.wait(), 30)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    asyncio.run(cancelled())
    assert store.notes == ["cleaned"]
