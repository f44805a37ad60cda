"""The HTTP client of one server: it adds secrets to requests and sorts the responses.

- The session of the `mcp` package and the HTTP client know the address without name, password and query, and no header
  of the host's. They are added where a request leaves, so that no log and no error of those packages has them.
- An answer is the server's own if it is a message of the protocol, regardless of the HTTP status. Anything else came
  from a gateway in between, and `Request.trouble` says so: a gateway's error, a page, half of a message.
- Authorization is got here too, for the same reason (`oauth.flow`); a request that cannot have it fails alone, and the
  one that opens the session fails it, without a second try.
- A request that fails on the way fails alone: the transport of that package would end the session, and with it the
  requests of others.
"""

from __future__ import annotations

import json
import logging
import urllib.request
from base64 import b64encode
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import httpx2
import mcp_types as wire
from mcp.client.streamable_http import MCP_SESSION_ID

from stategraph.agent.mcp.errors import bounded
from stategraph.agent.mcp.exchange import UNREADABLE, Request, Trouble, Unreadable, current, read_message
from stategraph.agent.mcp.logs import hiding
from stategraph.agent.mcp.oauth.flow import Authorization, AuthorizationFailed
from stategraph.agent.mcp.servers import HttpServer
from stategraph.agent.settings.secrets import Secrets, shown_address

logger = logging.getLogger("stategraph.agent.mcp")

LARGEST_ANSWER: Final = 64 * 1024 * 1024
"""Bytes of one answer, be it a body or an event; images and files are large."""

LARGEST_ERROR: Final = 1024 * 1024
"""Bytes of the body of an HTTP error that are read to see whose it is."""

_ITS_OWN: Final = ("accept", "content-length", "content-type", "last-event-id", "transfer-encoding")
"""Headers that the transport sets for each request; so it does all that begin with `mcp-`."""

_OF_THE_BODY: Final = ("content-encoding", "content-length", "transfer-encoding")
"""Headers that say how a body was sent."""

_TRANSIENT: Final = frozenset({404, 408, 410, 425, 429})
"""Statuses below 500 that say nothing about what was asked."""

_NEVER_SENT: Final = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError)


class Door(httpx2.AsyncBaseTransport):
    """The way of all requests to one server.

    Args:
        server: The server.
        secrets: Texts to hide in messages about failures.
        handshake: The request that opens the session: its failures are the session's.
        forgotten: Called when the server turns out not to know the session any more.
        inner: Sends requests; None: as the environment says, through a proxy or directly.
    """

    def __init__(
        self,
        server: HttpServer,
        secrets: Secrets,
        handshake: Request,
        forgotten: Callable[[], None],
        inner: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self._parts = urlsplit(server.url)
        self._headers = {name: value.get_secret_value() for name, value in server.headers.items()}
        if self._parts.username or self._parts.password:
            pair = f"{unquote(self._parts.username or '')}:{unquote(self._parts.password or '')}"
            self._headers["authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
        self._secrets = secrets
        self._handshake = handshake
        self._forgotten = forgotten
        # A client that is given its way does not look for proxies by itself.
        self._inner = inner or httpx2.AsyncHTTPTransport(proxy=_proxy(self._parts.scheme, self._parts.hostname or ""))
        self._send = self._inner.handle_async_request
        self._authorization: Authorization | None = None
        if server.oauth is not None:
            limit = server.connect_timeout_s
            self._authorization = Authorization(self.address, server.oauth, secrets, self._inner, limit)
            self._send = self._authorization.send

    @property
    def address(self) -> str:
        """The server's address as others know it."""
        return shown_address(self._parts.geturl())

    async def aclose(self) -> None:
        """Close its connections, after a refresh that runs."""
        if self._authorization is not None:
            await self._authorization.aclose()
        await self._inner.aclose()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request, and look at what comes back."""
        hiding.set(self._secrets)  # until the task ends: what the session makes of the answer is logged too
        asked, number = current.get() or self._handshake, _number_of(request)
        if asked is self._handshake and asked.trouble is not None and asked.trouble.kind == "unauthorized":
            return self._unauthorized(number, asked.trouble.text, asked)  # nobody is asked twice
        if asked is self._handshake:
            asked.trouble = asked.status = None  # a server is asked in several ways until one of them is understood
        elif number is None:
            asked = Request()  # a notification, or an answer to the server: its fate is not that of the request
        try:
            with self._secrets.guard():
                response = await self._send(self._complete(request))
                if request.method != "POST":
                    return response
                return await self._looked_at(request, response, asked, number)
        except AuthorizationFailed as error:
            return self._unauthorized(number, str(error), asked)
        except httpx2.TransportError as error:
            if request.method != "POST" or asked is self._handshake:
                raise
            return self._undelivered(number, error, asked)

    def _complete(self, request: httpx2.Request) -> httpx2.Request:
        """Add to a request what only the server is to see."""
        url, headers = request.url, request.headers.copy()
        if self._parts.query and url.path == (self._parts.path or "/") and not url.query:
            url = url.copy_with(query=self._parts.query.encode())
        for name, value in self._headers.items():
            if name.lower() not in _ITS_OWN and not name.lower().startswith("mcp-"):
                headers[name] = value
        return httpx2.Request(
            request.method, url, headers=headers, stream=request.stream, extensions=request.extensions
        )

    def _unauthorized(self, number: int | str | None, why: str, asked: Request) -> httpx2.Response:
        """Answer a request that has no authorization."""
        asked.trouble = Trouble("unauthorized", why)
        if number is None:
            return httpx2.Response(202)
        return _answering(number, wire.ErrorData(code=wire.INVALID_REQUEST, message=why))

    def _undelivered(self, number: int | str | None, error: httpx2.TransportError, asked: Request) -> httpx2.Response:
        """Answer a request that did not arrive, or whose answer did not."""
        if number is None:
            logger.debug("A message to MCP server at %s was lost: %s", self.address, type(error).__name__)
            return httpx2.Response(202)
        said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        if isinstance(error, _NEVER_SENT):
            asked.not_done = f"it could not be reached ({bounded(said, 300)})"
        else:
            asked.trouble = Trouble("gone", bounded(said, 300))
        failed = wire.ErrorData(code=wire.CONNECTION_CLOSED, message=said)
        return _answering(number, failed)

    async def _looked_at(
        self, request: httpx2.Request, response: httpx2.Response, asked: Request, number: int | str | None
    ) -> httpx2.Response:
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if response.status_code >= 400:
            asked.status = response.status_code
            return await self._error(request, response, kind, asked)
        if number is None or response.status_code in (301, 302, 303, 307, 308) or kind == "text/event-stream":
            return response
        if response.status_code == 202 or kind != "application/json":
            what = f"content of type {kind!r}" if kind else "no content"
            asked.trouble = Trouble("bad", f"it answered with HTTP status {response.status_code} and {what}")
            return response
        raw = await _body(response, LARGEST_ANSWER)
        read = raw if isinstance(raw, Unreadable) else read_message(raw)
        if isinstance(read, Unreadable):
            asked.trouble = Trouble("bad", str(read))
        elif getattr(read.message, "id", number) not in (number, str(number), None):
            asked.trouble = Trouble("bad", "the answer is for another request")
        if asked.trouble is not None:
            return _answering(number, wire.ErrorData(code=wire.PARSE_ERROR, message=asked.trouble.text))
        return _with_body(response, raw if isinstance(raw, bytes) else b"")

    async def _error(
        self, request: httpx2.Request, response: httpx2.Response, kind: str, asked: Request
    ) -> httpx2.Response:
        """Find out whose words an HTTP error is in."""
        status = response.status_code
        raw = await _body(response, LARGEST_ERROR)
        read = read_message(raw) if isinstance(raw, bytes) and kind == "application/json" else None
        if status == 404 and MCP_SESSION_ID in request.headers:
            # The specification's sign for it; what servers say in words differs.
            asked.not_done = "it was restarted and forgot the session"
            self._forgotten()
        elif read is None or isinstance(read, Unreadable) or not isinstance(read.message, wire.JSONRPCError):
            transient = status >= 500 or status in _TRANSIENT
            hint = "; it wants an authorization: `oauth` of its HttpServer gets one" if status == 401 else ""
            asked.trouble = Trouble("unavailable" if transient else "refused", f"HTTP status {status}{hint}")
        return _with_body(response, raw if isinstance(raw, bytes) else b"")


def _answering(number: int | str, error: wire.ErrorData) -> httpx2.Response:
    answer = wire.JSONRPCError(jsonrpc="2.0", id=number, error=error)
    return httpx2.Response(200, json=answer.model_dump(mode="json", exclude_unset=True))


def _number_of(request: httpx2.Request) -> int | str | None:
    """Return the id of a request of the protocol; None for another message."""
    try:
        message: Any = json.loads(request.content)
    except (httpx2.RequestNotRead, ValueError):
        return None
    return message.get("id") if isinstance(message, dict) and "method" in message else None


async def _body(response: httpx2.Response, most: int) -> bytes | Unreadable:
    """Read a body, unpacked: a small one that is packed may be very large."""
    found = bytearray()
    try:
        async for part in response.aiter_bytes():
            found += part
            if len(found) > most:
                return Unreadable(f"the answer has more than {most} bytes", "")
    except httpx2.DecodingError:
        return Unreadable(f"{UNREADABLE}: it is not packed as its content-encoding says", "")
    finally:
        await response.aclose()
    return bytes(found)


def _with_body(response: httpx2.Response, body: bytes) -> httpx2.Response:
    """Make a response with a body that was read and unpacked."""
    headers = response.headers.copy()
    for name in _OF_THE_BODY:
        headers.pop(name, None)
    return httpx2.Response(response.status_code, headers=headers, content=body)


def _proxy(scheme: str, host: str) -> str | None:
    """Return the proxy that the environment names for an address."""
    proxies = urllib.request.getproxies()
    return None if urllib.request.proxy_bypass(host) else proxies.get(scheme) or proxies.get("all")
