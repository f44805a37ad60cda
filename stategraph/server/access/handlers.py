"""Handlers of `langgraph_sdk.Auth`, as programs have written them for LangGraph's server.

Rules (https://docs.langchain.com/langgraph-platform/auth)
-----
* `@auth.authenticate` is given what its parameters name: `request`, `body`, `path`, `method`, `path_params`,
  `query_params`, `headers`, `authorization`. It returns an identity, a mapping or an object with `identity`.
* Of the handlers of `auth.on` the most specific one decides: of a resource and an action, of a resource, of an action,
  of everything. None or True accepts, False refuses, a mapping is a filter. It may change the value.
* Where a program has no handler of `auth.on` at all, each caller has what it made itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from langgraph_sdk.auth import Auth
from langgraph_sdk.auth.types import AuthContext, StudioUser
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection, Request

from stategraph.errors import ConfigurationError
from stategraph.server.access.port import AuthenticationError
from stategraph.server.service.values import Authorize, Caller, Filter, RefusedError, ServiceError, allow_all

_STUDIO: Final = "langgraph-studio-user"

#: With this value, the header `X-Auth-Scheme` says that a request comes from LangGraph's Studio.
_STUDIO_SCHEME: Final = "langsmith"


class HandlerRefusedError(ServiceError):
    """A handler refused a request with a status of its own."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status  # type: ignore[misc]


class User(Mapping[str, Any]):
    """A user as handlers see one: by attributes and by keys.

    Args:
        found: What the authentication handler returned.
    """

    def __init__(self, found: Any) -> None:
        self._found = found
        values = dict(found) if isinstance(found, Mapping) else {}
        identity = values.get("identity") or getattr(found, "identity", None)
        permissions = values.get("permissions", getattr(found, "permissions", None)) or ()
        self._values: dict[str, Any] = {
            **values,
            "identity": str(identity or ""),
            "display_name": values.get("display_name") or getattr(found, "display_name", None) or str(identity or ""),
            "is_authenticated": bool(values.get("is_authenticated", getattr(found, "is_authenticated", True))),
            "permissions": list(permissions),
        }

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self._values[name]
        except KeyError:
            return getattr(self._found, name)


class Handlers:
    """Knows whom the program's own handler knows, and asks its handlers what each may do.

    Args:
        auth: The program's handlers.
        studio: Whether requests that say that they come from LangGraph's Studio are taken without credentials. Only
            for servers that nobody else reaches.

    Raises:
        ConfigurationError: There is no authentication handler.
    """

    def __init__(self, auth: Auth, *, studio: bool = False) -> None:
        if auth._authenticate_handler is None:
            raise ConfigurationError("The Auth of langgraph.json has no handler; write one with @auth.authenticate")
        self._auth = auth
        self._studio = studio
        self._authenticate: Callable[..., Any] = auth._authenticate_handler
        self._wanted = _wanted(self._authenticate)

    @property
    def reads_body(self) -> bool:
        """True if the handler asks for the body, so that it is read before."""
        return "body" in self._wanted or "request" in self._wanted

    def challenge(self) -> str:
        """Return the challenge of RFC 6750."""
        return "Bearer"

    async def authenticate(self, connection: HTTPConnection, /) -> Caller | None:
        """Return whom the handler knows.

        Raises:
            AuthenticationError: It refuses.
        """
        if self._studio and connection.headers.get("x-auth-scheme") == _STUDIO_SCHEME:
            studio = StudioUser(_STUDIO, is_authenticated=True)
            return self._caller(studio, User(studio))
        try:
            found = await self._called(connection)
        except Auth.exceptions.HTTPException as error:
            raise AuthenticationError(str(error.detail), error.status_code, dict(error.headers or {})) from None
        user = User({"identity": found} if isinstance(found, str) else found)
        if not user["identity"]:
            raise AuthenticationError("The request does not say who sends it")
        return self._caller(user, user)

    async def _called(self, connection: HTTPConnection) -> Any:
        given = {name: await _GIVEN[name](connection) for name in self._wanted}
        if inspect.iscoroutinefunction(self._authenticate):
            return await self._authenticate(**given)
        found = await run_in_threadpool(self._authenticate, **given)
        return await found if inspect.isawaitable(found) else found

    def _caller(self, shown: Any, user: User) -> Caller:
        permissions = tuple(map(str, user["permissions"]))
        return Caller(user["identity"], dict(user), permissions, self._authorize(shown, permissions))

    def _authorize(self, user: Any, permissions: tuple[str, ...]) -> Authorize:
        auth = self._auth
        if not auth._handlers and not auth._global_handlers:
            return allow_all  # the door puts the owner in its place

        async def authorize(resource: str, action: str, value: dict[str, Any]) -> Filter | None:
            handler = _handler(auth, resource, action)
            if handler is None:
                return None
            context = AuthContext(permissions, user, resource, action)  # type: ignore[arg-type]
            try:
                return _filter(await handler(ctx=context, value=value))
            except Auth.exceptions.HTTPException as error:
                raise HandlerRefusedError(str(error.detail), error.status_code) from None
            except AssertionError as error:
                raise RefusedError(str(error) or "Forbidden") from None

        return authorize


def _handler(auth: Auth, resource: str, action: str) -> Callable[..., Any] | None:
    """Return the most specific handler; None: there is none."""
    for key in ((resource, action), (resource, "*"), ("*", action), ("*", "*")):
        if found := auth._handlers.get(key):
            return found[-1]
    return auth._global_handlers[-1] if auth._global_handlers else None


def _filter(result: Any) -> Filter | None:
    """Return what a handler decided.

    Raises:
        RefusedError: It refuses.
        ConfigurationError: It returned something else than None, a truth value or a filter.
    """
    if result is None or result is True:
        return None
    if result is False:
        raise RefusedError("Forbidden")
    if isinstance(result, Mapping):
        return result
    raise ConfigurationError(
        f"A handler of Auth returned a value of type {type(result).__name__}; expected None, True, False or a filter"
    )


async def _body(connection: HTTPConnection) -> Any:
    assert isinstance(connection, Request)
    try:
        return await connection.json()
    except (ValueError, RecursionError):  # the endpoint refuses it
        return {}


def _of(read: Callable[[HTTPConnection], Any]) -> Callable[[HTTPConnection], Any]:
    async def given(connection: HTTPConnection) -> Any:
        return read(connection)

    return given


_GIVEN: Final[Mapping[str, Callable[[HTTPConnection], Any]]] = {
    "request": _of(lambda connection: connection),
    "body": _body,
    "path": _of(lambda connection: connection.scope["path"]),
    "method": _of(lambda connection: connection.scope.get("method", "GET")),
    "path_params": _of(lambda connection: connection.scope.get("path_params")),
    "query_params": _of(lambda connection: dict(connection.query_params)),
    "headers": _of(lambda connection: dict(connection.scope["headers"])),
    "authorization": _of(lambda connection: connection.headers.get("authorization")),
    "scope": _of(lambda connection: connection.scope),
}


def _wanted(handler: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names of the parameters that a handler is given.

    Raises:
        ConfigurationError: It has a parameter without a default that is not known.
    """
    wanted = []
    for name, parameter in inspect.signature(handler).parameters.items():
        if name in _GIVEN:
            wanted.append(name)
        elif parameter.default is parameter.empty and parameter.kind not in (
            parameter.VAR_KEYWORD,
            parameter.VAR_POSITIONAL,
        ):
            raise ConfigurationError(
                f"The authentication handler has the parameter {name!r}; known are {', '.join(_GIVEN)}"
            )
    return tuple(wanted)
