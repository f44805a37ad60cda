"""Answers for requests that the server fails to handle: the connection stays usable, and the log has the traceback."""

from __future__ import annotations

import logging
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stategraph.server.errors import refusal

_log = logging.getLogger(__name__)

_SENTENCE: Final = "The server failed to answer; its log says why"


class Faults:
    """Middleware that answers with status 500 where nothing has been answered yet.

    A server of ASGI that gets the exception itself closes the connection, which a client may be using for its next
    request. An answer that has begun cannot be repaired: then the exception goes on, and the connection ends.

    Args:
        app: The application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_begun = False

        async def noting(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception:
            if has_begun:
                raise
            _log.exception("A request failed: %s %s", scope["method"], scope["path"])
            await refusal(scope, 500, _SENTENCE)(scope, receive, send)
