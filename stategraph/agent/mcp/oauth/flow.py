"""The authorization of requests to one HTTP server, through the providers of the `mcp` package.

What is added to them:

- Requests are not sent one after another: only a request that needs a new token waits for the ones that get it.
- A token that the server no longer takes is refreshed first; a person is asked only if that fails.
- When a token ends, and where it is refreshed, is known after a restart too. A token that another session or process
  got meanwhile is taken from the storage before one is refreshed, after that failed, and before a person is asked.
  Refreshes take turns and are never cut short (`renewal`).
- PKCE is a condition (the 2025-11-25 specification, "Authorization Code Protection"): an authorization server that does
  not say that it has it is not used.
- Every address is checked (`addresses`), and what comes back is bounded in size and time.
- Tokens, codes and registrations are added to the texts that the session hides.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import AsyncGenerator, Iterable
from contextlib import nullcontext
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp.client.auth import OAuthClientProvider, OAuthFlowError
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider, PrivateKeyJWTOAuthProvider
from mcp.client.auth.utils import issuers_match
from mcp.shared.auth import (
    AuthorizationCodeResult,
    OAuthClientInformationFull,
    OAuthClientMetadata,
    OAuthMetadata,
    OAuthToken,
    ProtectedResourceMetadata,
)
from pydantic import ValidationError

from stategraph.agent.mcp import exchange
from stategraph.agent.mcp.errors import bounded, words
from stategraph.agent.mcp.oauth import AuthorizationCode, ClientCredentials, TokenStorage, addresses, users
from stategraph.agent.mcp.oauth.renewal import Renewals
from stategraph.agent.settings.secrets import Secrets, shown_address
from stategraph.engine.config import environment

logger = logging.getLogger("stategraph.agent.mcp")

LARGEST_DOCUMENT: Final = 1024 * 1024
"""Bytes of metadata, a registration or a token's answer."""

REDIRECTS: Final = 5
"""Redirects within one origin that a refresh follows, as many as the `mcp` package does for other requests."""

SECRETS_KEPT: Final = 32
"""Tokens, codes and secrets that are hidden: those of the last few rounds."""


class AuthorizationFailed(Exception):
    """There is no authorization; the text says why and has no secret."""


class Authorization:
    """Sends the requests to a server with what authorizes them.

    Args:
        address: The server's address without name, password and query.
        settings: How authorization is granted.
        secrets: The texts that the session hides; what is granted is added.
        inner: Sends requests.
        timeout_s: Seconds for each request to an authorization server.
    """

    def __init__(
        self,
        address: str,
        settings: AuthorizationCode | ClientCredentials,
        secrets: Secrets,
        inner: httpx2.AsyncBaseTransport,
        timeout_s: float,
    ) -> None:
        self._provider = _provider(address, settings, _Hidden(secrets))
        self._client = httpx2.AsyncClient(transport=_Guarded(address, inner, timeout_s))
        self._provider.client = self._client

    async def aclose(self) -> None:
        """Wait for a refresh that runs; requests may not be sent any more."""
        await self._provider.renewals.aclose()

    async def send(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request to the server, and get authorization for it if need be.

        Raises:
            AuthorizationFailed: There is none.
            httpx2.TransportError: The server cannot be reached.
        """
        try:
            if (token := self._provider.valid_token()) is not None:
                request.headers["authorization"] = f"Bearer {token}"
                response = await self._client.send(request, stream=True, auth=None)
                if not _is_challenge(response):
                    return response
                await response.aclose()
            return await self._client.send(request, stream=True, auth=self._provider)
        except (OAuthFlowError, UnicodeDecodeError, ValidationError, users.StorageFailed) as error:
            raise AuthorizationFailed(self._provider.hidden.text(bounded(words(error), 500))) from None


def _is_challenge(response: httpx2.Response) -> bool:
    return response.status_code == 401 or (
        response.status_code == 403 and "insufficient_scope" in response.headers.get("www-authenticate", "")
    )


class _Guarded(httpx2.AsyncBaseTransport):
    """The way of requests: those to the server itself as they are, others checked and bounded."""

    def __init__(self, server: str, inner: httpx2.AsyncBaseTransport, timeout_s: float) -> None:
        self._server = server
        self._inner = inner
        self._timeout_s = timeout_s

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        address = str(request.url)
        if shown_address(address) == self._server:
            return await self._inner.handle_async_request(request)
        if (why := addresses.objection(address, self._server)) is not None:
            raise OAuthFlowError(f"{shown_address(address)} is not asked: {why}")
        request.extensions["timeout"] = dict.fromkeys(("connect", "read", "write", "pool"), self._timeout_s)
        found = bytearray()
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._inner.handle_async_request(request)
                try:
                    async for part in response.aiter_bytes():
                        found += part
                        if len(found) > LARGEST_DOCUMENT:
                            raise OAuthFlowError(
                                f"{shown_address(address)} answered with more than {LARGEST_DOCUMENT} bytes"
                            )
                finally:
                    await response.aclose()
        except (TimeoutError, httpx2.RequestError) as error:
            why = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            raise OAuthFlowError(f"{shown_address(address)} did not answer ({bounded(why, 200)})") from None
        headers = response.headers.copy()
        for name in ("content-encoding", "content-length", "transfer-encoding"):
            headers.pop(name, None)
        # An error of `mcp` repeats an answer whose status it does not expect; there may be new tokens in this one.
        content = b"" if response.is_success and response.status_code not in (200, 201) else bytes(found)
        return httpx2.Response(response.status_code, headers=headers, content=content)


class _Hidden:
    """The texts of a session that are hidden, and what is granted meanwhile."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self._given = secrets | Secrets()
        self._granted: deque[str] = deque(maxlen=SECRETS_KEPT)

    def add(self, texts: Iterable[str | None]) -> None:
        new = [each for each in texts if each and each not in self._granted]
        if new:
            self._granted.extend(new)
            self._secrets.become(self._given | Secrets(self._granted))

    def text(self, text: str) -> str:
        return self._secrets.text(text)


class _Storage:
    """The host's storage as the `mcp` package wants it, with what it would forget, such as when a token ends."""

    def __init__(self, server: str, storage: TokenStorage, hidden: _Hidden) -> None:
        self._server = server
        self._storage = storage
        self._hidden = hidden
        self._document: dict[str, Any] = {}
        self._unsaved = False
        self.provider: _Remembering | None = None

    async def read(self) -> dict[str, Any]:
        """Read the document anew: another process may have changed it.

        Raises:
            StorageFailed: The storage failed.
        """
        if self._unsaved:
            await self._save()
        if self._unsaved:
            return self._document  # what was granted last, and is nowhere else
        found: Any = None
        try:
            raw = await self._storage.load(self._server)
        except Exception as error:
            raise users.failed(error) from None
        if raw is not None:
            try:
                found = json.loads(raw)
            except ValueError:
                found = None  # not ours, or of another key: as if there were none
        self._document = found if isinstance(found, dict) else {}
        return self._document

    def part(self, name: str, kind: type[Any]) -> Any:
        """Return a part of the document, None if it is missing or of another form."""
        try:
            return None if (found := self._document.get(name)) is None else kind.model_validate(found)
        except ValidationError:
            return None

    @property
    def ends_at(self) -> float | None:
        """Seconds since the epoch at which the access token ends, if that is known."""
        found = self._document.get("ends_at")
        return float(found) if isinstance(found, int | float) else None

    async def get_tokens(self) -> OAuthToken | None:
        await self.read()
        tokens: OAuthToken | None = self.part("tokens", OAuthToken)
        if tokens is not None:
            self._hidden.add((tokens.access_token, tokens.refresh_token))
        return tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self._hidden.add((tokens.access_token, tokens.refresh_token))
        self._document["tokens"] = _as_json(tokens)
        self._document["ends_at"] = (
            None if tokens.expires_in is None else environment.current().clock.time() + tokens.expires_in
        )
        if self.provider is not None:
            context = self.provider.context
            self._document["authorization_server"] = _as_json(context.oauth_metadata)
            self._document["resource"] = _as_json(context.protected_resource_metadata)
        await self._save()

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        client: OAuthClientInformationFull | None = self.part("client", OAuthClientInformationFull)
        if client is not None:
            self._hidden.add((client.client_secret,))
        return client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self._hidden.add((client_info.client_secret,))
        self._document["client"] = _as_json(client_info)
        await self._save()

    async def _save(self) -> None:
        """Save the document; if the storage fails it is kept here and saved later: a token may be granted once only."""
        try:
            await self._storage.save(self._server, json.dumps(self._document))
        except Exception as error:
            self._unsaved = True
            said = self._hidden.text(str(users.failed(error)))
            logger.warning(
                "What is granted for MCP server %s is not stored, and kept in memory: %s", self._server, said
            )
        else:
            self._unsaved = False


def _as_json(model: Any) -> Any:
    return None if model is None else model.model_dump(mode="json", exclude_none=True)


def _origin(request: httpx2.Request) -> tuple[str, str, int | None]:
    return request.url.scheme, request.url.host, request.url.port


class _Remembering(OAuthClientProvider):
    """A provider that knows after a restart what it was granted."""

    stored: _Storage
    hidden: _Hidden
    client: httpx2.AsyncClient
    renewals: Renewals
    turn: asyncio.Lock
    issuers: tuple[str, ...] = ()

    def valid_token(self) -> str | None:
        """Return the token, if there is one that should be valid."""
        if not self._initialized or not self.context.is_token_valid() or self.context.current_tokens is None:
            return None
        return self.context.current_tokens.access_token

    async def _initialize(self) -> None:
        await super()._initialize()
        context = self.context
        context.token_expiry_time = self.stored.ends_at
        if context.oauth_metadata is None:
            known: OAuthMetadata | None = self.stored.part("authorization_server", OAuthMetadata)
            context.oauth_metadata = known if known is not None and self._allows(str(known.issuer)) else None
            context.protected_resource_metadata = self.stored.part("resource", ProtectedResourceMetadata)
            if context.oauth_metadata is not None:
                context.auth_server_url = str(context.oauth_metadata.issuer)
            elif context.current_tokens is not None:
                # Where to refresh it is not known, and must not be guessed.
                context.current_tokens.refresh_token = None

    def _allows(self, server: str) -> bool:
        """Return whether an authorization server may be used."""
        return not self.issuers or any(issuers_match(server, issuer) for issuer in self.issuers)

    def _select_authorization_server(self, advertised: list[str]) -> str:
        for server in advertised:
            if self._allows(server):
                return server
        raise OAuthFlowError(
            f"the server names {', '.join(shown_address(each) for each in advertised[:3])} as its authorization "
            "server, which is none of the `issuers` that the host allows"
        )

    def _expected_issuer(self) -> str:
        expected = super()._expected_issuer()
        if not self._allows(expected):
            raise OAuthFlowError(
                f"the server names no authorization server, and its own address ({shown_address(expected)}) is none of "
                "the `issuers` that the host allows"
            )
        return expected

    async def _auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        """Renew a token that ended or was refused, before a person is asked again."""
        async with self.turn:
            if self.valid_token() is None:
                await self.renewals.make(partial(self._renew, None))
            flow = super()._auth_flow(request)
            renewed = False
            try:
                outgoing = await anext(flow)
                while True:
                    response = yield outgoing
                    if outgoing is request and response.status_code == 401 and not renewed:
                        renewed = True
                        sent = request.headers.get("authorization", "")
                        if await self.renewals.make(partial(self._renew, sent)):
                            self._add_auth_header(request)
                            response = yield request
                    outgoing = await flow.asend(response)
            except StopAsyncIteration:
                return
            finally:
                await flow.aclose()

    async def _renew(self, refused: str | None) -> bool:
        """Take a token from the storage, or else refresh the one that is there; return whether there is a good one.

        Args:
            refused: The header that the server refused; empty: there was none, and refreshing was tried before. None:
                nothing was sent yet.
        """
        if refused is None:
            await self._initialize()
            if self.context.is_token_valid():
                return True
        elif await self._has_newer(refused):
            return True
        tokens = self.context.current_tokens
        if refused == "" or tokens is None or not self.context.can_refresh_token():
            return False
        if self.context.oauth_metadata is None:
            return False
        if await self._handle_refresh_response(await self._asked(await self._refresh_token())):
            return True
        return await self._has_newer(f"Bearer {tokens.access_token}")

    async def _asked(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request to the authorization server; redirects are followed as the `mcp` package does."""
        answer = await self.client.send(request, auth=None)
        for _ in range(REDIRECTS):
            following = answer.next_request
            if following is None or following.method != request.method or _origin(following) != _origin(request):
                break
            answer = await self.client.send(following, auth=None)
        return answer

    async def _has_newer(self, sent: str) -> bool:
        """Take a token that another session or process got since; return whether there is one."""
        tokens = await self.stored.get_tokens()
        if tokens is None or f"Bearer {tokens.access_token}" == sent:
            return False
        self.context.current_tokens, self.context.token_expiry_time = tokens, self.stored.ends_at
        return self.context.is_token_valid()


class _Code(_Remembering):
    """Authorization code with PKCE, for a client that may be registered already."""

    registered: OAuthClientInformationFull | None = None

    async def _initialize(self) -> None:
        await super()._initialize()
        if self.registered is not None:
            self.context.client_info = self.registered

    async def _perform_authorization_code_grant(self) -> tuple[str, str]:
        context = self.context
        metadata = context.oauth_metadata
        if metadata is not None and "S256" not in (metadata.code_challenge_methods_supported or ()):
            raise OAuthFlowError(
                f"the authorization server {shown_address(str(metadata.issuer))} does not say that it supports PKCE "
                "with S256, without which a code could be stolen"
            )
        code, verifier = await super()._perform_authorization_code_grant()
        self.hidden.add((verifier,))  # the code is hidden as soon as it comes back
        return code, verifier


class _Secret(_Remembering, ClientCredentialsOAuthProvider):
    """Client credentials with a secret."""


class _Assertion(_Remembering, PrivateKeyJWTOAuthProvider):
    """Client credentials with a signed assertion."""


def _provider(address: str, settings: AuthorizationCode | ClientCredentials, hidden: _Hidden) -> _Remembering:
    storage = _Storage(address, settings.storage, hidden)
    made: _Remembering
    if isinstance(settings, AuthorizationCode):
        made = _code_provider(address, settings, storage, hidden)
    elif settings.client_secret is not None:
        made = _Secret(
            address,
            storage,
            settings.client_id,
            settings.client_secret.get_secret_value(),
            token_endpoint_auth_method="client_secret_basic"
            if settings.secret_in == "header"
            else "client_secret_post",
            scope=settings.scope,
            issuer=settings.issuer,
        )
    else:
        made = _Assertion(
            address,
            storage,
            settings.client_id,
            _hiding(settings, hidden),
            scope=settings.scope,
            issuer=settings.issuer,
        )
    made.stored, made.hidden = storage, hidden
    made.renewals, made.turn = Renewals(settings.storage, address), asyncio.Lock()
    made.issuers = settings.issuers if isinstance(settings, AuthorizationCode) else (settings.issuer,)
    storage.provider = made
    return made


def _hiding(settings: ClientCredentials, hidden: _Hidden) -> Any:
    make = settings.assertion
    assert make is not None

    async def assertion(audience: str) -> str:
        signed = await make(audience)
        hidden.add((signed,))
        return signed

    return assertion


def _code_provider(address: str, settings: AuthorizationCode, storage: _Storage, hidden: _Hidden) -> _Code:
    asking = _Asking(address, settings, hidden)
    metadata = OAuthClientMetadata.model_validate(
        {"client_name": settings.client_name, "redirect_uris": [settings.redirect_uri], "scope": settings.scope}
    )
    made = _Code(address, metadata, storage, asking.show, asking.returned, settings.client_metadata_url)
    if settings.client_id is not None:
        secret = settings.client_secret.get_secret_value() if settings.client_secret is not None else None
        made.registered = OAuthClientInformationFull.model_validate(
            {
                "client_id": settings.client_id,
                "client_secret": secret,
                "redirect_uris": [settings.redirect_uri],
                "token_endpoint_auth_method": "none" if secret is None else "client_secret_basic",
            }
        )
    return made


class _Asking:
    """Shows the page to a person, through the host, and reads where the browser was sent."""

    def __init__(self, server: str, settings: AuthorizationCode, hidden: _Hidden) -> None:
        self._server = server
        self._settings = settings
        self._hidden = hidden
        self._returned = ""

    async def show(self, page: str) -> None:
        if (why := addresses.objection(page, self._server)) is not None:
            raise OAuthFlowError(f"the page of the authorization server is not shown: {why}")
        request = exchange.current.get()
        clock = None if request is None else request.clock
        limit = self._settings.wait_s
        try:
            with nullcontext() if clock is None else clock.paused():
                async with asyncio.timeout(limit):
                    self._returned = await self._settings.authorize(page)
        except TimeoutError:
            raise OAuthFlowError(f"nobody agreed within {limit:g} s; `wait_s` allows more time") from None
        except OAuthFlowError:
            raise
        except Exception as error:
            said = f"{type(error).__name__}: {bounded(words(error), 300)}"
            raise OAuthFlowError(f"the host's `authorize` failed: {said}") from None

    async def returned(self) -> AuthorizationCodeResult:
        address, self._returned = self._returned, ""
        parts = urlsplit(address) if isinstance(address, str) else None
        fields = {name: values[0] for name, values in parse_qs(parts.query if parts else "").items()}
        self._hidden.add((fields.get("code"), fields.get("state")))
        if "error" in fields:
            about = f" ({fields['error_description']})" if "error_description" in fields else ""
            raise OAuthFlowError(f"it was refused: {bounded(fields['error'] + about, 300)}")
        if not fields.get("code"):
            raise OAuthFlowError(
                "the host's `authorize` returned no address with a `code`; expected the whole address that the browser "
                "was sent back to"
            )
        return AuthorizationCodeResult(code=fields["code"], state=fields.get("state"), iss=fields.get("iss"))
