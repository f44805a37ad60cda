"""The door of the server: the middleware that asks who sends a request, and what endpoints are told of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any, Final

from starlette.requests import HTTPConnection, Request
from starlette.status import WS_1008_POLICY_VIOLATION
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stategraph.server.access.owners import owned_by
from stategraph.server.access.port import AuthenticationError, Authenticator
from stategraph.server.service.values import ANYONE, Caller, allow_all

#: Where the scope of a request has its `Caller`.
KEY: Final = "stategraph.server.caller"

_NOBODY: Final = "The request does not say who sends it: it needs credentials"

Refuse = Callable[[Scope, int, str], ASGIApp]
"""Makes the answer for a request that is refused: of its scope, the status, and a sentence."""


def caller_of(connection: HTTPConnection) -> Caller:
    """Return who has sent a request; a caller without a name where the server knows no users."""
    found = connection.scope.get(KEY, ANYONE)
    assert isinstance(found, Caller)
    return found


class Door:
    """Middleware that lets in whom one of several authenticators knows.

    Args:
        app: The application.
        authenticators: Are asked in turn, until one finds credentials that it knows.
        refuse: Makes the answers of requests that are refused.
        open_paths: Paths that anybody may ask for. What ends with `/*` stands for all paths below.
    """

    def __init__(
        self,
        app: ASGIApp,
        authenticators: Sequence[Authenticator],
        refuse: Refuse,
        open_paths: Collection[str] = (),
    ) -> None:
        self._app = app
        self._authenticators = authenticators
        self._refuse = refuse
        self._open = frozenset(each for each in open_paths if not each.endswith("/*"))
        self._reads_body = any(getattr(each, "reads_body", False) for each in authenticators)
        self._below = tuple(each.removesuffix("*") for each in open_paths if each.endswith("/*"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a connection, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        if path in self._open or path.startswith(self._below):
            scope[KEY] = ANYONE
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        if self._reads_body and scope["type"] == "http":
            body = await _read(receive)
            connection = Request(scope, _again(body, receive))
            receive = _again(body, receive)
        try:
            caller = await identified(self._authenticators, connection)
        except AuthenticationError as error:
            await self._refused(error, scope, receive, send)
            return
        scope[KEY] = caller
        await self._app(scope, receive, send)

    async def _refused(self, error: AuthenticationError, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": WS_1008_POLICY_VIOLATION, "reason": str(error)[:120]})
            return
        answer: Any = self._refuse(scope, error.status, str(error))
        headers = dict(error.headers)
        if error.status == 401 and not any(name.lower() == "www-authenticate" for name in headers):
            headers["WWW-Authenticate"] = "Bearer"
        answer.headers.update({name: value for name, value in headers.items() if value})
        await answer(scope, receive, send)


async def _read(receive: Receive) -> bytes:
    """Return the body of a request."""
    body = bytearray()
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = bool(message.get("more_body", False))
    return bytes(body)


def _again(body: bytes, receive: Receive) -> Receive:
    """Return what gives a body that was read, and then what comes after it."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def identified(authenticators: Sequence[Authenticator], connection: HTTPConnection) -> Caller:
    """Return who has sent a request, by the first authenticator that finds credentials that it knows.

    Raises:
        AuthenticationError: The credentials are wrong, or there are none.
    """
    for each in authenticators:
        found = await each.authenticate(connection)
        if found is not None:
            return _with_owner(found)
    challenges = dict.fromkeys(each.challenge() for each in authenticators)
    raise AuthenticationError(_NOBODY, headers={"WWW-Authenticate": ", ".join(filter(None, challenges))})


def _with_owner(caller: Caller) -> Caller:
    """Return a caller that has only what it made, unless its authenticator says otherwise."""
    if caller.authorize is not allow_all or not caller.identity:
        return caller
    return replace(caller, authorize=owned_by(caller.identity))
