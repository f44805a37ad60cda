"""Signals by core NATS: one subject for each topic, in the part of the tenant that it is about.

    NAMESPACE.TENANT.work.QUEUE     one of the workers that wait for the queue hears it
    NAMESPACE.TENANT.stop.OWNER
    NAMESPACE.TENANT.events.RUN

Rules
-----
* Tenants, queues, owners and runs are written by `naming.token`, so that no name reaches into another subject.
* Waiters listen to all tenants: `*` in that part. The server's permissions decide who may signal for which.
* Of those who wait for work one is told, by a queue group: as many signals, as many claims, however large the fleet is.
  One that has enough then tells the next, as signals of one moment are one.
* A connection on which the server refuses a subject is given up, and tried again: it would seem to hear signals.
* A server has taken a subscription when it has answered to the ping after it; what was signalled before is looked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from stategraph.errors import ConfigurationError, MissingPackageError
from stategraph.workers.naming import token
from stategraph.workers.nats.address import NatsAddress, read_address
from stategraph.workers.nats.connection import NatsUnavailableError, close, connect
from stategraph.workers.wakeups.bus import ConnectedBus
from stategraph.workers.wakeups.signals import Signal, SignalKind, Topic

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

#: The queue group of workers.
_GROUP: Final = "workers"


def nats_bus(url: str) -> ConnectedBus:
    """Return a bus on a NATS server; nothing is opened before its first use.

    Raises:
        ConfigurationError: The address is none, or lacks a proof.
        MissingPackageError: `nats-py` is not installed.
    """
    address = read_address(url)
    try:
        import nats  # noqa: F401 (an extra: told now, not by a bus that is never there)
    except ImportError as error:
        raise MissingPackageError("stategraph[nats]", "A bus over NATS") from error
    return ConnectedBus("nats", lambda heard: NatsConnection(address, heard), tells_one=True)


class NatsConnection:
    """A connection to a server.

    Args:
        address: The server.
        heard: Called with each topic.
    """

    def __init__(self, address: NatsAddress, heard: Callable[[Topic], None]) -> None:
        self._address = address
        self._heard = heard
        self._client: Client | None = None
        self._gone = asyncio.Event()
        self._denied: str | None = None
        self._subscriptions: dict[Topic, Subscription] = {}

    async def open(self) -> None:
        """Connect; see `bus.Connection.open`."""
        self._client = await connect(self._address, "stategraph bus", self._closed, self._note_denial)

    async def listen(self, topics: Collection[Topic]) -> None:
        """Hear these topics; see `bus.Connection.listen`."""
        with self._told_if_lost() as client:
            for topic in self._subscriptions.keys() - set(topics):
                await self._subscriptions.pop(topic).unsubscribe()
            for topic in set(topics) - self._subscriptions.keys():
                group = _GROUP if topic[0] is SignalKind.WORK else ""
                self._subscriptions[topic] = await client.subscribe(self._subject("*", topic), group, self._hear(topic))
            await client.flush()

    async def send(self, signals: Sequence[Signal]) -> None:
        """Publish signals; see `bus.Connection.send`."""
        with self._told_if_lost() as client:
            for each in signals:
                await client.publish(self._subject(token(each.tenant), each.topic))

    async def lost(self) -> None:
        """Wait until the connection is lost, or something on it is refused; see `bus.Connection.lost`."""
        await self._gone.wait()
        if self._denied is not None:
            raise ConfigurationError(self._denied)
        raise self._was_lost()

    async def close(self) -> None:
        """Close the connection; what was published goes out before."""
        if self._client is not None and not self._client.is_closed:
            await self._client.flush()
            await close(self._client)

    @contextmanager
    def _told_if_lost(self) -> Iterator[Client]:
        """Return the client; its errors, if the connection was lost meanwhile, say that and where to."""
        client = self._client
        assert client is not None
        try:
            yield client
        except Exception as error:
            if client.is_closed:
                raise self._was_lost() from error
            raise

    def _was_lost(self) -> NatsUnavailableError:
        return NatsUnavailableError(f"The connection to the NATS server at {self._address.where} was lost")

    def _subject(self, tenant: str, topic: Topic) -> str:
        kind, name = topic
        return f"{self._address.namespace}.{tenant}.{kind}.{token(name)}"

    def _hear(self, topic: Topic) -> Callable[[Msg], Awaitable[None]]:
        async def hear(message: Msg) -> None:
            del message
            self._heard(topic)

        return hear

    async def _closed(self) -> None:
        self._gone.set()

    def _note_denial(self, said: str) -> None:
        self._denied = said
        self._gone.set()
