"""A connection to NATS that is made again when it is lost, with its subscriptions."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeVar

from stategraph.workers.nats.address import NatsAddress
from stategraph.workers.nats.connection import NatsUnavailableError, close, connect

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.js import JetStreamContext

logger = logging.getLogger("stategraph.workers")

T = TypeVar("T")

#: Pauses between tries to connect again, each of them shortened at random by up to a half.
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 5.0

#: Time that an answer of the server may take.
ANSWER_S: Final = 5.0


class Session:
    """A connection of this process. Belongs to one event loop.

    Args:
        address: The server.
        name: The name of the connection, which the server shows.

    Attributes:
        when_up: Called when the connection has been made again.
        when_wrong: Called with a sentence when something is refused, or the connection is lost or cannot be made again.
    """

    def __init__(self, address: NatsAddress, name: str) -> None:
        self.address = address
        self.when_up: list[Callable[[], object]] = []
        self.when_wrong: list[Callable[[str], object]] = []
        self._name = name
        self._client: Client | None = None
        self._jetstream: JetStreamContext | None = None
        self._subscribed: dict[str, Callable[[Msg], Awaitable[None]]] = {}
        self._gone = asyncio.Event()
        self._up = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None
        self._is_closing = False

    async def open(self) -> None:
        """Connect, and stay connected from then on.

        Raises:
            ConfigurationError: The server refuses this process.
            NatsUnavailableError: The server cannot be reached.
        """
        await self._connect()
        self._keeping = asyncio.ensure_future(self._keep())

    @property
    def is_up(self) -> bool:
        """True if there is a connection now."""
        return self._up.is_set()

    @property
    def max_payload(self) -> int:
        """The largest message that the server takes, in bytes."""
        return self._opened.max_payload

    async def wait_until_up(self, timeout_s: float | None = None) -> None:
        """Wait for a connection.

        Raises:
            NatsUnavailableError: There was none in time.
        """
        try:
            await asyncio.wait_for(self._up.wait(), timeout_s)
        except TimeoutError:
            where = self.address.where
            raise NatsUnavailableError(f"The NATS server at {where} has been away for {timeout_s:g} s") from None

    async def subscribe(self, subject: str, heard: Callable[[Msg], object]) -> None:
        """Have a function called with each message on a subject."""

        async def hear(message: Msg) -> None:
            heard(message)

        self._subscribed[subject] = hear
        await self.act(lambda client: client.subscribe(subject, cb=hear))

    async def publish(self, subject: str, data: bytes, reply: str = "") -> None:
        """Publish a message; without a connection it is dropped."""
        with contextlib.suppress(NatsUnavailableError):
            await self.act(lambda client: client.publish(subject, data, reply))

    async def request(self, subject: str, data: bytes, timeout_s: float = ANSWER_S) -> bytes:
        """Ask something, and return the answer.

        Raises:
            NatsUnavailableError: Nobody listens, or there was no answer in time.
        """
        return (await self.act(lambda client: client.request(subject, data, timeout=timeout_s))).data

    async def act(self, act: Callable[[Client], Awaitable[T]]) -> T:
        """Do something with the connection.

        Raises:
            NatsUnavailableError: There is no connection, or no answer.
        """
        from nats.errors import Error as ClientError
        from nats.js.errors import Error as JetStreamError

        if not self.is_up:
            raise NatsUnavailableError(f"The NATS server at {self.address.where} is away")
        try:
            return await act(self._opened)
        except JetStreamError:
            raise  # an answer
        except (ClientError, OSError) as error:  # no answer, nobody who could give one, or no connection any more
            what = type(error).__name__.removesuffix("Error")
            raise NatsUnavailableError(f"The NATS server at {self.address.where} did not answer ({what})") from error

    async def jetstream(self, act: Callable[[JetStreamContext], Awaitable[T]]) -> T:
        """Do something with JetStream.

        Raises:
            NatsUnavailableError: There is no connection, or no answer.
        """

        def with_context(client: Client) -> Awaitable[T]:
            if self._jetstream is None:
                self._jetstream = client.jetstream(timeout=ANSWER_S)
            return act(self._jetstream)

        return await self.act(with_context)

    async def aclose(self) -> None:
        """Close the connection; what was published goes out before."""
        self._is_closing = True
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        self._up.clear()
        if self._client is not None:
            with contextlib.suppress(Exception):  # it is left in any case
                if not self._client.is_closed:
                    await asyncio.wait_for(self._client.flush(), 1.0)
            await close(self._client)

    @property
    def _opened(self) -> Client:
        assert self._client is not None
        return self._client

    async def _connect(self) -> None:
        gone = self._gone = asyncio.Event()

        async def closed() -> None:
            gone.set()
            if gone is self._gone:
                self._up.clear()

        client = await connect(self.address, self._name, closed, self._tell)
        try:
            for subject, hear in self._subscribed.items():
                await client.subscribe(subject, cb=hear)
            await client.flush()
            if gone.is_set():
                raise NatsUnavailableError(f"The NATS server at {self.address.where} ended the connection at once")
        except BaseException:
            await close(client)
            raise
        self._client, self._jetstream = client, None
        self._up.set()

    async def _keep(self) -> None:
        # A cancellation may get lost in what the client awaits (https://github.com/python/cpython/issues/86296).
        while not self._is_closing:
            await self._gone.wait()
            said = f"The connection to the NATS server at {self.address.where} was lost"
            logger.warning("%s", said)
            self._tell(said)
            pause_s = FIRST_PAUSE_S
            while not (self.is_up or self._is_closing):
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                try:
                    await self._connect()
                except Exception as error:  # of the client too: tried again, whatever it was
                    if (now := str(error)) != said:  # each reason once, not with every try
                        logger.warning("%s", now)
                    said = now
                    self._tell(said)
            for call in self.when_up if self.is_up else ():
                call()

    def _tell(self, problem: str) -> None:
        for call in self.when_wrong:
            call(problem)
