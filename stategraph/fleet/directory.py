"""The directory: the agents that there are, and where each is reached.

Rules
-----
* What is known is a snapshot that is made anew every few seconds. Picking looks at that alone, never at a source.
* A source that cannot be reached keeps what it last said: agents are not lost because a database is away.
* How an endpoint does is kept as long as it is registered, whichever source names it; the first source that does
  decides what it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

from stategraph.errors import ConfigurationError
from stategraph.fleet.endpoint import AgentEndpoint
from stategraph.fleet.errors import NoEndpointError
from stategraph.fleet.picking import Picker, Strategy, picker
from stategraph.fleet.sources.port import Registrable, Source
from stategraph.fleet.standing import BreakerSettings, Standing

logger = logging.getLogger("stategraph.fleet")

#: Interval at which sources are read.
REFRESH_S: Final = 5.0

#: For how long an agent that is present stays after it was last heard of; it is heard of three times as often.
PRESENT_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """Describes the agents that a caller asks for.

    Attributes:
        agent: The name of an agent; None: any.
        capabilities: What it must be able to do, all of it.
    """

    agent: str | None = None
    capabilities: frozenset[str] = frozenset()

    def __str__(self) -> str:
        who = "any agent" if self.agent is None else f"agent '{self.agent}'"
        return who + (f" that can {', '.join(sorted(self.capabilities))}" if self.capabilities else "")


class Directory:
    """The agents of a fleet. Used by one event loop, as `async with Directory(...) as directory`.

    Args:
        sources: Where endpoints are registered.
        refresh_s: Interval at which they are read.
        breaker: When an endpoint is left alone.
        clock: Returns seconds of a clock that only goes forward.
        draw: Returns random numbers from 0 to 1, for strategies that draw.
    """

    def __init__(
        self,
        *sources: Source,
        refresh_s: float = REFRESH_S,
        breaker: BreakerSettings | None = None,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        if not sources:
            raise ConfigurationError("A directory needs a source, such as StaticSource([AgentEndpoint(...)])")
        self.clock = clock
        self._draw = draw
        self._sources = sources
        self._refresh_s = refresh_s
        self._breaker = breaker or BreakerSettings()
        self._said: dict[Source, Sequence[AgentEndpoint]] = {}
        self._reads: dict[Source, tuple[int, int]] = {}
        self._away: set[Source] = set()
        self._learned: dict[str, frozenset[str]] = {}
        self._standings: dict[str, Standing] = {}
        self._pickers: dict[tuple[Wanted, Strategy], Picker] = {}
        self._refreshing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.refresh()
        self._refreshing = asyncio.create_task(self._keep_refreshing(), name="stategraph agents")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.gather(self._refreshing, return_exceptions=True)
            self._refreshing = None
        for source in self._sources:
            await source.close()

    def endpoints(self) -> Sequence[Standing]:
        """Return all endpoints and how they do, in the order of their keys."""
        return [self._standings[key] for key in sorted(self._standings)]

    def agents(self) -> Mapping[str, Sequence[Standing]]:
        """Return the endpoints of each agent."""
        found: dict[str, list[Standing]] = {}
        for each in self.endpoints():
            found.setdefault(each.endpoint.agent, []).append(each)
        return found

    def members(self, wanted: Wanted) -> Sequence[Standing]:
        """Return the endpoints of the agents that are wanted, whether or not they take requests."""
        return [
            each
            for each in self.endpoints()
            if (wanted.agent is None or each.endpoint.agent == wanted.agent)
            and wanted.capabilities <= each.endpoint.capabilities
        ]

    def pick(
        self,
        wanted: Wanted,
        strategy: Strategy,
        *,
        tried: Collection[Standing] = frozenset(),
        key: str = "",
        refused: Mapping[Standing, Exception] | None = None,
    ) -> Standing:
        """Pick an endpoint for a request.

        Args:
            wanted: What the caller asks for.
            strategy: How one of several is picked, see `picking`.
            tried: Endpoints that are passed over.
            key: What sticks to an endpoint, for the strategy `sticky`.
            refused: Those of `tried` that may not be sent the request, and why, for the error.

        Raises:
            NoEndpointError: There is none that takes requests.
        """
        known = self._pickers.get((wanted, strategy))
        if known is None:
            known = self._pickers[wanted, strategy] = picker(strategy, self.members(wanted), self._draw)
        found = known.pick(self.clock(), tried, key)
        if found is None:
            raise NoEndpointError(self._why_none(wanted, tried, refused or {}))
        return found

    async def register(self, endpoint: AgentEndpoint, ttl_s: float | None = None) -> None:
        """Register an endpoint in the first source that takes it, and know it at once.

        Raises:
            ConfigurationError: No source takes registrations, or not such a one.
            ConnectionError: The source cannot be reached.
        """
        source = self._registrable()
        await source.register(endpoint, ttl_s)
        await self._read(source)
        self._rebuild()

    async def deregister(self, key: str) -> bool:
        """Remove an endpoint from the first source that takes registrations, and return whether it was there."""
        source = self._registrable()
        was_there = await source.deregister(key)
        await self._read(source)
        self._rebuild()
        return was_there

    @contextlib.asynccontextmanager
    async def present(self, endpoint: AgentEndpoint, ttl_s: float = PRESENT_S) -> AsyncGenerator[None]:
        """Keep an endpoint registered as long as the block runs; it is gone soon after the process is.

        Args:
            endpoint: The endpoint.
            ttl_s: After how many seconds it is gone unless it is heard of; it is heard of three times as often.

        Raises:
            ConfigurationError: No source takes registrations.
            ConnectionError: The source cannot be reached at the beginning; later that is logged, and tried again.
        """
        await self.register(endpoint, ttl_s)

        async def stay() -> None:
            while True:
                await asyncio.sleep(ttl_s / 3)
                try:
                    await self._registrable().register(endpoint, ttl_s)
                except ConnectionError as error:
                    logger.warning("The endpoint '%s' could not be kept registered: %s", endpoint.key, error)
                except Exception:
                    logger.exception("The endpoint '%s' could not be kept registered", endpoint.key)

        staying = asyncio.create_task(stay(), name=f"stategraph agent {endpoint.agent}")
        try:
            yield
        finally:
            staying.cancel()
            await asyncio.gather(staying, return_exceptions=True)
            with contextlib.suppress(ConnectionError):
                await self.deregister(endpoint.key)

    async def refresh(self) -> None:
        """Read all sources now."""
        failed: Exception | None = None
        for source in self._sources:
            try:
                await self._read(source)
            except Exception as error:  # the other sources are read all the same
                failed = failed or error
        self._rebuild()
        if failed is not None:
            raise failed

    def learn(self, key: str, capabilities: Iterable[str]) -> None:
        """Note what the card of an endpoint says that it can do."""
        found = frozenset(capabilities)
        if key in self._standings and self._learned.get(key) != found:
            self._learned[key] = found
            self._rebuild()

    async def _keep_refreshing(self) -> None:
        while True:
            await asyncio.sleep(self._refresh_s)
            try:
                await self.refresh()
            except Exception:  # of whatever source: agents are read again
                logger.exception("Agents were not read; they are read again")

    async def _read(self, source: Source) -> None:
        begun, newest = self._reads.get(source, (0, 0))
        number = begun + 1
        self._reads[source] = number, newest
        try:
            said = await source.read()
            begun, newest = self._reads[source]
            if number > newest:  # else one that began later, such as after a registration, was quicker
                self._reads[source] = begun, number
                self._said[source] = said
        except (ConnectionError, OSError) as error:
            if source not in self._away:  # once, not every few seconds
                self._away.add(source)
                logger.warning("Agents cannot be read; what was known of them stays: %s", error)
        except ConfigurationError as error:
            if source not in self._away:
                self._away.add(source)
                logger.warning("What is registered cannot be read; what was known stays: %s", error)
        else:
            self._away.discard(source)

    def _rebuild(self) -> None:
        found: dict[str, AgentEndpoint] = {}
        for source in self._sources:
            for endpoint in self._said.get(source, ()):
                found.setdefault(endpoint.key, endpoint)
        self._learned = {key: each for key, each in self._learned.items() if key in found}
        has_changed = found.keys() != self._standings.keys()
        standings = {}
        for key, endpoint in found.items():
            if learned := self._learned.get(key):
                endpoint = replace(endpoint, capabilities=endpoint.capabilities | learned)
            standing = self._standings.get(key) or Standing(endpoint, self._breaker)
            has_changed |= standing.endpoint != endpoint
            standing.endpoint = endpoint
            standings[key] = standing
        self._standings = standings
        if has_changed:
            self._pickers.clear()

    def _registrable(self) -> Registrable:
        for source in self._sources:
            if isinstance(source, Registrable):
                return source
        raise ConfigurationError("None of the directory's sources takes registrations")

    def _why_none(self, wanted: Wanted, tried: Collection[Standing], refused: Mapping[Standing, Exception]) -> str:
        members = self.members(wanted)
        if not members:
            known = ", ".join(sorted(self.agents())) or "none"
            return f"There is no endpoint of {wanted}. Agents that are registered: {known}"
        return f"No endpoint of {wanted} takes requests now: " + "; ".join(
            f"{each.endpoint.url} {self._why_not(each, tried, refused)}" for each in members
        )

    def _why_not(self, standing: Standing, tried: Collection[Standing], refused: Mapping[Standing, Exception]) -> str:
        now = self.clock()
        if standing in refused:
            return f"is passed over: {refused[standing]}"
        if standing in tried:
            return "was tried"
        if not standing.endpoint.weight:
            return "is drained"
        if not standing.healthy:
            return "is unhealthy"
        if (left := standing.open_until - now) > 0:
            return f"failed too often, and is tried again in {left:.1f} s"
        return "failed too often, and is being tried"
