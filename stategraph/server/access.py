"""Requests that have the server's token, and no others.

The token is a Bearer token (RFC 6750). It is compared in constant time, and is in no message and no log.
"""

from __future__ import annotations

import hmac
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stategraph.dev.replies import refusal
from stategraph.errors import ConfigurationError
from stategraph.server.routes import HEALTH

#: Characters of a token at least, so that nobody guesses it.
SHORTEST: Final = 16

_HEADERS: Final = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
_REFUSED: Final = "The request has no token, or another one: send that of the server, as 'Authorization: Bearer TOKEN'"


def check_token(token: str) -> None:
    """Check that a token can be sent in a header, and is hard to guess.

    Raises:
        ConfigurationError: It cannot, or it is short. The message does not have it.
    """
    if len(token) < SHORTEST or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigurationError(
            f"The token has to have {SHORTEST} characters or more, of ASCII and without spaces. Make one: "
            "python -c 'import secrets; print(secrets.token_urlsafe(32))'"
        )


class Bearer:
    """Middleware that lets requests with a token pass, and those for the server's health.

    Args:
        app: The application.
        token: The token.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        if scope["path"] == HEALTH or self._has_token(Headers(scope=scope).get("authorization", "")):
            await self._app(scope, receive, with_headers)
            return
        refused = refusal(401, _REFUSED)
        refused.headers["WWW-Authenticate"] = "Bearer"
        await refused(scope, receive, with_headers)

    def _has_token(self, header: str) -> bool:
        scheme, _, given = header.partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), self._token)
