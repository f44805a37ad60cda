"""Our own server, as the third beside the two of `langgraph dev`: the same graphs, the same client.

python -m tests.server.own CONFIGURATION PORT DATABASE
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from stategraph.server import langgraph
from stategraph.server.errors import HANDLERS
from stategraph.server.service.graphs import configuration
from stategraph.server.service.graphs.served import ServedGraphs
from stategraph.server.service.opening import open_service
from tests.server.serving import HOST, Engine, Server, environment, free_port, stop, wait_until_it_answers

ROOT = Path(__file__).resolve().parents[2]

#: The drop-in is on: the graphs are written for LangGraph, and run on this engine.
OWN = Engine("own server", True, "compat")


def application(config: str, database: str) -> Starlette:
    """Make the application: LangGraph's API over a configuration and a database."""
    graphs = ServedGraphs.from_configuration(configuration.read(config))

    async def ok(request: Request) -> Response:
        return JSONResponse({"ok": True})

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with open_service(graphs, database, drain_s=1.0) as opened:
            app.router.routes.extend(langgraph.routes(opened.service))
            yield

    return Starlette(routes=[Route("/ok", ok)], lifespan=lifespan, exception_handlers=dict(HANDLERS))


@contextmanager
def running_own(python: Path, folder: Path, graphs: Mapping[str, str]) -> Iterator[Server]:
    """Run our server around a block.

    Args:
        python: The Python of the environment.
        folder: A scratch folder of its own.
        graphs: By name, where a graph is: `file.py:variable`.

    Raises:
        ServerError: It does not start.
    """
    folder.mkdir(parents=True)
    config = {"dependencies": ["."], "graphs": dict(graphs), "env": {}}
    (folder / "langgraph.json").write_text(json.dumps(config), encoding="utf-8")
    port = free_port()
    command = [str(python), "-m", "tests.server.own", str(folder), str(port), f"sqlite:///{folder / 'runs.db'}"]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(python, OWN),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Server(OWN, f"http://{HOST}:{port}", folder / "server.log", process)
    try:
        wait_until_it_answers(server)
        yield server
    finally:
        stop(process)


if __name__ == "__main__":
    uvicorn.run(
        application(sys.argv[1], sys.argv[3]),
        host=HOST,
        port=int(sys.argv[2]),
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=2,
    )
