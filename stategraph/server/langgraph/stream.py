"""Streams of server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html).

Rules
-----
* The reader is told something every few seconds, a comment if nothing happens: proxies keep such connections.
* A reader that leaves is noticed, also while nothing happens. It stops a run that was asked for that way.
* What is sent is stored: a reader may go on from any process with the id of the last frame that it got.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Final

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

#: Seconds without a frame after which a comment is sent.
HEARTBEAT_S: Final = 5.0

_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_COMMENT: Final = b": heartbeat\n\n"


class FrameStream(Response):
    """A response whose body comes bit by bit, with something to keep the connection alive in between.

    Args:
        parts: The body.
        left: Awaited if the reader leaves before the end.
        media_type: Its type.
        alive: What is sent if nothing else is.
        headers: Further headers.
    """

    def __init__(
        self,
        parts: AsyncGenerator[bytes, None],
        left: Callable[[], Awaitable[object]] | None = None,
        *,
        media_type: str = "text/event-stream",
        alive: bytes = _COMMENT,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(None, 200, {**_HEADERS, **(headers or {})}, media_type)
        del self.headers["content-length"]
        self._parts = parts
        self._left = left
        self._alive = alive

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        listening = asyncio.ensure_future(_gone(receive))
        try:
            over = await self._send(send, listening)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            with contextlib.suppress(RuntimeError):  # it runs, and ends with this task
                await self._parts.aclose()
        if not over and self._left is not None:
            await self._left()

    async def _send(self, send: Send, listening: asyncio.Future[None]) -> bool:
        """Send the parts; return whether the reader was there to the end."""
        coming: asyncio.Future[bytes] | None = None
        try:
            while True:
                coming = coming or asyncio.ensure_future(anext(self._parts, b""))
                waits: set[asyncio.Future[Any]] = {coming, listening}
                await asyncio.wait(waits, timeout=HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED)
                if listening.done():
                    return False
                if not coming.done():
                    await send(_part(self._alive))
                    continue
                part, coming = coming.result(), None
                await send(_part(part, more=bool(part)))
                if not part:
                    return True
        finally:
            if coming is not None:
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    """Return when the reader has left."""
    message: Any = {}
    while message.get("type") != "http.disconnect":
        message = await receive()


def _part(body: bytes, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}
