"""Our own server, as the third beside the two of `langgraph dev`: the same graphs, the same client.

python -m tests.server.own CONFIGURATION PORT DATABASE
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from stategraph.server import langgraph
from stategraph.server.errors import HANDLERS
from stategraph.server.service.graphs import configuration
from stategraph.server.service.graphs.served import ServedGraphs
from stategraph.server.service.opening import ServiceSettings, open_service
from tests.server.serving import HOST


def application(config: str, database: str) -> Starlette:
    """Make the application: LangGraph's API over a configuration and a database."""
    graphs = ServedGraphs.from_configuration(configuration.read(config))

    async def ok(request: Request) -> Response:
        return JSONResponse({"ok": True})

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with open_service(graphs, database, ServiceSettings(drain_s=1.0)) as opened:
            app.router.routes.extend(langgraph.routes(opened.service))
            yield

    return Starlette(routes=[Route("/ok", ok)], lifespan=lifespan, exception_handlers=dict(HANDLERS))


if __name__ == "__main__":
    uvicorn.run(
        application(sys.argv[1], sys.argv[3]),
        host=HOST,
        port=int(sys.argv[2]),
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=2,
    )
