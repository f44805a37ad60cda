"""The port of authentication.

Rules
-----
* An authenticator looks at credentials of its own kind. It returns None if a request has none of these, so that the
  next one is asked; one that finds them wrong refuses the request, whatever others might say.
* It takes identities from credentials alone, never from what a client may write freely.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Protocol

from starlette.requests import HTTPConnection

from stategraph.server.service.values import Caller

_NONE: Final[Mapping[str, str]] = MappingProxyType({})


class AuthenticationError(Exception):
    """The sender of a request is not known, or may not do that.

    Args:
        message: A sentence for the client, without its credentials.
        status: 401, or 403 if the sender is known.
        headers: Headers of the answer.
    """

    def __init__(self, message: str, status: int = 401, headers: Mapping[str, str] = _NONE) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers)


class Authenticator(Protocol):
    """Finds out who has sent a request."""

    async def authenticate(self, connection: HTTPConnection, /) -> Caller | None:
        """Return who has sent a request; None: it has no credentials of this kind.

        Raises:
            AuthenticationError: Its credentials are wrong.
        """

    def challenge(self) -> str:
        """Return the value of `WWW-Authenticate` for requests without credentials (RFC 9110, section 11.6.1)."""
