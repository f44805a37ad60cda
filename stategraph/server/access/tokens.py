"""One token for all: who has it may do everything; users are the business of the backend that sends it.

It is a Bearer token (RFC 6750), or in the header `X-Api-Key`, as LangGraph's clients send keys.
"""

from __future__ import annotations

import hmac
from typing import Final

from starlette.requests import HTTPConnection

from stategraph.errors import ConfigurationError
from stategraph.server.access.port import AuthenticationError
from stategraph.server.service.values import ANYONE, Caller

#: Characters of a token at least, so that nobody guesses it.
SHORTEST: Final = 16

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


def bearer_of(connection: HTTPConnection) -> str:
    """Return the Bearer token of a request; empty: it has none."""
    scheme, _, given = connection.headers.get("authorization", "").partition(" ")
    return given.strip() if scheme.lower() == "bearer" else ""


def key_of(connection: HTTPConnection) -> str:
    """Return the Bearer token of a request, or else its `X-Api-Key`; empty: it has neither."""
    return bearer_of(connection) or connection.headers.get("x-api-key", "").strip()


class Token:
    """Knows requests that have the server's token. It has to be the last that is asked: others are refused.

    Args:
        token: The token.

    Raises:
        ConfigurationError: It is short.
    """

    def __init__(self, token: str) -> None:
        check_token(token)
        self._token = token.encode()

    async def authenticate(self, connection: HTTPConnection, /) -> Caller | None:
        """Return a caller without a name for a request that has the token.

        Raises:
            AuthenticationError: It has not.
        """
        if hmac.compare_digest(key_of(connection).encode(), self._token):
            return ANYONE
        raise AuthenticationError(_REFUSED)

    def challenge(self) -> str:
        """Return the challenge of RFC 6750."""
        return "Bearer"
