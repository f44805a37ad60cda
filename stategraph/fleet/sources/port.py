"""The interface that the directory needs of a place where endpoints are registered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from stategraph.fleet.endpoint import AgentEndpoint


class Source(Protocol):
    """A place where endpoints are registered."""

    async def read(self) -> Sequence[AgentEndpoint]:
        """Return the endpoints that are there now.

        Raises:
            ConnectionError: The place cannot be reached; the directory goes on with what it knew.
        """

    async def close(self) -> None:
        """Close what was opened."""


@runtime_checkable
class Registrable(Source, Protocol):
    """A source that endpoints can be registered in."""

    async def register(self, endpoint: AgentEndpoint, ttl_s: float | None = None) -> None:
        """Register an endpoint, in place of the one with its key.

        Args:
            endpoint: The endpoint.
            ttl_s: After how many seconds it is gone unless it is registered again; None: it stays.

        Raises:
            ConnectionError: The place cannot be reached.
        """

    async def deregister(self, key: str) -> bool:
        """Remove the endpoint with a key, and return whether it was there."""
