"""Pages of other origins that may use the server; none unless they are named."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.status import WS_1008_POLICY_VIOLATION
from starlette.types import ASGIApp, Receive, Scope, Send

from stategraph.errors import ConfigurationError

#: Headers of answers that pages may read.
_EXPOSED: Final = (
    "Content-Location",
    "Location",
    "Retry-After",
    "X-Pagination-Total",
    "X-Pagination-Next",
    "Mcp-Session-Id",
    "WWW-Authenticate",
)

#: Seconds for which a browser keeps the answer to a question about this.
_KEPT_S: Final = 600

_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s]+", re.IGNORECASE)


def pattern_of(origins: Sequence[str]) -> re.Pattern[str] | None:
    """Return the pattern of origins that are allowed; None: there are none.

    Args:
        origins: Such as `https://chat.example.com`; `http://localhost:*` stands for all ports, `*` for all origins.

    Raises:
        ConfigurationError: One is none.
    """
    patterns = []
    for each in origins:
        if each == "*":
            patterns.append(".*")
        elif not _ORIGIN.fullmatch(each):
            raise ConfigurationError(
                f"The origin {each!r} is none; expected one such as 'https://chat.example.com' or 'http://localhost:*'"
            )
        else:
            start, star, rest = each.partition(":*")
            patterns.append(f"{re.escape(start)}(:[0-9]+)?" if star and not rest else re.escape(each))
    return re.compile("|".join(f"(?:{each})" for each in patterns), re.IGNORECASE) if patterns else None


class SocketOrigins:
    """Middleware that refuses WebSockets of pages of other sites.

    A browser opens them to any site, and with its cookies; unlike for requests, the server has to look at the origin
    (RFC 6455, section 10.2).

    Args:
        app: The application.
        origins: Matches origins that may; those of the server's own address may anyway. None: there are no others.
    """

    def __init__(self, app: ASGIApp, origins: re.Pattern[str] | None = None) -> None:
        self._app = app
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a connection, or refuse it."""
        if scope["type"] == "websocket" and not self._is_allowed(Headers(scope=scope)):
            await send({"type": "websocket.close", "code": WS_1008_POLICY_VIOLATION})
            return
        await self._app(scope, receive, send)

    def _is_allowed(self, headers: Headers) -> bool:
        origin, host = headers.get("origin"), headers.get("host", "").lower()
        if origin is None or origin.lower() in (f"http://{host}", f"https://{host}"):
            return True
        return self._origins is not None and self._origins.fullmatch(origin) is not None


def middleware(origins: Sequence[str], options: Mapping[str, Any] | None = None) -> list[Middleware]:
    """Return the middleware that lets browsers read answers from pages of other origins; none if there are none.

    Args:
        origins: See `pattern_of`.
        options: The section `http.cors` of langgraph.json: `allow_origins`, `allow_methods`, `allow_headers`,
            `allow_credentials`, `allow_origin_regex`, `expose_headers`, `max_age`.
    """
    given = dict(options or {})
    pattern = pattern_of([*origins, *given.pop("allow_origins", ())])
    own = given.pop("allow_origin_regex", None)
    both = [each for each in (pattern.pattern if pattern else None, own) if each]
    if not both:
        return []
    settings = {
        "allow_methods": ["*"],
        "allow_headers": ["*"],
        "max_age": _KEPT_S,
        **given,
        "expose_headers": [*_EXPOSED, *given.get("expose_headers", ())],
    }
    return [Middleware(CORSMiddleware, allow_origin_regex="|".join(f"(?:{each})" for each in both), **settings)]
