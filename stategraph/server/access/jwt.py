"""JSON Web Tokens (RFC 7519), checked as RFC 8725 says.

Rules
-----
* The algorithm has to be one of those that are allowed; what the token says of it is believed no further. With the keys
  of an issuer only asymmetric algorithms are, so that no public key is taken for a secret.
* `iss`, `aud` and `exp` have to be there, and right; `nbf` and `iat`, if they are there.
* Messages do not say what was expected of the token, nor what it holds.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import jwt
from starlette.requests import HTTPConnection

from stategraph.errors import ConfigurationError
from stategraph.server.access.keys import KeySource
from stategraph.server.access.port import AuthenticationError
from stategraph.server.access.tokens import bearer_of
from stategraph.server.service.values import Caller

_log = logging.getLogger(__name__)

#: Algorithms with a public key (RFC 7518, RFC 8037).
ASYMMETRIC: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
SYMMETRIC: Final = ("HS256", "HS384", "HS512")

#: Characters of a token at most; headers are limited anyway.
_LONGEST: Final = 16 * 1024

#: Bytes of a secret at least (RFC 7518, section 3.2).
_SHORTEST_SECRET: Final = 32


class Jwt:
    """Knows requests that have a token of an issuer.

    Args:
        issuer: The value that `iss` has.
        audience: The value that `aud` has, or one of several.
        keys: Finds the keys of the issuer.
        secret: In place of `keys`: what issuer and server share, 32 bytes or more.
        algorithms: Those that are allowed; None: `RS256`, `ES256`, `EdDSA`, or `HS256` with a secret.
        leeway_s: Seconds by which clocks may differ.
        identity_claim: The claim that names the caller.
        permissions_claims: Claims with permissions: a list, or a text with spaces as `scope`.

    Raises:
        ConfigurationError: An algorithm does not fit the keys, the secret is short, or there is neither.
    """

    def __init__(
        self,
        *,
        issuer: str,
        audience: str | Sequence[str],
        keys: KeySource | None = None,
        secret: str | None = None,
        algorithms: Collection[str] | None = None,
        leeway_s: float = 30.0,
        identity_claim: str = "sub",
        permissions_claims: Sequence[str] = ("permissions", "scope"),
    ) -> None:
        if not issuer or not audience:
            raise ConfigurationError("Tokens (JWT) need an issuer and an audience; without them any token would do")
        if (keys is None) == (secret is None):
            raise ConfigurationError("Tokens (JWT) need the keys of an issuer, or a secret, and not both")
        if secret is not None and len(secret.encode()) < _SHORTEST_SECRET:
            raise ConfigurationError(f"The secret of tokens (JWT) has to have {_SHORTEST_SECRET} bytes or more")
        known = ASYMMETRIC if secret is None else SYMMETRIC
        chosen = list(algorithms or (("RS256", "ES256", "EdDSA") if secret is None else ("HS256",)))
        if wrong := [each for each in chosen if each not in known]:
            raise ConfigurationError(
                f"Tokens (JWT) cannot be checked with {', '.join(wrong)} here; allow some of {', '.join(known)}"
            )
        self._issuer, self._audience = issuer, audience
        self._keys, self._secret = keys, secret
        self._algorithms = chosen
        self._leeway_s = leeway_s
        self._identity, self._permissions = identity_claim, permissions_claims

    def challenge(self) -> str:
        """Return the challenge of RFC 6750."""
        return "Bearer"

    async def authenticate(self, connection: HTTPConnection, /) -> Caller | None:
        """Return the caller of a request; None: it has no JSON Web Token.

        Raises:
            AuthenticationError: The token is wrong, or too old.
        """
        token = bearer_of(connection)
        if token.count(".") != 2:
            return None
        return self.caller(await self.claims(token))

    async def claims(self, token: str, audience: Sequence[str] | None = None) -> Mapping[str, Any]:
        """Return the claims of a token.

        Args:
            token: The token.
            audience: Has one of these, in place of what was said at first.

        Raises:
            AuthenticationError: It is wrong, or too old.
        """
        try:
            if len(token) > _LONGEST:
                raise jwt.InvalidTokenError("too long")
            key: Any = self._secret
            if self._keys is not None:
                header = jwt.get_unverified_header(token)
                key = await self._keys.find(str(header.get("kid", "")), str(header.get("alg", "")))
            claims = jwt.decode(
                token,
                key,
                algorithms=self._algorithms,
                issuer=self._issuer,
                audience=audience or self._audience,
                leeway=self._leeway_s,
                options={"require": ["exp", "iss", "aud"]},
            )
        except jwt.ExpiredSignatureError:
            raise _refused("The token has expired") from None
        except jwt.InvalidTokenError as error:
            _log.info("A token was refused: %s", type(error).__name__)
            raise _refused("The token is not one that this server takes") from None
        found: Mapping[str, Any] = claims
        return found

    def caller(self, claims: Mapping[str, Any]) -> Caller:
        """Return the caller whom claims name.

        Raises:
            AuthenticationError: They name nobody.
        """
        identity = claims.get(self._identity)
        if not isinstance(identity, str) or not identity.strip():
            raise _refused("The token does not name anybody")
        permissions = tuple(dict.fromkeys(each for name in self._permissions for each in _texts(claims.get(name))))
        user = {
            **claims,
            "identity": identity,
            "display_name": str(claims.get("name") or identity),
            "is_authenticated": True,
            "permissions": list(permissions),
        }
        return Caller(identity, user, permissions)


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return value.split()
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _refused(sentence: str) -> AuthenticationError:
    # RFC 6750, section 3.1
    challenge = f'Bearer error="invalid_token", error_description="{sentence}"'
    return AuthenticationError(sentence, headers={"WWW-Authenticate": challenge})
