"""The readiness of a server: `/ok`, as LangGraph's clients and load balancers ask for it.

With `?check_db=1` the database is asked, too; `/health` of the Run API says whether the server is stopping.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

_log = logging.getLogger(__name__)

OK: Final = "/ok"

Check = Callable[[], Awaitable[object]]
"""Asks the database something; raises if it does not answer."""


def routes(check: Check | None = None) -> list[BaseRoute]:
    """Return the routes.

    Args:
        check: Asks the database; None: there is none to ask.
    """

    async def ok(request: Request) -> Response:
        if request.app.state.stopping:
            return _unable("The server is stopping")
        if check is not None and request.query_params.get("check_db", "0") not in ("", "0", "false"):
            try:
                await check()
            except Exception as error:  # whatever the client of the database raises
                _log.warning("The database does not answer", exc_info=error)
                return _unable("The database does not answer")
        return JSONResponse({"ok": True}, headers={"Cache-Control": "no-store"})

    return [Route(OK, ok)]


def _unable(sentence: str) -> Response:
    told = {"ok": False, "detail": sentence}
    return JSONResponse(told, 503, headers={"Cache-Control": "no-store", "Retry-After": "5"})
