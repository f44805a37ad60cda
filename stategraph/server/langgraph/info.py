"""The version of the server, and what it can do."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from stategraph._version import __version__
from stategraph.dropin import LANGGRAPH_VERSION
from stategraph.server.langgraph.answers import answer
from stategraph.server.service.port import Service

_FLAGS: Final = {
    "assistants": True,
    "crons": True,
    "langsmith": False,
    "langsmith_tracing_replicas": True,
    "langsmith_tracing_session_on_runs": True,
}

_HOST: Final = {
    "kind": "self-hosted",
    "project_id": None,
    "host_revision_id": None,
    "revision_id": None,
    "tenant_id": None,
}


def routes(service: Service) -> list[BaseRoute]:
    """Return the route."""
    del service
    return [Route("/info", info)]


async def info(request: Request) -> Response:
    """Return the version of the server and of the engine that it is compatible with."""
    del request
    return answer({"version": __version__, "langgraph_py_version": LANGGRAPH_VERSION, "flags": _FLAGS, "host": _HOST})
