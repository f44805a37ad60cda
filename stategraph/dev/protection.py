"""Keeps other web pages away from the server, and scripts of others out of the page.

- A page of another site can make a browser send requests here, and by a name that resolves to 127.0.0.1 even read the
  answers (DNS rebinding). So the `Host` has to be an address, `localhost` or a name that was allowed, and requests that
  change something have to come from the page itself (`Origin`, `Sec-Fetch-Site`) or from no page at all.
- The page runs no script and no style that is not a file of this server, is shown in no frame, and loads nothing from
  elsewhere (https://www.w3.org/TR/CSP3/). HTML comes into the page only through the policies of its two libraries
  (https://www.w3.org/TR/trusted-types/).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.status import WS_1008_POLICY_VIOLATION
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stategraph.dev.replies import refusal

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "media-src 'self' data: blob:",
        "connect-src 'self'",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types lit-html dompurify",
    )
)

_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}

_SAFE = frozenset({"GET", "HEAD"})


class Protection:
    """Middleware that checks hosts and origins, and adds headers to every response.

    Args:
        app: The application.
        hosts: Names by which the server may be addressed, beside `localhost` and addresses.
        origins: Matches origins of other pages that may change something; None: there are none.
        refuse: Makes the answer of a request that is refused, of its scope, the status and a sentence.
    """

    def __init__(
        self,
        app: ASGIApp,
        hosts: Collection[str] = (),
        origins: re.Pattern[str] | None = None,
        refuse: Callable[[Scope, int, str], ASGIApp] = lambda _, status, problem: refusal(status, problem),
    ) -> None:
        self._app = app
        self._origins = origins
        self._refuse = refuse
        self._hosts = frozenset(name.lower() for name in hosts) | {"localhost"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request, or refuse it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if scope["type"] == "websocket":  # a page may open one to any site, and would change something by it
            if self._problem("WEBSOCKET", headers) is None:
                await self._app(scope, receive, send)
            else:
                await send({"type": "websocket.close", "code": WS_1008_POLICY_VIOLATION})
            return
        problem = self._problem(scope["method"], headers)
        app = self._app if problem is None else self._refuse(scope, 403, problem)

        async def protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await app(scope, receive, protected)

    def _problem(self, method: str, headers: Headers) -> str | None:
        """Return why a request is refused; None if it is not."""
        host = headers.get("host", "")
        if not self._is_allowed(host):
            return (
                f"The request is for the host {host!r:.80}, which is not this server; open it as 'localhost' or by its "
                "address, or allow the name with --allowed-host (in a program: allowed_hosts)"
            )
        if method in _SAFE:
            return None
        origin = headers.get("origin")
        if origin is not None and self._origins is not None and self._origins.fullmatch(origin):
            return None
        if origin is not None and origin.lower() not in (f"http://{host.lower()}", f"https://{host.lower()}"):
            return f"The request comes from a page of {origin!r:.80}; only pages of this server may change something"
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return "The request comes from a page of another site; only pages of this server may change something"
        return None

    def _is_allowed(self, host: str) -> bool:
        name = _name_of(host)
        if name in self._hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def _name_of(host: str) -> str:
    """Return the name or address in a `Host` header, without the port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()
