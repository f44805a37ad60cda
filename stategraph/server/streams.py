"""Event streams that are open when the server ends: their readers are told to come back, and find another server.

A stream that is ended this way has not lost its reader: nothing is stopped because of it.
"""

from __future__ import annotations

from typing import Final

import anyio
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Tells a reader after how many milliseconds to connect again (https://html.spec.whatwg.org/#server-sent-events).
_COME_BACK: Final = b"retry: 1000\n\n"


class OpenStreams:
    """The event streams that are open."""

    def __init__(self) -> None:
        self._open: set[anyio.CancelScope] = set()

    def add(self, scope: anyio.CancelScope) -> None:
        """Note that one was opened."""
        self._open.add(scope)

    def discard(self, scope: anyio.CancelScope) -> None:
        """Note that one has ended."""
        self._open.discard(scope)

    def end(self) -> int:
        """End all, and return how many there were."""
        ending = list(self._open)
        for each in ending:
            each.cancel()
        return len(ending)


class Endings:
    """Middleware that ends event streams when it is told to.

    Args:
        app: The application.
        streams: Are told of each that is opened.
    """

    def __init__(self, app: ASGIApp, streams: OpenStreams) -> None:
        self._app = app
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_open = False

        async def noting(message: Message) -> None:
            nonlocal is_open
            if message["type"] == "http.response.start":
                kind = Headers(raw=message["headers"]).get("content-type", "")
                if is_open := kind.startswith("text/event-stream"):
                    self._streams.add(handling)
            elif is_open and not message.get("more_body", False):
                is_open = False
            await send(message)

        with anyio.CancelScope() as handling:
            try:
                await self._app(scope, receive, noting)
            finally:
                self._streams.discard(handling)
        if handling.cancel_called and is_open:
            await send({"type": "http.response.body", "body": _COME_BACK, "more_body": False})
