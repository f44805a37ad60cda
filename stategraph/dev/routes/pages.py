"""The page, its files, and what it is told of the server."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

import stategraph
from stategraph.dev.replies import reply
from stategraph.dev.routes.threads import conversations_of

STATIC = Path(__file__).resolve().parent.parent / "static"

#: Browsers ask whether a file has changed before they use their copy, so that a new version is seen at once.
_ASK = {"Cache-Control": "no-cache"}


class _Files(StaticFiles):
    def file_response(self, full_path: object, stat_result: object, scope: Scope, status_code: int = 200) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)  # type: ignore[arg-type]
        response.headers.update(_ASK)
        return response


async def page(_: Request) -> Response:
    """Return the page."""
    return FileResponse(STATIC / "index.html", headers=_ASK)


async def icon(_: Request) -> Response:
    """Return the icon that browsers ask for by themselves."""
    return FileResponse(STATIC / "icon.svg", media_type="image/svg+xml", headers=_ASK)


async def info(request: Request) -> Response:
    """Return what the page has to know: the target, its agents, the files that it takes, the server's version."""
    target = conversations_of(request).target
    told = {
        "name": target.name,
        "kind": "agents" if target.graph is None else "graph",
        "agents": [{"id": agent_id, "name": name} for agent_id, name in target.agents.items()],
        "accepts": target.accepts,
        "suggestions": [asdict(each) for each in target.suggestions],
        "note": target.note,
        "version": stategraph.__version__,
        "resources": hasattr(request.app.state, "console") and request.app.state.console is not None,
    }
    return reply(told)


routes = [
    Route("/", page),
    Route("/favicon.ico", icon),
    Route("/api/info", info),
    Mount("/static", _Files(directory=STATIC)),
]
