"""Server-sent events: frames, comments while nothing happens, and the end of a reader.

Format: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Final

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

#: Seconds after which a comment is sent if there was no event, so that proxies keep the connection.
HEARTBEAT_S: Final = 5.0

_HEADERS: Final = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}


def frame(data: str, *, event: str = "", event_id: str = "") -> str:
    """Return an event of a stream; the data is one line."""
    named = f"event: {event}\n" if event else ""
    placed = f"id: {event_id}\n" if event_id else ""
    return f"{placed}{named}data: {data}\n\n"


class EventStream(StreamingResponse):
    """A response of server-sent events.

    Args:
        frames: Yields frames; it is closed when the reader leaves.
        headers: More headers.
        left: Awaited if the reader leaves before the end.
        heartbeat_s: Seconds between comments while there is no event.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        frames: AsyncGenerator[str, None],
        *,
        headers: Mapping[str, str] | None = None,
        left: Callable[[], Awaitable[None]] | None = None,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        self._frames = with_heartbeat(frames, heartbeat_s)
        self._has_ended = False
        self._left = left
        super().__init__(self._all(), headers={**_HEADERS, **(headers or {})})

    async def _all(self) -> AsyncGenerator[str, None]:
        async with aclosing(self._frames) as frames:
            async for each in frames:
                yield each
        self._has_ended = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._frames.aclose()
            if self._left is not None and not self._has_ended:
                await self._left()


async def with_heartbeat(frames: AsyncGenerator[str, None], every_s: float) -> AsyncGenerator[str, None]:
    """Yield frames as they come, and a comment whenever none has come for a while."""
    async with aclosing(frames):
        coming = asyncio.ensure_future(anext(frames))
        try:
            while True:
                done, _ = await asyncio.wait({coming}, timeout=every_s)
                if not done:
                    yield ": still here\n\n"
                    continue
                try:
                    found = coming.result()
                except StopAsyncIteration:
                    return
                yield found
                coming = asyncio.ensure_future(anext(frames))
        finally:
            if not coming.done():
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)
