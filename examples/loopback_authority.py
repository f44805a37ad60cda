"""An MCP server that wants tokens, and the authorization server that grants them, on this machine: for examples, tests.

The authorization server does what OAuth 2.1 asks of one: metadata (RFC 8414), registration of clients (RFC 7591), codes
with PKCE (RFC 7636), tokens that end, new ones for them, client credentials. It agrees to everything that it is asked,
as a person would who clicks "Allow"; a program that plays the browser only follows its redirect.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode

import uvicorn
from mcp.server import MCPServer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send


@dataclass
class Authority:
    """What the two servers know; a test may change it while they run.

    Attributes:
        expires_in: Seconds that a token is good for.
        scopes: Those that each tool needs, by the tool's name.
        clients: Secrets of clients by id; the empty string: none.
        metadata: What replaces parts of the authorization server's metadata; None leaves a part out.
        resource: The same for what the MCP server says of itself.
        refuses: Whether the person refuses.
        asked: How often each part was asked for.
        granted: The access tokens that are good, each with its scopes and when it ends.
        seen: The `Authorization` headers that the MCP server was sent.
    """

    expires_in: int = 3600
    scopes: dict[str, str] = field(default_factory=dict)
    clients: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    resource: dict[str, Any] = field(default_factory=dict)
    refuses: bool = False
    asked: Counter[str] = field(default_factory=Counter)
    granted: dict[str, tuple[str, float]] = field(default_factory=dict)
    refresh: dict[str, str] = field(default_factory=dict)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)
    origin: str = ""

    @property
    def url(self) -> str:
        """The MCP server's address."""
        return f"{self.origin}/mcp"

    def revoke(self) -> None:
        """Refuse all access tokens from now on; refresh tokens stay good."""
        self.granted.clear()

    # The authorization server.

    async def about(self, request: Request) -> Response:
        self.asked["metadata"] += 1
        said = {
            "issuer": self.origin,
            "authorization_endpoint": f"{self.origin}/authorize",
            "token_endpoint": f"{self.origin}/token",
            "registration_endpoint": f"{self.origin}/register",
            "code_challenge_methods_supported": ["S256"],
            **self.metadata,
        }
        return JSONResponse({name: value for name, value in said.items() if value is not None})

    async def register(self, request: Request) -> Response:
        self.asked["registration"] += 1
        client = {**await request.json(), "client_id": f"client-{secrets.token_hex(8)}"}
        self.clients[client["client_id"]] = ""
        return JSONResponse({**client, "token_endpoint_auth_method": "none"}, 201)

    async def authorize(self, request: Request) -> Response:
        self.asked["page"] += 1
        given = dict(request.query_params)
        back = {"state": given["state"], "iss": self.origin}
        if self.refuses:
            back["error"] = "access_denied"
        elif given["client_id"] in self.clients and given["code_challenge_method"] == "S256":
            code = secrets.token_urlsafe(24)
            self.codes[code] = given
            back["code"] = code
        else:
            back["error"] = "invalid_request"
        return RedirectResponse(f"{given['redirect_uri']}?{urlencode(back)}", 302)

    async def token(self, request: Request) -> Response:
        given = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        kind = given["grant_type"]
        self.asked[kind] += 1
        if not self._is_client(request, given):
            return JSONResponse({"error": "invalid_client"}, 401)
        if kind == "client_credentials":
            return self._grant(given.get("scope", ""), refresh=False)
        if kind == "refresh_token":
            scope = self.refresh.pop(given["refresh_token"], None)
            return JSONResponse({"error": "invalid_grant"}, 400) if scope is None else self._grant(scope)
        asked = self.codes.pop(given.get("code", ""), None)
        digest = hashlib.sha256(given.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if asked is None or asked["code_challenge"] != challenge or asked["redirect_uri"] != given["redirect_uri"]:
            return JSONResponse({"error": "invalid_grant"}, 400)
        return self._grant(asked.get("scope", ""))

    def _is_client(self, request: Request, given: dict[str, str]) -> bool:
        client, secret = given.get("client_id", ""), given.get("client_secret", "")
        kind, _, pair = request.headers.get("authorization", "").partition(" ")
        if kind.lower() == "basic":
            client, _, secret = base64.b64decode(pair).decode().partition(":")
        return self.clients.get(unquote(client)) == unquote(secret)

    def _grant(self, scope: str, *, refresh: bool = True) -> Response:
        token = f"token-{secrets.token_urlsafe(24)}"
        self.granted[token] = (scope, time.time() + self.expires_in)
        said = {"access_token": token, "token_type": "Bearer", "expires_in": self.expires_in, "scope": scope}
        if refresh:
            said["refresh_token"] = f"refresh-{secrets.token_urlsafe(24)}"
            self.refresh[said["refresh_token"]] = scope
        return JSONResponse(said)

    # The MCP server.

    async def about_resource(self, request: Request) -> Response:
        self.asked["resource"] += 1
        return JSONResponse({"resource": self.url, "authorization_servers": [self.origin], **self.resource})

    def challenge(self, header: str, tool: str) -> Response | None:
        """Return what a request without the right token is answered with."""
        self.seen.append(header)
        scope, ends_at = self.granted.get(header.removeprefix("Bearer "), ("", 0.0))
        page = f'resource_metadata="{self.origin}/.well-known/oauth-protected-resource/mcp"'
        if ends_at < time.time():
            return Response(status_code=401, headers={"www-authenticate": f"Bearer {page}"})
        needed = self.scopes.get(tool, "")
        if not set(needed.split()) <= set(scope.split()):
            said = f'Bearer error="insufficient_scope", scope="{needed}", {page}'
            return Response(status_code=403, headers={"www-authenticate": said})
        return None


class _Guarded:
    """The MCP server behind its check of tokens."""

    def __init__(self, app: ASGIApp, authority: Authority) -> None:
        self._app = app
        self._authority = authority

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/mcp":
            return await self._app(scope, receive, send)
        headers = dict(scope["headers"])
        tool = headers.get(b"mcp-name", b"").decode()
        refusal = self._authority.challenge(headers.get(b"authorization", b"").decode(), tool)
        return await (self._app if refusal is None else refusal)(scope, receive, send)


@contextmanager
def serving(authority: Authority, server: MCPServer) -> Iterator[Authority]:
    """Serve both on one port of this machine, in a thread.

    Args:
        authority: What the servers know.
        server: The tools of the MCP server.
    """
    inner = server.streamable_http_app()
    well_known = "/.well-known"
    app = Starlette(
        routes=[
            Route(f"{well_known}/oauth-authorization-server", authority.about),
            Route(f"{well_known}/oauth-protected-resource/mcp", authority.about_resource),
            Route("/register", authority.register, methods=["POST"]),
            Route("/authorize", authority.authorize),
            Route("/token", authority.token, methods=["POST"]),
            Mount("/", _Guarded(inner, authority)),
        ],
        lifespan=inner.router.lifespan_context,
    )
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, ws="none", timeout_graceful_shutdown=1)
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        while not running.started:
            if not thread.is_alive():
                raise RuntimeError("The server did not start")
            time.sleep(0.01)
        (socket,) = running.servers[0].sockets
        authority.origin = f"http://127.0.0.1:{socket.getsockname()[1]}"
        yield authority
    finally:
        running.should_exit = True
        thread.join()
