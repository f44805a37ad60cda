"""Endpoints in a list of this process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from stategraph.fleet.endpoint import AgentEndpoint


class StaticSource:
    """A list of endpoints, for one process.

    Args:
        endpoints: What is there at the beginning.
        clock: Returns seconds of a clock that only goes forward.
    """

    def __init__(self, endpoints: Iterable[AgentEndpoint] = (), *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[str, tuple[AgentEndpoint, float | None]] = {each.key: (each, None) for each in endpoints}

    async def read(self) -> Sequence[AgentEndpoint]:
        """Return the endpoints whose time is not over."""
        now = self._clock()
        self._kept = {key: kept for key, kept in self._kept.items() if kept[1] is None or kept[1] > now}
        return [each for each, _ in self._kept.values()]

    async def register(self, endpoint: AgentEndpoint, ttl_s: float | None = None) -> None:
        """Register an endpoint, see `Registrable`."""
        self._kept[endpoint.key] = endpoint, None if ttl_s is None else self._clock() + ttl_s

    async def deregister(self, key: str) -> bool:
        """Remove an endpoint, and return whether it was there."""
        return self._kept.pop(key, None) is not None

    async def close(self) -> None:
        """Do nothing: nothing was opened."""
