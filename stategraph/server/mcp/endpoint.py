"""The endpoint over the package's streamable HTTP transport."""

from __future__ import annotations

import asyncio
import json
from typing import Final

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.requests import HTTPConnection
from starlette.types import Message, Receive, Scope, Send

from stategraph.server.access import caller_of
from stategraph.server.mcp.resuming import Messages
from stategraph.server.mcp.server import make_server
from stategraph.server.mcp.settings import McpSettings
from stategraph.server.service.port import Caller, Service

_LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")


class Endpoint:
    """Answers requests, as an ASGI application.

    Args:
        service: What is served.
        settings: Of the protocol.
    """

    def __init__(self, service: Service, settings: McpSettings) -> None:
        self._manager = StreamableHTTPSessionManager(
            make_server(service, settings),
            event_store=Messages(),
            retry_interval=settings.retry_ms,
            security_settings=_security(settings),
            session_idle_timeout=settings.session_idle_s,
            max_sessions=settings.most_sessions,
        )
        self._holding: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()

    async def start(self) -> None:
        """Begin to keep sessions, in a task of the event loop that runs."""
        ready = asyncio.Event()
        self._holding = asyncio.create_task(self._hold(ready), name="mcp sessions")
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait({self._holding, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self._holding.done():
            await self._holding

    async def aclose(self) -> None:
        """End all sessions."""
        self._stop.set()
        if self._holding is not None:
            await self._holding

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request; a session is only its caller's."""
        caller = caller_of(HTTPConnection(scope))
        # The transport keeps a session to the user that began it.
        known = {"user": _user(caller)} if caller.identity else {}
        await self._manager.handle_request({**scope, **known}, receive, _Refusals(send))

    async def _hold(self, ready: asyncio.Event) -> None:
        async with self._manager.run():
            ready.set()
            await self._stop.wait()


class _Refusals:
    """Sends answers, refusals with a sentence of their own in place of what a parser or a validator said."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._body = b""

    async def __call__(self, message: Message) -> None:
        """Send a message of an answer."""
        if message["type"] == "http.response.start" and message["status"] == 400:
            self._start = message
        elif self._start is None:
            await self._send(message)
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body"):
                await self._refuse(self._start)

    async def _refuse(self, start: Message) -> None:
        body = self._body
        try:
            answer = json.loads(body)
            kind, _, said = str(answer["error"]["message"]).partition(":")
        except (ValueError, TypeError, KeyError):
            said, kind = "", ""
        if said and (sentence := _REFUSALS.get(kind)):
            answer["error"]["message"] = sentence
            body = json.dumps(answer).encode()
        headers = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
        length = (b"content-length", str(len(body)).encode())
        await self._send({**start, "headers": [*headers, length]})
        await self._send({"type": "http.response.body", "body": body})


#: Sentences by the words that the package puts before what a parser or a validator said.
_REFUSALS: Final = {
    "Parse error": "Parse error: the body is no JSON",
    "Validation error": "Validation error: the body is no message of JSON-RPC 2.0",
}


def _user(caller: Caller) -> AuthenticatedUser:
    # The name stands for the token, which stays with those who looked at it.
    return AuthenticatedUser(
        AccessToken(token=json.dumps([caller.identity]), client_id=caller.identity, scopes=[], subject=caller.identity)
    )


def _security(settings: McpSettings) -> TransportSecuritySettings:
    hosts = [*(f"{host}:*" for host in _LOOPBACK), *_LOOPBACK, *settings.allowed_hosts]
    origins = [*(f"http://{host}:*" for host in _LOOPBACK), *settings.allowed_origins]
    return TransportSecuritySettings(
        enable_dns_rebinding_protection=settings.checks_hosts, allowed_hosts=hosts, allowed_origins=origins
    )
