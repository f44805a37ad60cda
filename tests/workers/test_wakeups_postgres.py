"""The bus on PostgreSQL: when it hears, and what it says when it does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from stategraph.workers.wakeups import postgres as postgres_bus
from stategraph.workers.wakeups.signals import Signal, SignalKind
from stategraph.workers.wakeups.waiting import until_first
from tests.workers.waiting import until

LIMIT_S = 60

pytestmark = pytest.mark.anyio


def of_run(run_id: str) -> Signal:
    return Signal(SignalKind.EVENTS, run_id)


class Sessions:
    """A PostgreSQL whose notifications come back, whose statements may be held up, and that may end with an error."""

    def __init__(self) -> None:
        self.listened: list[str] = []
        self.told: asyncio.Queue[SimpleNamespace | None] = asyncio.Queue()
        self.listens, self.answers = anyio.Event(), anyio.Event()
        self.error: Exception | None = None
        self.listens.set()
        self.answers.set()

    async def connect(self, url: str, **options: Any) -> Any:
        return self

    async def execute(self, statement: str, parameters: Sequence[Sequence[str]] = ()) -> None:
        if statement.startswith("LISTEN"):
            await self.listens.wait()
            self.listened.append(statement)
            return
        if self.error is not None:
            self.told.put_nowait(None)  # and no notification
            return
        await self.answers.wait()
        for channel, payload in zip(*parameters, strict=True):
            self.told.put_nowait(SimpleNamespace(channel=channel, payload=payload))

    async def notifies(self) -> AsyncIterator[SimpleNamespace]:
        while (told := await self.told.get()) is not None:
            yield told
        assert self.error is not None
        raise self.error

    async def close(self) -> None:
        pass


async def test_waiters_look_again_only_when_postgres_listens_for_them() -> None:
    sessions, heard = Sessions(), []
    connection = postgres_bus.PostgresConnection(sessions.connect, "", heard.append)
    await connection.open()
    losing = asyncio.ensure_future(connection.lost())
    await connection.listen([(SignalKind.WORK, "q")])
    sessions.listens = anyio.Event()

    listening = asyncio.ensure_future(connection.listen([(SignalKind.WORK, "q"), of_run("run").topic]))
    await anyio.wait_all_tasks_blocked()
    assert not listening.done()
    sessions.listens.set()
    with anyio.fail_after(LIMIT_S):
        await listening
    assert 'LISTEN "stategraph_events"' in sessions.listened

    await connection.send([of_run("run"), of_run("another")])
    await until(lambda: bool(heard))
    assert heard == [of_run("run").topic]
    losing.cancel()
    await asyncio.wait({losing})


async def test_a_postgres_that_answers_no_more_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_bus, "PROBE_S", 0.01)
    monkeypatch.setattr(postgres_bus, "_CONNECT_S", 0.05)
    sessions = Sessions()
    connection = postgres_bus.PostgresConnection(sessions.connect, "", print)
    await connection.open()
    sessions.answers = anyio.Event()

    with anyio.fail_after(LIMIT_S), pytest.raises(ConnectionError, match=r"does not answer within 0\.05 s"):
        await connection.lost()


async def test_a_postgres_that_ends_before_it_is_heard_for_the_first_time_is_not_taken_for_a_pooler() -> None:
    sessions = Sessions()
    sessions.error = ConnectionResetError("the server closed the connection")
    connection = postgres_bus.PostgresConnection(sessions.connect, "", print)

    with anyio.fail_after(LIMIT_S), pytest.raises(ConnectionResetError, match="the server closed the connection"):
        await connection.open()


async def test_a_postgres_that_ends_is_lost_with_its_own_error() -> None:
    sessions = Sessions()
    connection = postgres_bus.PostgresConnection(sessions.connect, "", print)
    await connection.open()
    sessions.error = ConnectionResetError("the server closed the connection")
    losing = asyncio.ensure_future(connection.lost())
    sessions.told.put_nowait(None)

    with anyio.fail_after(LIMIT_S), pytest.raises(ConnectionResetError, match="the server closed the connection"):
        await losing


async def test_the_first_of_several_ends_the_others_and_tells_its_error() -> None:
    ended: list[str] = []

    async def wait(name: str, event: anyio.Event) -> None:
        try:
            await event.wait()
        finally:
            ended.append(name)

    async def fail() -> None:
        raise ValueError("first")

    event, never = anyio.Event(), anyio.Event()
    event.set()
    with anyio.fail_after(LIMIT_S):
        await until_first(wait("set", event), wait("never", never))
        with pytest.raises(ValueError, match="first"):
            await until_first(wait("beside", never), fail())
        await until_first(wait("in vain", never), timeout_s=0.01)
    assert ended == ["set", "never", "beside", "in vain"]
