"""Endpoints in a bucket of NATS JetStream: who says now and then that it is there is there.

An entry is gone a fixed time after it was written, so this is for agents that stay in touch (`Directory.present`), not
for a list that somebody keeps by hand. The source needs a server with JetStream.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from stategraph.errors import ConfigurationError
from stategraph.fleet.endpoint import AgentEndpoint
from stategraph.fleet.sources import entries
from stategraph.workers.cluster.session import Session
from stategraph.workers.nats.address import NatsAddress, read_address

if TYPE_CHECKING:
    from nats.js import JetStreamContext
    from nats.js.kv import KeyValue

T = TypeVar("T")

#: After how many seconds an entry is gone.
TTL_S: Final = 15.0

#: Entries that are read at a time.
_AT_A_TIME: Final = 32


class NatsSource:
    """A bucket of endpoints.

    Args:
        address: The server, see `NatsAddress`; its `namespace` names the bucket.
        ttl_s: After how many seconds an entry is gone; the one who makes the bucket decides.
    """

    def __init__(self, address: NatsAddress | str, *, ttl_s: float = TTL_S) -> None:
        self._address = read_address(address) if isinstance(address, str) else address
        self._ttl_s = ttl_s
        self._session: Session | None = None
        self._opening = asyncio.Lock()
        self._bad: set[str | bytes] = set()

    async def read(self) -> Sequence[AgentEndpoint]:
        """Return the endpoints that are in touch.

        Raises:
            NatsUnavailableError: The server cannot be reached.
        """
        from nats.js.errors import KeyNotFoundError, NoKeysError

        async def act(bucket: KeyValue) -> list[bytes]:
            try:
                keys = await bucket.keys()
            except NoKeysError:
                return []
            at_a_time = asyncio.Semaphore(_AT_A_TIME)

            async def one(key: str) -> bytes | None:
                async with at_a_time:
                    try:
                        entry = await bucket.get(key)
                    except KeyNotFoundError:  # gone since
                        return None
                return entry.value

            found = await asyncio.gather(*map(one, sorted(keys)))
            return [each for each in found if each is not None]

        return entries.read(await self._act(act), self._bad)

    async def register(self, endpoint: AgentEndpoint, ttl_s: float | None = None) -> None:
        """Write an endpoint; it is gone after the time of the bucket unless it is written again.

        Raises:
            ConfigurationError: It should stay, or longer than entries do.
            NatsUnavailableError: The server cannot be reached.
        """
        if ttl_s is None or ttl_s > self._ttl_s:
            asked = "for good" if ttl_s is None else f"for {ttl_s:g} s"
            raise ConfigurationError(
                f"'{endpoint.key}' cannot be registered in NATS {asked}: entries are gone after {self._ttl_s:g} s. "
                "Keep it there with 'Directory.present', or register it in a database"
            )
        data = entries.written(endpoint).encode()
        await self._act(lambda bucket: bucket.put(_entry(endpoint.key), data))

    async def deregister(self, key: str) -> bool:
        """Delete an endpoint, and return whether it was there."""
        from nats.js.errors import KeyNotFoundError

        async def act(bucket: KeyValue) -> bool:
            try:
                await bucket.get(_entry(key))
            except KeyNotFoundError:
                return False
            await bucket.delete(_entry(key))
            return True

        return await self._act(act)

    async def close(self) -> None:
        """Close the connection."""
        async with self._opening:
            session, self._session = self._session, None
        if session is not None:
            await session.aclose()

    async def _act(self, act: Callable[[KeyValue], Awaitable[T]]) -> T:
        async with self._opening:
            if self._session is None:
                session = Session(self._address, "stategraph agents")
                await session.open()
                self._session = session
            session = self._session

        async def with_bucket(js: JetStreamContext) -> T:
            return await act(await self._bucket(js))

        return await session.jetstream(with_bucket)

    async def _bucket(self, js: JetStreamContext) -> KeyValue:
        from nats.js.errors import BucketNotFoundError

        name = f"{self._address.namespace}-agents"
        try:
            return await js.key_value(name)
        except BucketNotFoundError:
            found: Any = await js.create_key_value(bucket=name, ttl=self._ttl_s, history=1)
            return found  # type: ignore[no-any-return]


def _entry(key: str) -> str:
    # Addresses have characters that keys of NATS may not have.
    return hashlib.sha256(key.encode()).hexdigest()
