"""Limits of requests: sizes, how many of each caller, how many streams at once.

Rules
-----
* Sizes hold for everybody, and before a request is authenticated.
* What is left of a body that is too large is read before the connection is closed, within bounds: a connection that is
  closed with bytes of the client unread is reset, and the client may never see why it was refused.
* Rates and streams are counted for each identity. Where the server knows no users they are not: it is reached by this
  machine alone, or by a backend that has the token and users of its own.
* A bucket holds the requests of a minute; what is taken from it comes back evenly.
* What is counted here is this process's: with several replicas each has its own count.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import anyio
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.status import WS_1008_POLICY_VIOLATION
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stategraph.server.access.door import KEY
from stategraph.server.errors import refusal, retry_after
from stategraph.server.service.values import Caller

#: Identities whose requests are counted; the one that was silent for longest is forgotten.
_COUNTED: Final = 100_000

_EVENT_STREAM: Final = "text/event-stream"

#: How much of a body that is refused is read, as a multiple of the largest, and for how many seconds.
_LEFT_READ: Final = 10
_LEFT_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of a server.

    Attributes:
        body_bytes: Bytes of the body of a request.
        header_bytes: Bytes of the headers of a request, names and values.
        streams: Event streams that a caller has open at once.
        requests_per_minute: Requests of a caller in a minute; 0: any number.
        queue: Runs that wait; further ones are refused with 429.
        idle_s: Seconds after which a connection that nobody uses is closed.
    """

    body_bytes: int = 10 * 1024 * 1024
    header_bytes: int = 32 * 1024
    streams: int = 100
    requests_per_minute: int = 600
    queue: int = 10_000
    idle_s: int = 60


class Sizes:
    """Middleware that refuses requests whose headers or body are too large.

    Args:
        app: The application.
        limits: The limits.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if sum(len(name) + len(value) for name, value in scope["headers"]) > self._limits.header_bytes:
            most = f"{self._limits.header_bytes // 1024} KiB"
            await refusal(scope, 431, f"The headers of the request are larger than {most}")(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "")
        if not length.isdecimal():
            await self._counted(scope, receive, send)
        elif int(length[:20]) > self._limits.body_bytes:
            await self._refused(scope, receive, send)
        else:  # the server holds the body to what its header says
            await self._app(scope, receive, send)

    async def _counted(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request of unknown size; one that turns out to be too large is cancelled, and refused if it can."""
        read, began = 0, False

        async def counting() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._limits.body_bytes:
                handling.cancel()
                await anyio.sleep_forever()
            return message

        async def noting(message: Message) -> None:
            nonlocal began
            began = True
            await send(message)

        with anyio.CancelScope() as handling:
            await self._app(scope, counting, noting)
        if handling.cancel_called and not began:
            await self._refused(scope, receive, send)

    async def _refused(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the refusal of a body, and end it once the client has sent the rest, or enough of it."""

        async def held(message: Message) -> None:
            await send({**message, "more_body": True} if message["type"] == "http.response.body" else message)

        await self._too_large(scope)(scope, receive, held)
        left = self._limits.body_bytes * _LEFT_READ
        with anyio.move_on_after(_LEFT_S):
            while left > 0:
                message = await receive()
                if not message.get("more_body"):  # the end of the body, or the client has left
                    break
                left -= len(message.get("body", b""))
        await send({"type": "http.response.body", "body": b""})

    def _too_large(self, scope: Scope) -> Response:
        most = self._limits.body_bytes / 1024**2
        return refusal(scope, 413, f"The body of the request is larger than {most:g} MiB", {"Connection": "close"})


class Rates:
    """Middleware that counts requests and streams of callers; it stands behind the door.

    Args:
        app: The application.
        limits: The limits.
        clock: Returns a time in seconds that goes on evenly.
    """

    def __init__(self, app: ASGIApp, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._limits = limits
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._streams: dict[str, int] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, or refuse it."""
        caller = scope.get(KEY)
        identity = caller.identity if isinstance(caller, Caller) else ""
        if scope["type"] not in ("http", "websocket") or not identity:
            await self._app(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await self._connected(identity, scope, receive, send)
            return
        if (wait_s := self._take(identity)) > 0:
            sentence = f"More than {self._limits.requests_per_minute} requests in a minute"
            await refusal(scope, 429, sentence, retry_after(wait_s))(scope, receive, send)
            return
        await self._streaming(identity, scope, receive, send)

    def _take(self, identity: str) -> float:
        """Take a request from a caller's bucket; return the seconds to wait if it is empty, else 0."""
        most = self._limits.requests_per_minute
        if not most:
            return 0.0
        now, per_s = self._clock(), most / 60
        left, at = self._buckets.pop(identity, (float(most), now))
        left = min(most, left + (now - at) * per_s)
        wait_s = 0.0 if left >= 1 else (1 - left) / per_s
        self._buckets[identity] = (left if wait_s else left - 1, now)
        if len(self._buckets) > _COUNTED:
            self._buckets.popitem(last=False)
        return wait_s

    async def _connected(self, identity: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a WebSocket: it is one of the caller's streams, and each of its messages is a request."""
        if self._take(identity) or self._streams.get(identity, 0) >= self._limits.streams:
            await send({"type": "websocket.close", "code": WS_1008_POLICY_VIOLATION})
            return

        async def counting() -> Message:
            message = await receive()
            if message["type"] == "websocket.receive" and self._take(identity):
                sentence = f"More than {self._limits.requests_per_minute} requests in a minute"
                await send({"type": "websocket.close", "code": WS_1008_POLICY_VIOLATION, "reason": sentence})
                return {"type": "websocket.disconnect", "code": WS_1008_POLICY_VIOLATION}
            return message

        self._begin(identity)
        try:
            await self._app(scope, counting, send)
        finally:
            self._end(identity)

    def _begin(self, identity: str) -> None:
        self._streams[identity] = self._streams.get(identity, 0) + 1

    def _end(self, identity: str) -> None:
        self._streams[identity] -= 1
        if not self._streams[identity]:
            del self._streams[identity]

    async def _streaming(self, identity: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request whose answer, if it is an event stream, is one of the caller's."""
        counted = False

        async def counting(message: Message) -> None:
            nonlocal counted
            if message["type"] == "http.response.start":
                kind = Headers(raw=message["headers"]).get("content-type", "")
                if kind.startswith(_EVENT_STREAM):
                    if self._streams.get(identity, 0) >= self._limits.streams:
                        handling.cancel()
                        await anyio.sleep_forever()
                    counted = True
                    self._begin(identity)
            await send(message)

        try:
            with anyio.CancelScope() as handling:
                await self._app(scope, receive, counting)
        finally:
            if counted:
                self._end(identity)
        if handling.cancel_called:
            sentence = f"More than {self._limits.streams} event streams at once"
            await refusal(scope, 429, sentence, retry_after(5.0))(scope, receive, send)
