"""Checks that endpoints are there: each one's card is asked for now and then, and what it can do is read from it."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Final, Self

from stategraph.fleet.cards import CardCache
from stategraph.fleet.directory import Directory
from stategraph.fleet.errors import EndpointError
from stategraph.fleet.standing import Standing

logger = logging.getLogger("stategraph.fleet")

#: Interval between two checks of an endpoint.
CHECK_S: Final = 30.0

#: Checks in a row that fail until an endpoint counts as unhealthy.
MOST_MISSES: Final = 2

#: Endpoints that are checked at a time.
_AT_A_TIME: Final = 16


class HealthChecks:
    """Checks all endpoints of a directory as long as the block runs: `async with HealthChecks(directory, cards):`.

    Args:
        directory: Has the endpoints.
        cards: Asks for their cards.
        every_s: Interval between two checks of an endpoint, give or take a tenth, so that those of several processes
            do not come at once.
    """

    def __init__(self, directory: Directory, cards: CardCache, *, every_s: float = CHECK_S) -> None:
        self._directory = directory
        self._cards = cards
        self._every_s = every_s
        self._misses: dict[Standing, int] = {}
        self._checking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._checking = asyncio.create_task(self._keep_checking(), name="stategraph health checks")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._checking is not None:
            self._checking.cancel()
            await asyncio.gather(self._checking, return_exceptions=True)
            self._checking = None

    async def check(self) -> None:
        """Check all endpoints now."""
        at_a_time = asyncio.Semaphore(_AT_A_TIME)
        endpoints = self._directory.endpoints()
        self._misses = {each: self._misses.get(each, 0) for each in endpoints}

        async def one(standing: Standing) -> None:
            async with at_a_time:
                await self._check(standing)

        await asyncio.gather(*map(one, endpoints))

    async def _check(self, standing: Standing) -> None:
        endpoint = standing.endpoint
        try:
            card = await self._cards.get(endpoint.card_url, fresh=True)
        except Exception as error:  # whatever a card has done: the checks of the others go on
            if not isinstance(error, EndpointError):
                logger.exception("The card of '%s' could not be read", endpoint.key)
            self._misses[standing] = misses = self._misses.get(standing, 0) + 1
            if misses >= MOST_MISSES and standing.healthy:
                standing.healthy = False
                logger.warning("'%s' is unhealthy: %s", endpoint.key, error)
            return
        self._misses[standing] = 0
        if not standing.healthy:
            standing.healthy = True
            logger.info("'%s' is healthy again", endpoint.key)
        skills = ({skill.id, *skill.tags} for skill in card.skills)
        self._directory.learn(endpoint.key, (name for names in skills for name in names if name))

    async def _keep_checking(self) -> None:
        while True:
            try:
                await self.check()
            except Exception:
                logger.exception("Endpoints were not checked; they are checked again")
            await asyncio.sleep(self._every_s * random.uniform(0.9, 1.1))
