"""Refreshing tokens: one at a time for what is stored in one place, and never cut short.

Many authorization servers take a refresh token only once, and some revoke the whole grant if it comes a second time:

- Sessions of this process that share a storage take turns, also those of other event loops, and then those of other
  processes, if the storage has a lock for that. Whoever comes later finds the new token in the storage.
- A refresh runs in a task of its own. A request that is given up meanwhile does not end it, or else the new refresh
  token would be lost with the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from threading import Lock
from typing import Final

import anyio

from stategraph.agent.mcp.oauth import TokenStorage, users

CLOSING_S: Final = 10.0
"""Seconds that closing waits for a refresh."""

_guard: Final = Lock()
_held: Final[dict[tuple[object, ...], Future[None]]] = {}
"""The turns that are taken, by the storage's identity and the server; who has one keeps the storage alive."""


@asynccontextmanager
async def turn(storage: TokenStorage, server: str) -> AsyncIterator[None]:
    """Wait until nobody else refreshes what a storage has for a server, and keep others from it.

    Args:
        storage: The host's storage.
        server: The server's address.
    """
    place, mine = (*users.identity_of(storage), server), Future[None]()
    mine.set_running_or_notify_cancel()  # who stops waiting for it must not cancel it
    while True:
        with _guard:
            if (other := _held.setdefault(place, mine)) is mine:
                break
        await asyncio.wrap_future(other)
    try:
        async with users.lock_of(storage, server):
            yield
    finally:
        with _guard:
            del _held[place]
        mine.set_result(None)


class Renewals:
    """The refreshes of one session.

    Args:
        storage: The host's storage.
        server: The server's address.
    """

    def __init__(self, storage: TokenStorage, server: str) -> None:
        self._storage = storage
        self._server = server
        self._tasks: set[asyncio.Task[bool]] = set()

    async def make(self, renew: Callable[[], Awaitable[bool]]) -> bool:
        """Run a refresh in its turn, and return its result; it goes on if the caller is cancelled.

        Args:
            renew: Takes a token from the storage or refreshes it; returns whether there is one.
        """
        task = asyncio.get_running_loop().create_task(self._in_turn(renew), name=f"token of MCP server {self._server}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    async def _in_turn(self, renew: Callable[[], Awaitable[bool]]) -> bool:
        async with turn(self._storage, self._server):
            return await renew()

    def _ended(self, task: asyncio.Task[bool]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # raised to the caller, if there is one

    async def aclose(self) -> None:
        """Wait for refreshes that run, even when cancelled; those that take longer than `CLOSING_S` are cancelled."""
        if not self._tasks:
            return
        with anyio.CancelScope(shield=True):
            await asyncio.wait(self._tasks, timeout=CLOSING_S)
            for task in (left := list(self._tasks)):
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
