"""The door for ASGI applications: no request gets in that is not authenticated, and endpoints ask for its session.

    app = GovernedApp(Starlette(routes=...), sessions)      # any ASGI application

    async def chat(request):                                 # an endpoint of Starlette
        governed = await open_session(request, agent_id="support", conversation=request.path_params["id"])
        run = await runtime.create_run(run_id=..., agents=[...], session=governed.session)

With FastAPI, `Depends(caller())` gives an endpoint the `Caller`. No framework is imported unless that is called.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from stategraph.errors import ConfigurationError, MissingPackageError
from stategraph.governance.api.requests import GovernedRequest, RequestRefusedError, RequestSessions, Scope
from stategraph.governance.context import Principal

Receive: TypeAlias = Callable[[], Awaitable[Any]]
Send: TypeAlias = Callable[[Mapping[str, Any]], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

KEY: Final = "stategraph.caller"
"""Where a connection's scope has its `Caller`."""

_POLICY_VIOLATION: Final = 1008
"""The code with which a WebSocket is closed (RFC 6455, section 7.4.1)."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The authenticated sender of a request.

    Attributes:
        principal: Who.
        sessions: Makes the sessions of its requests.
    """

    principal: Principal
    sessions: RequestSessions

    async def open(self, agent_id: str, conversation: str) -> GovernedRequest:
        """Make a session; see `RequestSessions.open`.

        Raises:
            RequestRefusedError: It may not; as the `HTTPException` of Starlette, where that is used.
        """
        try:
            return await self.sessions.open(self.principal, agent_id, conversation)
        except RequestRefusedError as refused:
            raise _of_framework(refused) from None


class GovernedApp:
    """An ASGI application within a door: requests without a known sender are refused with 401.

    What endpoints refuse is answered as JSON with its status, unless the application's framework does so.

    Args:
        app: The application.
        sessions: Authenticates requests, and makes sessions.
        open_paths: Paths that anybody may ask for, such as `/health`.
    """

    def __init__(self, app: Application, sessions: RequestSessions, *, open_paths: Collection[str] = ()) -> None:
        if isinstance(open_paths, str):
            raise ConfigurationError(f"open_paths is {open_paths!r}, a text; expected a list of paths")
        self._app = app
        self._sessions = sessions
        self._open = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a connection, or refuse it."""
        if scope["type"] not in ("http", "websocket") or scope.get("path") in self._open:
            await self._app({**scope, KEY: None} if KEY in scope else scope, receive, send)
            return
        began = False

        async def noting(message: Mapping[str, Any]) -> None:
            nonlocal began
            began = True
            await send(message)

        try:
            principal = await self._sessions.principal(scope)
            await self._app({**scope, KEY: Caller(principal, self._sessions)}, receive, noting)
        except RequestRefusedError as refused:
            if began:
                raise
            await _refuse(scope["type"], refused, send)


async def _refuse(kind: str, refused: RequestRefusedError, send: Send) -> None:
    if kind == "websocket":
        await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": str(refused)[:120]})
        return
    body = json.dumps({"error": str(refused)}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if refused.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))  # RFC 6750, section 3
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def caller_of(request: Any) -> Caller:
    """Return the sender of a request.

    Args:
        request: A scope of ASGI, or an object that has one as `scope`, such as a request of Starlette or FastAPI.

    Raises:
        RequestRefusedError: The request did not come through a `GovernedApp`, or asks for an open path: 401.
    """
    scope = request if isinstance(request, Mapping) else getattr(request, "scope", {})
    found = scope.get(KEY)
    if not isinstance(found, Caller):
        text = "The request was not authenticated: its application is in no GovernedApp, or its path is an open one"
        raise _of_framework(RequestRefusedError(401, text))
    return found


def _of_framework(refused: RequestRefusedError) -> Exception:
    """Return a refusal as the framework answers it: Starlette answers errors itself, and others with 500."""
    if "starlette.exceptions" not in sys.modules:
        return refused
    from starlette.exceptions import HTTPException  # loaded by the application already

    return HTTPException(refused.status, str(refused))


async def open_session(request: Any, *, agent_id: str, conversation: str) -> GovernedRequest:
    """Make the session of a request; see `caller_of` and `RequestSessions.open`."""
    return await caller_of(request).open(agent_id, conversation)


def caller() -> Callable[..., Caller]:
    """Return a dependency for FastAPI: `Depends(caller())`.

    Raises:
        MissingPackageError: Starlette is not installed.
    """
    try:
        from starlette.requests import HTTPConnection  # only for those who have it
    except ImportError as error:
        raise MissingPackageError("starlette", "A dependency for FastAPI") from error

    def dependency(connection: Any) -> Caller:
        return caller_of(connection)

    dependency.__annotations__["connection"] = HTTPConnection  # by which FastAPI knows what to give
    return dependency
