"""The open conversations of a host: one turn at a time in each, and as many as fit."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator
from typing import Final

from stategraph.fleet.adapters.port import Adapter, Conversation

logger = logging.getLogger("stategraph.fleet.adapters")

#: Conversations that are kept open.
MOST_OPEN: Final = 1_000


class _Open:
    def __init__(self, conversation: Conversation) -> None:
        self.conversation = conversation
        self.turn = asyncio.Lock()
        self.users = 0


class Conversations:
    """Conversations by their ids; the one that was not used for longest is closed when there are too many.

    Args:
        adapter: Opens them.
        most: How many are kept open; those with a turn under way are never closed.
    """

    def __init__(self, adapter: Adapter, most: int = MOST_OPEN) -> None:
        self._adapter = adapter
        self._most = most
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._opening = asyncio.Lock()

    def __len__(self) -> int:
        return len(self._open)

    @contextlib.asynccontextmanager
    async def turn(self, context_id: str) -> AsyncGenerator[Conversation]:
        """Have a conversation for one turn, once the turns before it are over."""
        async with self._opening:
            found = self._open.get(context_id)
            if found is None:
                found = self._open[context_id] = _Open(await self._adapter.open(context_id))
            found.users += 1
        try:
            self._open.move_to_end(context_id)
            async with found.turn:
                yield found.conversation
        finally:
            found.users -= 1
            await self._shrink()

    async def close(self) -> None:
        """Close all."""
        kept, self._open = self._open, OrderedDict()
        for context_id, each in kept.items():
            await self._close(context_id, each)

    async def _shrink(self) -> None:
        for context_id in [each for each, kept in self._open.items() if not kept.users]:
            if len(self._open) <= self._most:
                return
            if (idle := self._open.pop(context_id, None)) is not None:
                await self._close(context_id, idle)

    async def _close(self, context_id: str, kept: _Open) -> None:
        try:
            await kept.conversation.close()
        except Exception:
            logger.exception("The conversation '%s' could not be closed; it is forgotten", context_id)
