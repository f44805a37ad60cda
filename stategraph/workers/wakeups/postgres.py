"""Signals by PostgreSQL's `LISTEN` and `NOTIFY`, through `psycopg` (the extra `postgres`).

Rules
-----
* Signals are sent after the transaction that they tell of, many together, in a transaction of their own: one that
  notifies holds a lock of the whole server while it commits (`PreCommit_Notify` in PostgreSQL's `async.c`), and what
  stores runs or checkpoints must not wait for it.
* Work and stops have one channel, events of runs another, so that a worker does not hear what all others tell. Each
  listener of a channel hears all of it.
* What comes while nobody reads, as when a channel is added, is kept by the client (psycopg 3.2.4 or newer).
* A connection counts as live once it has heard itself. A pooler that gives each transaction another connection accepts
  `LISTEN` and lets nothing through.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from stategraph.workers.naming import token
from stategraph.workers.wakeups.bus import ConnectedBus
from stategraph.workers.wakeups.signals import Signal, SignalKind, Topic
from stategraph.workers.wakeups.waiting import until_first

if TYPE_CHECKING:
    from psycopg import AsyncConnection

_CHANNELS: Final = {
    SignalKind.WORK: "stategraph_work",
    SignalKind.STOP: "stategraph_work",
    SignalKind.EVENTS: "stategraph_events",
}

_CONNECT_S: Final = 5

#: Interval at which a silent connection is asked whether it hears.
PROBE_S: Final = 20.0

#: Time that such a question may take.
_ANSWER_S: Final = 5.0

#: Nothing is lost with a notification, so its commit waits for no disk while it holds the lock.
_NOTIFY: Final = (
    "SELECT set_config('synchronous_commit', 'off', true), count(pg_notify(channel, payload)) "
    "FROM unnest(%s::text[], %s::text[]) AS told (channel, payload)"
)


def postgres_bus(url: str) -> ConnectedBus:
    """Return a bus on a PostgreSQL; nothing is opened before its first use.

    Args:
        url: The server's address, as libpq takes it.

    Raises:
        ImportError: `psycopg` is not installed.
    """
    import psycopg  # an extra

    return ConnectedBus("postgres", lambda heard: PostgresConnection(psycopg.AsyncConnection.connect, url, heard))


class PostgresConnection:
    """Two sessions of a server: one that listens and one that notifies.

    Args:
        connect: Opens a session.
        url: The server's address.
        heard: Called with each topic.
    """

    def __init__(
        self, connect: Callable[..., Awaitable[AsyncConnection[Any]]], url: str, heard: Callable[[Topic], None]
    ) -> None:
        self._connect = connect
        self._url = url
        self._heard = heard
        self._own = f"hello {uuid4().hex}"
        self._listening: AsyncConnection[Any] | None = None
        self._telling: AsyncConnection[Any] | None = None
        self._topics: dict[tuple[str, str], Topic] = {}
        self._channels: frozenset[str] = frozenset()
        self._changed = asyncio.Event()
        self._listens = asyncio.Event()
        self._answered = asyncio.Event()

    async def open(self) -> None:
        """Connect, and wait until the connection hears itself; see `bus.Connection.open`."""
        self._listening = await self._session()
        await self._listen_to(self._listening, frozenset())
        await until_first(self._read(self._listening), self._probe())

    async def _session(self) -> AsyncConnection[Any]:
        return await self._connect(
            self._url, autocommit=True, connect_timeout=_CONNECT_S, application_name="stategraph bus"
        )

    async def listen(self, topics: Collection[Topic]) -> None:
        """Hear these topics; see `bus.Connection.listen`."""
        self._topics = {(_CHANNELS[kind], _payload(kind, name)): (kind, name) for kind, name in topics}
        channels = frozenset(channel for channel, _ in self._topics)
        if channels - self._channels:  # those that nobody needs any more stay for as long as the connection
            self._channels |= channels
            self._listens.clear()
            self._changed.set()
        await self._listens.wait()

    async def send(self, signals: Sequence[Signal]) -> None:
        """Notify in one transaction; see `bus.Connection.send`."""
        await self._notify([(_CHANNELS[each.kind], _payload(each.kind, each.name)) for each in signals])

    async def _notify(self, told: Sequence[tuple[str, str]]) -> None:
        if self._telling is None:
            self._telling = await self._session()
        channels, payloads = zip(*dict.fromkeys(told), strict=True)
        await self._telling.execute(_NOTIFY, (list(channels), list(payloads)))

    async def lost(self) -> None:
        """Listen until the connection is lost; see `bus.Connection.lost`."""
        assert self._listening is not None
        await until_first(self._keep_listening(self._listening), self._probe_often())

    async def _keep_listening(self, session: AsyncConnection[Any]) -> None:
        """Read what comes, and listen to further channels when they are wanted."""
        while True:
            self._changed.clear()
            await self._listen_to(session, self._channels)
            if not self._changed.is_set():
                self._listens.set()
            await until_first(self._read(session), self._changed.wait())

    async def close(self) -> None:
        """Close both sessions."""
        for each in (self._telling, self._listening):
            if each is not None:
                await each.close()

    async def _listen_to(self, session: AsyncConnection[Any], channels: frozenset[str]) -> None:
        # Its own channel as well, on which it hears itself.
        for channel in sorted({*channels, _own_channel(self._own)}):
            await session.execute(f'LISTEN "{channel}"')  # names of ours

    async def _read(self, session: AsyncConnection[Any]) -> None:
        async for notice in session.notifies():
            if notice.payload == self._own:
                self._answered.set()
            elif (topic := self._topics.get((notice.channel, notice.payload))) is not None:
                self._heard(topic)

    async def _probe_often(self) -> None:
        while True:
            await asyncio.sleep(PROBE_S)
            await self._probe()

    async def _probe(self) -> None:
        """Tell itself something, and wait until it is heard.

        Raises:
            ConnectionError: It is not.
        """
        self._answered.clear()
        try:
            await asyncio.wait_for(self._notify([(_own_channel(self._own), self._own)]), _CONNECT_S)
        except TimeoutError:
            raise ConnectionError(f"PostgreSQL does not answer within {_CONNECT_S:g} s") from None
        try:
            await asyncio.wait_for(self._answered.wait(), _ANSWER_S)
        except TimeoutError:
            raise ConnectionError(
                "PostgreSQL accepted LISTEN and delivers no notification: a pooler such as PgBouncer in transaction "
                "mode does that. Give the registry an address without the pooler, or another bus"
            ) from None


def _own_channel(own: str) -> str:
    return f"stategraph_{own.rpartition(' ')[2]}"


def _payload(kind: SignalKind, name: str) -> str:
    return f"{kind} {token(name)}"
