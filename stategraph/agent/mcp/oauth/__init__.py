"""Authorization for HTTP servers (OAuth 2.1 as the protocol has it): what a host describes.

- `AuthorizationCode`: a person agrees in a browser; the host opens the page and returns the address that the browser
  was sent back to. PKCE, `state` and the issuer are checked here.
- `ClientCredentials`: a program authorizes itself, with a secret or with a signed assertion.
- Tokens, secrets and registrations are kept by the host's `TokenStorage`, or `UserTokenStorage` where each user has
  some, and hidden in logs, errors and reports.
- A server is untrusted: it says where its authorization server is, so `addresses` checks each address, and a secret of
  the host's goes only to the issuers that the host names.

This package must never know sessions or tools. `flow` needs the `mcp` package and is loaded with the first session.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Annotated, Literal, Protocol, Self, TypeAlias, runtime_checkable
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator

from stategraph.agent.settings.field_types import PositiveNumber
from stategraph.agent.settings.validation import Settings

Authorize: TypeAlias = Callable[[str], Awaitable[str]]
"""Opens the address of a page where a person agrees; returns the address that the browser was sent back to."""

AuthorizeUser: TypeAlias = Callable[..., Awaitable[str]]
"""As `Authorize`, called with the user besides: `await authorize(page, user=user)`."""

Assertion: TypeAlias = Callable[[str], Awaitable[str]]
"""Makes a signed assertion (RFC 7523) for an audience, the issuer of the authorization server."""


@runtime_checkable
class TokenStorage(Protocol):
    """Keeps tokens and registrations of one user; a host implements it. What it is given is secret.

    One that several processes use has a method `lock(server)` besides, an async context manager that keeps others from
    refreshing while it is open: many authorization servers take a refresh token only once. Without it, two processes
    may refresh at once, and the one that is refused looks into the storage again before a person is asked.
    """

    async def load(self, server: str) -> str | None:
        """Return what was saved for a server.

        Args:
            server: Its address without query, in lower case where case does not matter.

        Returns:
            The document, or None.
        """

    async def save(self, server: str, document: str) -> None:
        """Keep a document in place of the one before.

        Args:
            server: As for `load`.
            document: JSON with tokens, a client's registration and where it was made. Encrypt it.
        """


@runtime_checkable
class UserTokenStorage(Protocol):
    """Keeps tokens and registrations of many users; a host implements it. What it is given is secret.

    `FileTokens` is one, and `stategraph.workers.registry.tokens.RegistryTokens`, in a database. One that several
    processes use has a method `lock(user, server)` besides, see `TokenStorage`.
    """

    async def load(self, user: str, server: str) -> str | None:
        """Return what was saved for a user and a server.

        Args:
            user: The run's `configurable.user_id`.
            server: Its address without query, in lower case where case does not matter.

        Returns:
            The document, or None.
        """

    async def save(self, user: str, server: str, document: str) -> None:
        """Keep a document in place of the one before.

        Args:
            user: As for `load`.
            server: As for `load`.
            document: JSON with tokens, a client's registration and where it was made. Encrypt it.
        """


class MemoryTokens:
    """A `TokenStorage` in memory: a person is asked again by every process."""

    def __init__(self) -> None:
        self._kept: dict[str, str] = {}

    def __repr__(self) -> str:
        return f"<MemoryTokens for {len(self._kept)} servers>"

    async def load(self, server: str) -> str | None:
        """Return what was saved for a server."""
        return self._kept.get(server)

    async def save(self, server: str, document: str) -> None:
        """Keep a document in place of the one before."""
        self._kept[server] = document


def _is_address(issuer: str) -> str:
    parts = urlsplit(issuer)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("the address of an authorization server, as https://login.example.com, is expected")
    return issuer


Issuer: TypeAlias = Annotated[str, AfterValidator(_is_address)]
"""An authorization server, as its metadata name it."""


class _Grant(Settings):
    """Settings common to both ways.

    Attributes:
        scope: Scopes to ask for, separated by blanks; None: what the server asks for. A server that asks for more
            later is answered with those and the ones from before (step-up).
        storage: Keeps what was granted, to one user or program.
        user_storage: Keeps what was granted to each user; the server's `session` is `user` or `thread` then, so that
            no session is shared by two users. None: there is one user, or program.
    """

    scope: str | None = None
    storage: TokenStorage = Field(default_factory=MemoryTokens, repr=False)
    user_storage: UserTokenStorage | None = Field(default=None, repr=False)

    @model_validator(mode="after")
    def _has_one_storage(self) -> Self:
        if self.user_storage is not None and "storage" in self.model_fields_set:
            raise ValueError("either `storage`, for one user, or `user_storage`, for many, is expected")
        return self


class AuthorizationCode(_Grant):
    """A person agrees in a browser (authorization code with PKCE).

    The client registers itself, unless it has a `client_id`, or the authorization server reads `client_metadata_url`.

    Attributes:
        authorize: Shows a page to a person; see `Authorize`, and with `user_storage` `AuthorizeUser`. It is awaited,
            with the time limits of requests stopped.
        redirect_uri: Where the browser is sent back to: an address of the host's, or a port of this machine.
        issuers: The authorization servers that may be used; none: the one that the server names, which is right for
            clients that have no secret of their own.
        client_id: The client, if it is registered already.
        client_secret: Its secret, if it has one; needs `issuers`.
        client_name: The name that people see when the client registers itself.
        client_metadata_url: An https address with a description of the client, which then is its id.
        wait_s: Seconds that a person has.
    """

    type: Literal["authorization_code"] = "authorization_code"
    authorize: Authorize | AuthorizeUser = Field(repr=False)
    redirect_uri: str
    issuers: tuple[Issuer, ...] = ()
    client_id: str | None = None
    client_secret: SecretStr | None = None
    client_name: str = "stategraph"
    client_metadata_url: str | None = None
    wait_s: PositiveNumber = 300.0

    @field_validator("client_metadata_url")
    @classmethod
    def _is_a_page(cls, url: str | None) -> str | None:
        if url is not None and (urlsplit(url).scheme != "https" or urlsplit(url).path in ("", "/")):
            raise ValueError("an https address with a path is expected")
        return url

    @model_validator(mode="after")
    def _secret_has_an_owner(self) -> Self:
        if self.client_secret is not None and not (self.client_id and self.issuers):
            raise ValueError(
                "a client_secret needs the client_id that it belongs to, and `issuers`: the authorization server that "
                "it may be sent to, or else the MCP server would decide that"
            )
        return self

    @property
    def secrets(self) -> Iterator[str]:
        """Texts to hide."""
        if self.client_secret is not None:
            yield self.client_secret.get_secret_value()


class ClientCredentials(_Grant):
    """A program authorizes itself (client credentials).

    Attributes:
        client_id: The client.
        client_secret: Its secret; or
        assertion: makes a signed assertion in its place.
        issuer: The authorization server that the client belongs to; no other one is given the secret.
        secret_in: Where the secret is sent: a header, or the body of the request.
    """

    type: Literal["client_credentials"] = "client_credentials"
    client_id: str
    client_secret: SecretStr | None = None
    assertion: Assertion | None = Field(default=None, repr=False)
    secret_in: Literal["header", "body"] = "header"
    issuer: Issuer

    @model_validator(mode="after")
    def _can_prove_itself(self) -> Self:
        if (self.client_secret is None) == (self.assertion is None):
            raise ValueError("either a client_secret or an assertion is expected")
        return self

    @property
    def secrets(self) -> Iterator[str]:
        """Texts to hide."""
        if self.client_secret is not None:
            yield self.client_secret.get_secret_value()


OAuth: TypeAlias = Annotated[AuthorizationCode | ClientCredentials, Field(discriminator="type")]

__all__ = [
    "Assertion",
    "AuthorizationCode",
    "Authorize",
    "AuthorizeUser",
    "ClientCredentials",
    "MemoryTokens",
    "OAuth",
    "TokenStorage",
    "UserTokenStorage",
]
