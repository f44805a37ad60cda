"""A resource server of OAuth 2: it takes tokens of authorization servers, and tells clients where to get one.

As of MCP 2026-07-28 ("Authorization") and RFC 9728: a request without a token is answered with the address of the
server's metadata, which names the authorization servers; a token that lacks a scope with `insufficient_scope`.

Rules
-----
* A token is for this server (RFC 8707): its `aud` is the address of the server, or of the part of it that is asked.
* Its `iss` is one of the authorization servers that the metadata names, and it is checked with the keys of that one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import jwt as pyjwt
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from stategraph.errors import ConfigurationError
from stategraph.server.access.jwt import Jwt
from stategraph.server.access.keys import KeySource, check_address
from stategraph.server.access.port import AuthenticationError
from stategraph.server.access.tokens import bearer_of
from stategraph.server.service.values import Caller

METADATA: Final = "/.well-known/oauth-protected-resource"


class OAuthResource:
    """Knows requests that have an access token for this server.

    Args:
        resource: The address of the server, as its clients know it.
        issuers: By the identifiers of authorization servers, the keys of each.
        scopes: Those that a token needs.
        offered: Scopes that the metadata names beside these.
        **options: As of `Jwt`: `algorithms`, `leeway_s`, `identity_claim`, `permissions_claims`.

    Raises:
        ConfigurationError: The address is not `https`, or there is no authorization server.
    """

    def __init__(
        self,
        resource: str,
        issuers: Mapping[str, KeySource],
        *,
        scopes: Sequence[str] = (),
        offered: Sequence[str] = (),
        **options: Any,
    ) -> None:
        if not issuers:
            raise ConfigurationError("A resource server (OAuth 2) needs an authorization server whose tokens it takes")
        check_address(resource, "Metadata of the resource server (OAuth 2)")
        self._resource = resource.rstrip("/")
        self._scopes = tuple(scopes)
        self._offered = tuple(dict.fromkeys((*scopes, *offered)))
        self._issuers = {
            issuer: Jwt(issuer=issuer, audience=self._resource, keys=keys, **options)
            for issuer, keys in issuers.items()
        }

    def challenge(self) -> str:
        """Return a challenge that names the metadata of the server (RFC 9728, section 5.1)."""
        return f'Bearer resource_metadata="{self._resource}{METADATA}"{self._wanted()}'

    async def authenticate(self, connection: HTTPConnection, /) -> Caller | None:
        """Return the caller of a request; None: it has no JSON Web Token.

        Raises:
            AuthenticationError: The token is wrong, for another server, or lacks a scope.
        """
        token, part = bearer_of(connection), _part(connection.scope["path"])
        if not token:
            if part:
                raise AuthenticationError(
                    "The request has no access token", headers={"WWW-Authenticate": self._challenge_of(part)}
                )
            return None
        if token.count(".") != 2:
            return None
        try:
            issuer = self._issuers.get(_issuer_of(token))
            if issuer is None:
                raise AuthenticationError("The token is not one that this server takes")
            audience = [self._resource, f"{self._resource}/", f"{self._resource}{part}"]
            found = issuer.caller(await issuer.claims(token, audience))
        except AuthenticationError as error:
            error.headers = {"WWW-Authenticate": f'{self._challenge_of(part)}, error="invalid_token"'}
            raise
        if missing := [each for each in self._scopes if each not in found.permissions]:
            challenge = f'{self._challenge_of(part)}, error="insufficient_scope"'
            raise AuthenticationError(
                f"The token lacks the scope {' '.join(missing)}", 403, {"WWW-Authenticate": challenge}
            )
        return found

    def _challenge_of(self, part: str) -> str:
        return f'Bearer resource_metadata="{self._resource}{METADATA}{part}"{self._wanted()}'

    def _wanted(self) -> str:
        return f', scope="{" ".join(self._scopes)}"' if self._scopes else ""

    def routes(self) -> list[BaseRoute]:
        """Return the routes of the metadata (RFC 9728, section 3)."""

        async def metadata(request: Request) -> Response:
            part = _part(request.path_params.get("path", ""))
            told: dict[str, Any] = {
                "resource": f"{self._resource}{part}",
                "authorization_servers": list(self._issuers),
                "bearer_methods_supported": ["header"],
            }
            if self._offered:
                told["scopes_supported"] = list(self._offered)
            return JSONResponse(told, headers={"Cache-Control": "max-age=3600", "Access-Control-Allow-Origin": "*"})

        return [Route(METADATA, metadata), Route(f"{METADATA}{{path:path}}", metadata)]


def _part(path: str) -> str:
    """Return the part of the server that a path belongs to, `/mcp` of `/mcp/x`; empty: no protocol of its own."""
    first = path.strip("/").partition("/")[0]
    return f"/{first}" if first in ("mcp", "a2a", "agui") else ""


def _issuer_of(token: str) -> str:
    """Return what a token says of its issuer, unchecked: it chooses the keys with which it is checked."""
    try:
        claims = pyjwt.decode(token, options={"verify_signature": False})
    except pyjwt.InvalidTokenError:
        return ""
    return str(claims.get("iss", ""))
