"""The server that the conformance suite looks at: `served.py PORT`, over a database of its own."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from stategraph.governance.skills import loader
from stategraph.server.mcp import McpSettings, routes
from tests.mcp_conformance.catalogue import Fixtures
from tests.mcp_conformance.graphs import SETTINGS, graphs
from tests.server.service.assembly import assembled


async def main(port: int) -> None:
    skills = [loader.load(Path(__file__).with_name("skills") / "desk-manners")]
    settings = McpSettings(tools=SETTINGS, catalogue=Fixtures(), skills=skills, task_after_s=0.0, poll_interval_ms=100)
    with tempfile.TemporaryDirectory() as folder:
        database = f"sqlite:///{Path(folder) / 'runs.db'}"
        async with assembled(database, graphs(), works=True) as opened:
            app = Starlette(routes=routes(opened.service, settings))
            config = uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error", timeout_graceful_shutdown=1)
            await uvicorn.Server(config).serve()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
