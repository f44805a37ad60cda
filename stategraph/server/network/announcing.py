"""A server in the directory of a fleet: its agents are registered as long as it takes requests.

Rules
-----
* An agent is registered again three times within the time after which it would be gone, so that a server that is killed
  or cut off is gone soon after.
* A directory that is away keeps no server from serving: it is tried again.
* A server that drains is withdrawn first, so that requests go to others before this one refuses them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress

from stategraph.errors import ConfigurationError
from stategraph.fleet.directory import PRESENT_S
from stategraph.fleet.endpoint import AgentEndpoint
from stategraph.fleet.sources.port import Registrable
from stategraph.server.settings import Announcement

logger = logging.getLogger("stategraph.server")

#: Seconds until a directory that is away is tried again, and that it has to take a withdrawal.
RETRY_S = 1.0
WITHDRAW_S = 2.0


class Announcer:
    """Keeps the agents of a server registered, and withdraws them.

    Args:
        source: The directory.
        announcement: Where others reach the server.
        agents: Returns the agents that it has now.
        ttl_s: After how many seconds an agent is gone that is not registered again.
    """

    def __init__(
        self,
        source: Registrable,
        announcement: Announcement,
        agents: Callable[[], Iterable[str]],
        *,
        ttl_s: float = PRESENT_S,
    ) -> None:
        self._source = source
        self._announcement = announcement
        self._agents = agents
        self._ttl_s = ttl_s
        self._task: asyncio.Task[None] | None = None
        self._registered: dict[str, AgentEndpoint] = {}
        self._is_away = False

    def begin(self) -> None:
        """Begin to register what there is."""
        self._task = asyncio.create_task(self._stay(), name="stategraph announcing")

    async def withdraw(self) -> None:
        """Register nothing more, and remove what is registered. Doing so again does nothing."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        registered, self._registered = self._registered, {}
        with suppress(ConnectionError, TimeoutError):  # it is gone soon without
            async with asyncio.timeout(WITHDRAW_S):
                for key in registered:
                    await self._source.deregister(key)

    async def aclose(self) -> None:
        """Withdraw, and close the directory."""
        await self.withdraw()
        with suppress(ConnectionError):
            await self._source.close()

    async def _stay(self) -> None:
        while True:
            is_registered = await self._register()
            await asyncio.sleep(self._ttl_s / 3 if is_registered else RETRY_S)

    async def _register(self) -> bool:
        """Register each agent, and return whether the directory took them."""
        wanted = {each.key: each for each in map(self._endpoint, self._agents())}
        try:
            for key in self._registered.keys() - wanted.keys():
                await self._source.deregister(key)
                del self._registered[key]
            for key, endpoint in wanted.items():
                self._registered[key] = endpoint
                await self._source.register(endpoint, self._ttl_s)
        except (ConnectionError, ConfigurationError) as error:
            if not self._is_away:  # once, not every second
                self._is_away = True
                logger.warning("The agents of this server could not be registered, which is tried again: %s", error)
            return False
        if self._is_away:
            self._is_away = False
            logger.warning("The agents of this server are registered again")
        return True

    def _endpoint(self, agent: str) -> AgentEndpoint:
        said = self._announcement
        return AgentEndpoint(agent=agent, url=f"{said.url.rstrip('/')}/a2a/{agent}", weight=said.weight)


def directory_at(store: str | None, nats: str) -> Registrable:
    """Return the directory that a server is announced in: a bucket of its NATS server, else a table of its database.

    Raises:
        ConfigurationError: There is neither.
    """
    if nats:
        from stategraph.fleet.sources.nats import NatsSource  # an extra

        return NatsSource(nats)
    if store is None:
        raise ConfigurationError(
            "The server is to be announced, and has no directory for that: give it the address of a NATS server "
            "(--nats) or of a database that others share (--store)"
        )
    from stategraph.fleet.sources.database import DatabaseSource

    return DatabaseSource.from_url(store)
