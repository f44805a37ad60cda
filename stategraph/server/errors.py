"""Answers for requests that are not done, each in the form that the clients of its path read.

| path | body |
|---|---|
| `/v1/responses`, `/v1/chat/...`, `/v1/models` | OpenAI's: `{"error": {"message", "type", "code"}}` |
| other ones below `/v1`, `/agui`, `/vercel`, `/a2a`, `/mcp`, `/.well-known` | problem details (RFC 9457) with `error` |
| all others | LangGraph's: `{"detail": "a sentence"}` |

A body never has a traceback, an address with a login, or what a request was authenticated with.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from math import ceil
from types import MappingProxyType
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from stategraph.agent.settings.secrets import without_logins
from stategraph.dev import replies
from stategraph.server.service.values import ServiceError, UnavailableError

_log = logging.getLogger(__name__)

_OPENAI: Final = ("/v1/responses", "/v1/chat/", "/v1/completions", "/v1/models", "/v1/conversations")
_PROBLEMS: Final = ("/v1", "/agui", "/vercel", "/a2a", "/mcp", "/.well-known")
_NONE: Final[Mapping[str, str]] = MappingProxyType({})

_OPENAI_TYPES: Final = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


def refusal(scope: Scope, status: int, sentence: str, headers: Mapping[str, str] = _NONE) -> Response:
    """Return the answer for a request that is not done.

    Args:
        scope: The request's.
        status: The status of HTTP.
        sentence: Why, for the client.
        headers: Further headers.
    """
    path = scope["path"]
    body: dict[str, Any]
    kind = "application/json"
    if _is_below(path, _OPENAI):
        name = _OPENAI_TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
        body = {"error": {"message": sentence, "type": name, "param": None, "code": None}}
    elif _is_below(path, _PROBLEMS):
        kind = "application/problem+json"
        body = {"error": sentence, "type": "about:blank", "title": _title(status), "status": status, "detail": sentence}
    else:
        body = {"detail": sentence}
    return Response(
        json.dumps(body, ensure_ascii=False, separators=(",", ":")),
        status,
        media_type=kind,
        headers={"Cache-Control": "no-store", **headers},
    )


def _is_below(path: str, starts: tuple[str, ...]) -> bool:
    return any(path == each or path.startswith(each if each.endswith("/") else f"{each}/") for each in starts)


def _title(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


async def failed(request: Request, error: Exception) -> Response:
    """Return the answer for an error that an endpoint raised."""
    status, sentence, headers = await _told(request, error)
    return refusal(request.scope, status, sentence, headers)


async def _told(request: Request, error: Exception) -> tuple[int, str, Mapping[str, str]]:
    """Return the status of an error, its sentence, and headers."""
    match error:
        case UnavailableError():
            return error.status, _clean(error), retry_after(error.retry_after_s)
        case ServiceError():
            return error.status, _clean(error), _NONE
        case HTTPException() if not _is_below(request.url.path, ("/v1",)):
            return error.status_code, str(error.detail), error.headers or _NONE
        case _ if type(error).__name__ == "HTTPException" and isinstance(getattr(error, "detail", None), str):
            return _of_handler(error)
    answer = await replies.failed(request, error)  # the words of the Run API
    return answer.status_code, json.loads(bytes(answer.body))["error"], _NONE


def _of_handler(error: Exception) -> tuple[int, str, Mapping[str, str]]:
    """Return what an `HTTPException` of another package says, such as that of `langgraph_sdk.Auth`."""
    return int(getattr(error, "status_code", 500)), str(vars(error)["detail"]), getattr(error, "headers", None) or _NONE


def retry_after(seconds: float) -> dict[str, str]:
    """Return the header that says when to try again (RFC 9110, section 10.2.3)."""
    return {"Retry-After": str(max(1, ceil(seconds)))}


def _clean(error: Exception) -> str:
    return without_logins(str(error))


#: Errors that are answered, each with its handler.
HANDLERS: Final[Mapping[Any, Callable[[Request, Exception], Awaitable[Response]]]] = {
    **dict.fromkeys(replies.HANDLERS, failed),
    ServiceError: failed,
}
