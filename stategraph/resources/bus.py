"""Events of resources: topics in this process, and over NATS in all that share a store.

    agent.reconciled    workflow.deleted    orders.created

Rules
-----
* A topic is words with dots between them. In a pattern `*` stands for one word, and `>` at the end for all that follow.
* An event is JSON, and a hint: it is told at most once, to who listens at the time. The truth is in the store.
* A subscriber that does not keep up loses the oldest events; it is never waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from stategraph.resources.errors import ResourceError
from stategraph.workers.nats.address import read_address
from stategraph.workers.nats.connection import close, connect

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

logger = logging.getLogger("stategraph.resources")

#: Events that wait for one subscriber.
MOST_WAITING: Final = 1_000

_WORD: Final = re.compile(r"[\w-]+", re.ASCII)
_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Event:
    """Something that was told.

    Attributes:
        topic: Its topic.
        data: What it says, as JSON.
    """

    topic: str
    data: Mapping[str, Any]


@dataclass(eq=False, slots=True)
class _Subscriber:
    """One who listens, in an event loop."""

    pattern: tuple[str, ...]
    loop: asyncio.AbstractEventLoop
    waiting: deque[Event] = field(default_factory=lambda: deque(maxlen=MOST_WAITING))
    came: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, event: Event) -> None:
        self.waiting.append(event)
        with contextlib.suppress(RuntimeError):  # its loop has ended
            self.loop.call_soon_threadsafe(self.came.set)


class EventBus:
    """Tells subscribers of events.

    Args:
        url: The address of a NATS server, for events of all processes; None for those of this one.
    """

    def __init__(self, url: str | None = None) -> None:
        self._address = None if url is None else read_address(url)
        self._subscribers: set[_Subscriber] = set()
        self._origin = uuid4().hex
        self._client: Client | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._connected = asyncio.Event()

    async def start(self) -> None:
        """Connect to the server in the background, if there is one; before that, events stay in this process."""
        if self._address is not None and self._connecting is None:
            self._connecting = asyncio.create_task(self._stay_connected())

    async def connected(self) -> None:
        """Wait until events of other processes are heard; at once where there is no server."""
        if self._address is not None:
            await self._connected.wait()

    async def stop(self) -> None:
        """Close the connection."""
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
            self._connecting = None

    async def publish(self, topic: str, data: Mapping[str, Any]) -> None:
        """Tell an event.

        Raises:
            ResourceError: The topic is none.
            TypeError: The data is no JSON.
        """
        check_topic(topic)
        text = json.dumps({"origin": self._origin, "data": data}, ensure_ascii=False)
        self._tell(Event(topic, data))
        if self._client is not None and self._address is not None:
            try:
                await self._client.publish(f"{self._address.namespace}.resources.{topic}", text.encode())
            except Exception as error:  # whatever the client raises: an event is a hint
                logger.debug("The event %s was not told to other processes: %r", topic, error)

    async def subscribe(self, pattern: str = ">") -> AsyncIterator[Event]:
        """Yield the events of the topics that a pattern matches, from the first step of the iterator on.

        Raises:
            ResourceError: The pattern is none.
        """
        with self.listening(pattern) as events:
            async for each in events:
                yield each

    @contextmanager
    def listening(self, pattern: str = ">") -> Iterator[AsyncIterator[Event]]:
        """Listen for a block, from its beginning on; see `subscribe`."""
        subscriber = _Subscriber(check_pattern(pattern), asyncio.get_running_loop())
        self._subscribers.add(subscriber)
        try:
            yield _events(subscriber)
        finally:
            self._subscribers.discard(subscriber)

    def _tell(self, event: Event) -> None:
        words = tuple(event.topic.split("."))
        for each in list(self._subscribers):
            if matches(each.pattern, words):
                each.tell(event)

    # Other processes.

    async def _stay_connected(self) -> None:
        assert self._address is not None
        pause_s, told = _FIRST_PAUSE_S, False
        while True:
            gone = asyncio.Event()

            async def closed(gone: asyncio.Event = gone) -> None:
                gone.set()

            client: Client | None = None
            try:
                client = await connect(self._address, "stategraph resources", closed)
                await client.subscribe(f"{self._address.namespace}.resources.>", cb=self._heard)
                await client.flush()
                self._client, pause_s, told = client, _FIRST_PAUSE_S, False
                self._connected.set()
                await gone.wait()
            except Exception as error:  # whatever the client raises: events stay in this process meanwhile
                if not told:
                    logger.warning("Events of resources stay in this process: %s", error)
                told = True
            finally:
                self._client = None
                self._connected.clear()
                if client is not None:
                    await close(client)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _heard(self, message: Msg) -> None:
        try:
            found = json.loads(message.data)
            topic = message.subject.partition(".resources.")[2]
            if found["origin"] != self._origin:
                self._tell(Event(topic, found["data"]))
        except (ValueError, KeyError, TypeError) as error:
            logger.debug("A message on %s is no event: %r", message.subject, error)


async def _events(subscriber: _Subscriber) -> AsyncIterator[Event]:
    while True:
        while subscriber.waiting:
            yield subscriber.waiting.popleft()
        subscriber.came.clear()
        if not subscriber.waiting:
            await subscriber.came.wait()


def check_topic(topic: str) -> tuple[str, ...]:
    """Return the words of a topic.

    Raises:
        ResourceError: It is none.
    """
    words = tuple(topic.split("."))
    if not all(_WORD.fullmatch(word) for word in words):
        raise ResourceError(f"{topic!r} is no topic: words of letters, digits, '_' and '-' with dots between them")
    return words


def check_pattern(pattern: str) -> tuple[str, ...]:
    """Return the words of a pattern.

    Raises:
        ResourceError: It is none.
    """
    words = tuple(pattern.split("."))
    for number, word in enumerate(words):
        if not (word == "*" or (word == ">" and number == len(words) - 1) or _WORD.fullmatch(word)):
            raise ResourceError(f"{pattern!r} is no pattern of topics: words, '*' for one of them, '>' for the rest")
    return words


def matches(pattern: tuple[str, ...], topic: tuple[str, ...]) -> bool:
    """Return whether a topic is one of a pattern."""
    for number, word in enumerate(pattern):
        if word == ">":
            return len(topic) > number
        if number >= len(topic) or word not in ("*", topic[number]):
            return False
    return len(pattern) == len(topic)
